"""The transcript: a session's journal as the messages of the API.

Invariants (each request this gives is one that the API takes, and none contradicts an answered one):
  1. Messages are only ever appended. What an `agent.message` answered is committed in the same shape as it was sent.
  2. What came since is pending. It becomes at most one user message, results first and in call order, and behind it at
     most one system message (the API takes those right after a user message only). What an answer had said that was
     stopped is told there by the application: the model never gave it.
  3. Each tool_use of the last answer has exactly one result in the user message behind it: its own, or a synthetic
     error.
  4. `turn.failed`, and an answer that refused, take back what is pending of their event. Nothing takes back what is
     committed but a finding that the API takes it no more (`transcript.doubted`), block by block and in place.
  5. An answer that paused is sent back as it came, last, until the model goes on or somebody says something else.

An `agent.message` may name in `seen` the seq up to which its request had read the journal: what was written between
request and answer then stays pending, as it was no part of what was answered. In `without` it may name events whose
turns were stopped before an answer: the model refused the request that held what they had said, and took the one that
did not; so nothing holds it again.

A `session.compacted` puts a summary in the place of what stood before an answer (`inturn.journal.views.compactions`).
One that also took up results of open calls (`consumed`) is taken back with the turn that it was made in, where that
fails before another answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from inturn.journal.log.pruned import FORKED
from inturn.journal.views import compactions, memory
from inturn.journal.views.compactions import STANDING, Cut
from inturn.journal.views.conversation import BeforePause, CallIds, Conversation
from inturn.journal.views.doubts import Place, doubted_places
from inturn.journal.views.memory import REMEMBERED
from inturn.journal.views.requests import APPLICATION, NO_ANSWER, Form, Part, Said, View
from inturn.journal.views.said import (
    NO_MESSAGE,
    answered_with,
    asked_by,
    counted,
    goes_back,
    is_of,
    is_pause,
    left,
    results_of,
    without_failed,
)
from inturn.journal.views.undo import Undo
from inturn.turns import server_blocks, tokens
from inturn.turns.answers import THINKING
from inturn.turns.blocks import Block, text
from inturn.turns.memory import system_of
from inturn.values import Entry

Message = dict[str, Any]

TYPES: Final = (
    "session.started",
    FORKED,
    "user.message",
    "agent.message",
    "agent.tool_result",
    "system.message",
    "turn.failed",
    "turn.interrupted",
    "transcript.doubted",
    "session.compacted",
    "session.pinned",
    REMEMBERED,
)
"""The entries that matter here: a cold read needs no others."""
LASTING: Final = ("session.started", FORKED, "system.message", "session.pinned", "session.compacted")
"""Those of them that matter though a compaction stands for what was said then."""

GO_ON: Final = f"{APPLICATION}\nYour last answer ended before its end. Please go on."

_PENDING: Final = frozenset({"user.message", "agent.tool_result", "system.message", "session.pinned", "turn.failed"})


class Transcript:
    """A session's transcript so far. Apply entries in order of seq; keep it, and apply only what is new.

    Attributes:
        manifest: What the session froze (`agent`, `model`, `system`, `tools`, `memory`), with the tools that changes
            declared; `None` before `session.started`.
        manifest_hash: The hash of the manifest that the model was last given.
        seq: The last applied entry.
        call_ids: The ids that no other call may have.
        committed: What is committed.
        compactions: The entries that compacted it.
        refrozen: One of them froze another agent than the session began with.
        since: The last of them that froze the agent as it was then: what it was changed to before is no more.
        memory: Which versions of its agent's documents the model was told, by their names.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Begin with some entries."""
        self.manifest: dict[str, Any] | None = None
        self.manifest_hash: str | None = None
        self.seq = 0
        self.call_ids = CallIds()
        self.committed = Conversation()
        self.compactions: list[Entry] = []
        self.refrozen = False
        self.since = 0
        self.memory: dict[str, int] = {}
        self._view = View()
        self._pending: list[Entry] = []
        self._standing: list[Entry] = []  # what the application said, for whoever summarises it away
        self._undo: Undo | None = None
        self._measured = (0, 0)  # up to which entry, and how much is pending
        self._silent = False  # somebody says that nobody says anything
        for entry in entries:
            self.apply(entry)

    def apply(self, entry: Entry) -> None:
        """Take the next entry. One that was applied before changes nothing."""
        if entry.seq <= self.seq:
            return
        self.seq = entry.seq
        self._withdraw(entry)
        if entry.type == "agent.message":
            self._answer(entry)
        elif entry.type == "transcript.doubted":
            self._doubt(doubted_places(entry), shown=entry.body.get("shown") is True)
        elif entry.type == "session.compacted":
            self._compact(entry)
        elif entry.type == FORKED:
            self._fork(str(entry.body.get("from")))
        elif entry.type in _PENDING or (entry.type == "turn.interrupted" and entry.body.get("partial")):
            self._pending.append(entry)
        if entry.type in ("system.message", "session.pinned"):
            self._standing.append(entry)
        if entry.type in ("session.started", "system.message"):
            self._freeze(entry)
        self.memory = memory.told(self.memory, self.manifest, entry)

    def _freeze(self, entry: Entry) -> None:
        """Note which agent the model is told of."""
        if entry.type == "session.started" and self.manifest is None:
            names = ("agent", "model", "system", "tools", *({"memory"} & entry.body.keys()))
            self.manifest = {name: entry.body.get(name) for name in names}
        if entry.type == "system.message" and "tools" in entry.body:
            self._declare(entry.body)
        self.manifest_hash = entry.body.get("manifest", self.manifest_hash)

    def begin_behind(self, seq: int) -> None:
        """Go on behind a seq up to which a compaction stands for all but the entries that were applied."""
        self._pending, self.seq = [], seq

    def awaits(self, event_id: str) -> bool:
        """Return whether what an event asks is yet to be answered."""
        return any(entry.type == "user.message" and entry.event_id == event_id for entry in self._pending)

    def others(self, event_id: str) -> list[str]:
        """Return the events, but this one, that a request made now would hold something unanswered of."""
        kept = [e for e in without_failed(self._pending) if e.type not in STANDING]
        return list(dict.fromkeys(e.event_id for e in kept if e.event_id and e.event_id != event_id))

    def request_messages(self, form: Form | None = None, *, without: Collection[str] = ()) -> list[Message]:
        """Return the messages of a request made now; `without`: events whose unanswered entries it leaves out.

        The list is the caller's; the messages in it are shared with later requests: copy one before changing it.
        """
        form = form or Form()
        if self._view.form != form:
            self._view = View(form)
        self._view.extend(self.committed.parts)
        asked, _ = self._tail(left(self._pending, without))
        return self._view.rendered(asked)

    @property
    def nudged(self) -> bool:
        """Whether the last answer was empty, and the model is asked to go on."""
        return bool(self.committed.last.get("nudge"))

    @property
    def owes_results(self) -> bool:
        """Whether the next request brings results of calls."""
        return bool(self.committed.calls)

    def pauses(self, event_id: str | None) -> int:
        """Return how often the model paused in an event's turn, if that is the last one."""
        return self.committed.paused[1] if self.committed.paused[0] == event_id else 0

    def natives(self, messages: Sequence[Message], form: Form) -> list[Any]:
        """Return what a provider gets back with each message of its request; nothing where it gave nothing."""
        if not self.committed.native:
            return []
        parts = [self.committed.parts[at] for at in self._view.positions]
        given = [part.native if part.provider == form.provider else None for part in parts]
        return [*given, *[None] * (len(messages) - len(given))] if any(each is not None for each in given) else []

    def may_correct(self, event_id: str | None) -> bool:
        """Return whether an event's answer that does not have its form may be asked for once more."""
        return self.committed.corrected != event_id

    def committed_places(self, of: Callable[[Block], bool] = bool) -> list[Place]:
        """Return where the journal has what is committed, in order; `of`: blocks of some kind only."""
        return [place for block, place in self.committed.said() if of(block)]

    def measured(self, by: Callable[[Block], int]) -> dict[Place, int]:
        """Return what is committed with a measure of each block."""
        return {place: by(block) for block, place in self.committed.said()}

    def places_of(self, message: int, block: int | None = None) -> list[Place]:
        """Return where the journal has a committed message of the last request's form, or one block of it."""
        parts = self.committed.parts
        at = self._view.positions[message] if message < len(self._view.positions) else len(parts)
        places = parts[at].places if at < len(parts) else []
        shown = self._view.messages[message]["content"] if places else []
        block = block if len(shown) == len(places) else None  # the application's words stand between
        return [p for n, p in enumerate(places) if p is not None and block in (None, n)]

    def probe(self, form: Form, *, without: Collection[Place] | None = None) -> list[Message]:
        """Return a request of what is committed alone, in which nobody says anything new.

        Args:
            form: What the model takes.
            without: Committed blocks to leave out, and all that answers thought.
        """
        probe = copy.copy(self)
        probe.committed = self.committed.copied()
        if without is not None:
            probe._doubt(without)
        probe._pending = [e for e in self._pending if e.type in STANDING]
        probe._silent = True
        probe._view = View(form)
        return probe.request_messages(form)

    def alone(self, form: Form) -> list[Message]:
        """Return what is new as a conversation of its own, without results: those belong to their calls."""
        said = [each for e in without_failed(self._pending) if e.type == "user.message" for each in asked_by(e)]
        return View(form).rendered([Part.of("user", said)] if said else [])

    # For whoever compacts it.

    @property
    def size(self) -> int:
        """About how many tokens a request made now has: as the last answer counted them, and what is new."""
        if self.committed.counted is not None:
            return self.committed.counted + self.pending_size()
        frozen = self.manifest or {}
        fixed = tokens.of_value(system_of(frozen)) + tokens.of_value(frozen.get("tools") or [])
        return fixed + self.committed.size + self.pending_size()

    def pending_size(self) -> int:
        """Return about how many tokens are new."""
        if self._measured[0] != self.seq:
            asked, _ = self._tail(self._pending)
            self._measured = (self.seq, tokens.of_messages(part.message for part in asked))
        return self._measured[1]

    def asked_size(self, event_id: str) -> int:
        """Return how many tokens an event adds at least, beside what the application says to all of them."""
        own = [e for e in left(self._pending, self.others(event_id)) if e.type not in STANDING]
        asked, _ = self._tail(own)
        return tokens.least(part.message for part in asked)

    def said_so_far(self, form: Form) -> list[Message]:
        """Return all that is committed, with the results of open calls, and nothing that a user said since."""
        view = View(form)
        view.extend(self.committed.parts)
        results = self._results(without_failed(self._pending)) if self.committed.calls else []
        return view.rendered([*self.committed.unsaid(), *([Part.of("user", results)] if results else [])])

    def restated(self, cut: Cut | None, *, change: bool) -> tuple[list[int], str]:
        """Return what is said again of what stands before a cut; `None`: of all that is committed."""
        waits = {entry.seq for entry in self._pending}
        upto = self.seq if cut is None else cut.seen
        gone = {e.seq for e in self._standing if e.seq <= upto and e.seq not in waits}
        return compactions.restated(self._standing, gone, since=self.since if change else None)

    def consumed(self) -> list[str]:
        """Return the events of whose calls results wait to be sent."""
        ids = [e.event_id for e in self._pending if e.type == "agent.tool_result" and e.event_id]
        return list(dict.fromkeys(ids)) if self.committed.calls else []

    def _answer(self, answer: Entry) -> None:
        body, now = answer.body, self.committed
        seen = body.get("seen")
        upto = seen if isinstance(seen, int) else answer.seq
        asked = left([e for e in self._pending if e.seq <= upto], body.get("without") or ())
        answered, waiting = self._tail(asked)
        awaited = {} if answered else now.awaited
        content = answered_with(answer, self.call_ids, awaited)
        self.call_ids |= {str(block.get("id")) for block, _ in content if block["type"] == "tool_use"}
        if answer.body.get("stop") == "refusal":
            self._take_back(answer, upto)
            return
        if not now.parts and not answered:
            answered = [Part.of("user", [(text(NO_MESSAGE), None)])]
        goes_on = goes_back(body, content)
        if goes_on and not now.goes_on:
            now.before_pause = BeforePause(len(now.parts), now.calls, now.late, now.last)
        if not goes_on:
            waits = server_blocks.still_open((block for block, _ in content), awaited)
            content += [(block, None) for block in server_blocks.closed(waits)]
        if not goes_on and (not content or content[-1][0]["type"] in THINKING):
            content.append((text(NO_ANSWER), None))
        calls = [str(block.get("id")) for block, _ in content if block["type"] == "tool_use"]
        ran = body.get("ran")
        now.late = set(calls[ran:]) if isinstance(ran, int) else set()
        counts = is_pause(body) or bool(body.get("nudge"))
        now.paused = (answer.event_id, self.pauses(answer.event_id) + counts)
        now.corrected = answer.event_id if body.get("words") else now.corrected
        now.calls = [*(now.calls if now.goes_on and not answered else []), *calls, *set(body.get("said") or ())]
        now.last, now.goes_on = {**body, "nudge": True} if is_pause(body) and content and not goes_on else body, goes_on
        now.answer(answered, content, answer, upto)
        now.counted = counted(body)
        self._pending = waiting + [e for e in self._pending if e.seq > upto]

    def _take_back(self, refusal: Entry, upto: int) -> None:
        """Commit nothing of a refused event since its last answer: the model would refuse whatever holds it."""
        self._pending = [e for e in self._pending if e.seq > upto or not is_of(e, {refusal.event_id})]
        if self.committed.goes_on:  # what paused before was a part of the answer that is refused
            self.committed.take_back_pause()
            self._view = View(self._view.form)
        said = {name: value for name, value in self.committed.last.items() if name != "nudge"}
        self.committed.last, self.committed.cached = said, None

    def _doubt(self, places: Collection[Place], *, shown: bool = False) -> None:
        self.committed.doubt(places, shown=shown)
        self._view = View(self._view.form)

    def _declare(self, change: Mapping[str, Any]) -> None:
        """Declare the tools that a changed agent has more; thinking goes: some model's was bound to those before."""
        manifest = self.manifest or {}
        self.manifest = {**manifest, "tools": [*(manifest.get("tools") or []), *change["tools"]]}
        if self.committed.counted is not None:
            self.committed.counted += tokens.of_value(change["tools"])
        self._doubt(())

    def _compact(self, entry: Entry) -> None:
        body, now = entry.body, self.committed
        cut, before = now.cut_of(entry), (self.manifest, self.manifest_hash)
        since, self.since = self.since, body.get("since", self.since if body["by"] == "claude" else entry.seq)
        if "frozen" in body:
            self.manifest, self.refrozen = {**(self.manifest or {}), **body["frozen"]}, True
        self.manifest_hash = body.get("manifest", self.manifest_hash)
        self._view = View(self._view.form)
        if body["by"] == "claude" and body.get("text"):
            self._pending.append(entry)
        self.compactions.append(entry)
        if cut is None and body.get("kept_from") is not None:  # before what is read of the session
            now.unbind(entry)
            return
        if consumed := frozenset(body.get("consumed") or ()):
            taken = [e for e in self._pending if e.type == "agent.tool_result"]
            self._undo = Undo(consumed, now.copied(), taken, *before, self.call_ids, since)
        now.compact(entry)
        self.call_ids = CallIds(now.call_ids(), forgot=True)
        if cut is None:
            self._pending = [e for e in self._pending if e.type != "agent.tool_result"]

    def _fork(self, parent: str) -> None:
        """Go on as another session: what events of the parent left unanswered is no event's of its own."""
        named = [e.event_id and f"{parent}/{e.event_id}" for e in self._pending]
        self._pending = [e.model_copy(update={"event_id": n}) for e, n in zip(self._pending, named, strict=True)]
        self.committed.paused, self._undo = (None, 0), None

    def _withdraw(self, entry: Entry) -> None:
        """Take back a compaction that took up results of a turn that fails, or is refused, before the next answer."""
        answers = entry.type == "agent.message"
        ends = entry.type == "turn.failed" or (answers and entry.body.get("stop") == "refusal")
        undo = self._undo
        if undo is not None and ends and {entry.event_id, entry.body.get("turn")} & undo.events:
            self.committed, self.manifest, self.manifest_hash = undo.before, undo.manifest, undo.manifest_hash
            self.call_ids, self.since = undo.call_ids, undo.since
            self._pending = sorted([*undo.taken, *self._pending], key=lambda e: e.seq)
            self._view, self.compactions, self._undo = View(self._view.form), self.compactions[:-1], None
        if answers:
            self._undo = None
        elif ends and entry.event_id == self.committed.corrected:
            self.committed.corrected = None

    def _tail(self, pending: list[Entry]) -> tuple[list[Part], list[Entry]]:
        """Return what is pending as messages, and the entries that cannot be sent yet: system ones without a user's."""
        kept = without_failed(pending)
        system = [e for e in kept if e.type in STANDING]
        asked = [said for e in kept if e.type in ("user.message", "turn.interrupted") for said in asked_by(e)]
        if not asked and (self._silent or self.committed.last.get("nudge")):
            asked = [(text(NO_MESSAGE if self._silent else self.committed.last.get("words", GO_ON)), None)]
        if not asked and self.committed.goes_on:
            return [], system
        said: list[Said] = [*self._results(kept), *asked]
        if not said:
            return [], system
        parts = [Part.of("user", said)]
        texts: list[Said] = [(text(e.text), (e.seq, 0)) for e in system if e.text and e.text.strip()]
        if texts:
            parts.append(Part.of("system", texts))
        return [*self.committed.unsaid(), *parts], []

    def _results(self, pending: list[Entry]) -> list[Said]:
        now = self.committed
        return results_of(pending, now.calls, late=now.late, as_text=now.last.get("said") or ())

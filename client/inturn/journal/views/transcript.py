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
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, cast

from inturn.journal.views.doubts import LEFT_OUT, Place, doubted_places, replaced
from inturn.journal.views.requests import APPLICATION, NO_ANSWER, Form, Part, Said, View
from inturn.turns.answers import THINKING
from inturn.turns.blocks import CONTENT, TEXT, Block, content_blocks, text
from inturn.turns.stop_reasons import PAUSES
from inturn.values import Entry

Message = dict[str, Any]

TYPES: Final = (
    "session.started",
    "user.message",
    "agent.message",
    "agent.tool_result",
    "system.message",
    "turn.failed",
    "turn.interrupted",
    "transcript.doubted",
)
"""The entries that matter here: a cold read needs no others."""

UNANSWERED: Final = "interrupted: this call has no result"
TOO_MANY: Final = "This call did not run: an answer had more calls than run at once. Make fewer calls in one answer."
NO_MESSAGE: Final = "(no message)"
EMPTY: Final = "(empty)"
STOPPED: Final = f"{APPLICATION}\nYour last answer was stopped before its end. You had said: "
GO_ON: Final = f"{APPLICATION}\nYour last answer ended before its end. Please go on."

_PENDING: Final = frozenset({"user.message", "agent.tool_result", "system.message", "turn.failed"})
_SENDABLE: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})


class Transcript:
    """A session's transcript so far. Apply entries in order of seq; keep it, and apply only what is new.

    Attributes:
        manifest: What the session froze (`agent`, `model`, `system`, `tools`), with the tools that changes declared;
            `None` before `session.started`.
        manifest_hash: The hash of the manifest that the model was last given.
        seq: The last applied entry.
        call_ids: The ids of all calls that its answers made.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Begin with some entries."""
        self.manifest: dict[str, Any] | None = None
        self.manifest_hash: str | None = None
        self.seq = 0
        self.call_ids: set[str] = set()
        self._committed: list[Part] = []
        self._view = View()
        self._last: Mapping[str, Any] = {}  # the last answer's entry
        self._goes_on = False  # it paused, and is sent back as it came
        self._before_pause: tuple[int, list[str], set[str], Mapping[str, Any]] = (0, [], set(), {})
        self._calls: list[str] = []  # the tool_use ids that have no result yet, in order
        self._late: set[str] = set()  # those of them that did not get to run
        self._paused: tuple[str | None, int] = (None, 0)  # how often an event's turn paused
        self._pending: list[Entry] = []
        self._silent = False  # somebody says that nobody says anything
        for entry in entries:
            self.apply(entry)

    def apply(self, entry: Entry) -> None:
        """Take the next entry. One that was applied before changes nothing."""
        if entry.seq <= self.seq:
            return
        self.seq = entry.seq
        if entry.type == "agent.message":
            self._answer(entry)
        elif entry.type == "transcript.doubted":
            self._doubt(doubted_places(entry))
        elif entry.type in _PENDING or (entry.type == "turn.interrupted" and entry.body.get("partial")):
            self._pending.append(entry)
        if entry.type == "session.started" and self.manifest is None:
            self.manifest = {name: entry.body.get(name) for name in ("agent", "model", "system", "tools")}
        if entry.type == "system.message" and "tools" in entry.body:
            self._declare(entry.body)
        if entry.type in ("session.started", "system.message"):
            self.manifest_hash = entry.body.get("manifest", self.manifest_hash)

    def awaits(self, event_id: str) -> bool:
        """Return whether what an event asks is yet to be answered."""
        return any(entry.type == "user.message" and entry.event_id == event_id for entry in self._pending)

    def others(self, event_id: str) -> list[str]:
        """Return the events, but this one, that a request made now would hold something unanswered of."""
        kept = [e for e in _without_failed(self._pending) if e.type != "system.message"]
        return list(dict.fromkeys(e.event_id for e in kept if e.event_id and e.event_id != event_id))

    def request_messages(self, form: Form | None = None, *, without: Collection[str] = ()) -> list[Message]:
        """Return the messages of a request made now; `without`: events whose unanswered entries it leaves out.

        The list is the caller's; the messages in it are shared with later requests: copy one before changing it.
        """
        form = form or Form()
        if self._view.form != form:
            self._view = View(form)
        self._view.extend(self._committed)
        asked, _ = self._tail(_left(self._pending, without))
        return self._view.rendered(asked)

    @property
    def nudged(self) -> bool:
        """Whether the last answer was empty, and the model is asked to go on."""
        return bool(self._last.get("nudge"))

    @property
    def owes_results(self) -> bool:
        """Whether the next request brings results of calls."""
        return bool(self._calls)

    def pauses(self, event_id: str | None) -> int:
        """Return how often the model paused in an event's turn, if that is the last one."""
        return self._paused[1] if self._paused[0] == event_id else 0

    def committed_places(self, of: Callable[[Block], bool] = bool) -> list[Place]:
        """Return where the journal has what is committed, in order; `of`: blocks of some kind only."""
        return [place for part in self._committed for block, place in part.said if place is not None and of(block)]

    def measured(self, by: Callable[[Block], int]) -> dict[Place, int]:
        """Return what is committed with a measure of each block."""
        return {place: by(block) for part in self._committed for block, place in part.said if place is not None}

    def places_of(self, message: int, block: int | None = None) -> list[Place]:
        """Return where the journal has a committed message of the last request's form, or one block of it."""
        at = self._view.positions[message] if message < len(self._view.positions) else len(self._committed)
        places = self._committed[at].places if at < len(self._committed) else []
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
        probe._committed = [*self._committed]
        if without is not None:
            probe._doubt(without)
        probe._pending = [e for e in self._pending if e.type == "system.message"]
        probe._silent = True
        probe._view = View(form)
        return probe.request_messages(form)

    def _answer(self, answer: Entry) -> None:
        seen = answer.body.get("seen")
        upto = seen if isinstance(seen, int) else answer.seq
        content = _answered(answer, self.call_ids)
        self.call_ids |= {str(block.get("id")) for block, _ in content if block["type"] == "tool_use"}
        if answer.body.get("stop") == "refusal":
            self._take_back(answer, upto)
            return
        asked = _left([e for e in self._pending if e.seq <= upto], answer.body.get("without") or ())
        answered, left = self._tail(asked)
        if not self._committed and not answered:
            answered = [Part.of("user", [(text(NO_MESSAGE), None)])]
        before = (len(self._committed), self._calls, self._late, self._last)
        self._committed += [part.committed() for part in answered]
        goes_on = _pauses(answer.body) and bool(content)
        if goes_on and not self._goes_on:
            self._before_pause = before
        if not goes_on and (not content or content[-1][0]["type"] in THINKING):
            content.append((text(NO_ANSWER), None))
        said = set(answer.body.get("said") or ())
        calls = [str(block.get("id")) for block, _ in content if block["type"] == "tool_use"]
        ran = answer.body.get("ran")
        self._late = set(calls[ran:]) if isinstance(ran, int) else set()
        counts = _is_pause(answer.body) or bool(answer.body.get("nudge"))
        self._paused = (answer.event_id, self.pauses(answer.event_id) + counts)
        self._calls = [*(self._calls if self._goes_on and not answered else []), *calls, *said]
        self._last, self._goes_on = answer.body, goes_on
        owner = answer.body.get("asked", answer.body.get("model"))
        self._committed.append(Part.of("assistant", content, owner).committed())
        self._pending = left + [e for e in self._pending if e.seq > upto]

    def _take_back(self, refusal: Entry, upto: int) -> None:
        """Commit nothing of a refused event since its last answer: the model would refuse whatever holds it."""
        self._pending = [e for e in self._pending if e.seq > upto or not _is_of(e, {refusal.event_id})]
        if self._goes_on:  # what paused before was a part of the answer that is refused
            count, self._calls, self._late, self._last = self._before_pause
            del self._committed[count:]
            self._view, self._goes_on = View(self._view.form), False
        self._last = {name: value for name, value in self._last.items() if name != "nudge"}

    def _doubt(self, places: Collection[Place]) -> None:
        """Leave blocks out, in place; no answer's thinking is bound to what it answered any more."""
        left_out = {
            str(block.get("id"))
            for part in self._committed
            for block, place in part.said
            if place in places and block["type"] == "tool_use"
        }
        for at, part in enumerate(self._committed):
            said = [
                (replaced(block) if place in places or block.get("tool_use_id") in left_out else block, place)
                for block, place in part.said
            ]
            kept = [(block, place) for block, place in said if block["type"] not in THINKING]
            made = Part.of(part.message["role"], kept or [(text(NO_ANSWER), None)], part.owner)
            self._committed[at] = made.committed()
        self._view = View(self._view.form)
        if self._goes_on:  # what paused is not what it was
            self._goes_on, self._last = False, {**self._last, "nudge": True}

    def _declare(self, change: Mapping[str, Any]) -> None:
        """Declare the tools that a changed agent has more; thinking that was bound to those before goes."""
        manifest = self.manifest or {}
        self.manifest = {**manifest, "tools": [*(manifest.get("tools") or []), *change["tools"]]}
        if change.get("unbinds"):
            self._doubt(())

    def _tail(self, pending: list[Entry]) -> tuple[list[Part], list[Entry]]:
        """Return what is pending as messages, and the entries that cannot be sent yet: system ones without a user's."""
        kept = _without_failed(pending)
        system = [e for e in kept if e.type == "system.message"]
        asked = [said for e in kept if e.type in ("user.message", "turn.interrupted") for said in _asked(e)]
        if not asked and (self._silent or self._last.get("nudge")):
            asked = [(text(NO_MESSAGE if self._silent else GO_ON), None)]
        if not asked and self._goes_on:
            return [], system
        said: list[Said] = [*self._results(kept), *asked]
        if not said:
            return [], system
        parts = [Part.of("user", said)]
        texts: list[Said] = [(text(e.text), (e.seq, 0)) for e in system if e.text and e.text.strip()]
        if texts:
            parts.append(Part.of("system", texts))
        if self._goes_on and self._committed[-1].message["content"][-1]["type"] in THINKING:
            parts.insert(0, Part.of("assistant", [(text(NO_ANSWER), None)]))
        return parts, []

    def _results(self, pending: list[Entry]) -> list[Said]:
        """Return one result per call, in call order; the first one counts. Behind them those of calls said as text."""
        given: dict[Any, Entry] = {}
        for entry in pending:
            if entry.type == "agent.tool_result":
                given.setdefault(entry.body.get("call_id"), entry)
        said = self._last.get("said") or ()
        made = [_result(call, given.get(call), TOO_MANY if call in self._late else UNANSWERED) for call in self._calls]
        results = [(block, place) for block, place in made if block["tool_use_id"] not in said]
        return results + [(_told(block), place) for block, place in made if block["tool_use_id"] in said]


def _left(pending: list[Entry], without: Collection[str]) -> list[Entry]:
    return [e for e in pending if e.type == "system.message" or e.event_id not in without] if without else pending


def _without_failed(pending: list[Entry]) -> list[Entry]:
    """Leave out what failed turns take back: what their events, or events that joined them, put in before."""
    kept: list[Entry] = []
    failed: set[str | None] = set()
    for entry in reversed(pending):
        if entry.type == "turn.failed":
            failed |= {entry.event_id, entry.body.get("turn")} - {None}
        elif not _is_of(entry, failed):
            kept.append(entry)
    return kept[::-1]


def _is_of(entry: Entry, events: set[str | None]) -> bool:
    """Return whether an entry is one of these events', and goes with them."""
    return entry.type != "system.message" and bool(events & {entry.event_id, entry.body.get("turn")})


def _pauses(answer: Mapping[str, Any]) -> bool:
    """Return whether an answer is sent back as it came."""
    return _is_pause(answer) and not answer.get("nudge")


def _is_pause(answer: Mapping[str, Any]) -> bool:
    stop = answer.get("stop")
    return isinstance(stop, str) and stop in PAUSES


def _result(call: str, entry: Entry | None, otherwise: str) -> Said:
    block: Block = {"type": "tool_result", "tool_use_id": call}
    if entry is None:
        return {**block, "content": otherwise, "is_error": True}, None
    body = entry.body
    failed = body.get("status") != "ok"
    # The API takes nothing but text in an error's result.
    content = content_blocks(body.get("content"), TEXT if failed else CONTENT)
    said = str(body.get("text") or "")
    block["content"] = content or (said if said.strip() else EMPTY)
    return {**block, "is_error": True} if failed else block, (entry.seq, 0)


def _told(result: Block) -> Block:
    content = result["content"]
    said = content if isinstance(content, str) else " ".join(str(block.get("text", LEFT_OUT)) for block in content)
    return text(f"[From the application: the result of that call] {said}")


def _asked(entry: Entry) -> list[Said]:
    if entry.type == "turn.interrupted":
        return [(text(f"{STOPPED}{entry.body['partial']}"), (entry.seq, 0))]
    blocks = content_blocks(entry.body.get("content")) or [text(NO_MESSAGE)]
    return [(block, (entry.seq, n)) for n, block in enumerate(blocks)]


def _answered(entry: Entry, taken: Collection[str]) -> list[Said]:
    """Return the blocks of an answer that can be sent back; of calls with one id the session's first."""
    content = entry.body.get("content")
    content = [text(content)] if isinstance(content, str) else content
    items = cast("list[object]", content) if isinstance(content, list) else []
    said: list[Said] = []
    ids = set(taken)
    for n, item in enumerate(items):
        block = cast("Block", item) if isinstance(item, dict) else {}
        kind = block.get("type")
        if kind not in _SENDABLE or (kind == "text" and not str(block.get("text") or "").strip()):
            continue
        if kind == "tool_use":
            if str(block.get("id")) in ids:
                continue
            ids.add(str(block.get("id")))
        said.append((block, (entry.seq, n)))
    return said

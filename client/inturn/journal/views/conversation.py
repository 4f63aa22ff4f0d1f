"""What is committed of a session's messages, and what the next request owes it.

Invariant: its messages alternate as the API wants them, and end with an answer; none changes but by a finding that the
API takes it no more (in place), by a refusal of what had only paused, and by a compaction, which puts what stands for
the beginning in its place.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from inturn.journal.views import compactions
from inturn.journal.views.cached import Cached
from inturn.journal.views.compactions import Cut
from inturn.journal.views.doubts import Place, replaced
from inturn.journal.views.requests import NO_ANSWER, Form, Message, Part, Said, View, is_block, summary_in_words
from inturn.turns import server_blocks, tokens
from inturn.turns.answers import THINKING
from inturn.turns.blocks import Block, text
from inturn.values import Entry

UNIQUE: Final = 16
"""Characters of an id from which on it is taken for one that nobody makes twice."""


@dataclass(frozen=True, slots=True)
class BeforePause:
    """What stood before an answer that paused, for whoever takes it back."""

    count: int = 0
    calls: list[str] = field(default_factory=list[str])
    late: set[str] = field(default_factory=set[str])
    last: Mapping[str, Any] = field(default_factory=dict[str, Any])


class CallIds(set[str]):
    """The ids of calls so far.

    Attributes:
        forgot: Those of what was left out are known no more; each short one counts as one of them.
    """

    def __init__(self, ids: Iterable[str] = (), *, forgot: bool = False) -> None:
        """Make them."""
        super().__init__(ids)
        self.forgot = forgot

    def __contains__(self, call_id: object) -> bool:
        """Return whether no other call may have this id."""
        return super().__contains__(call_id) or (self.forgot and len(str(call_id)) < UNIQUE)


@dataclass(slots=True)
class Conversation:
    """A conversation so far.

    Attributes:
        parts: Its messages.
        head: How many of them stand for what was left out.
        calls: The tool_use ids that have no result yet, in order.
        late: Those of them that did not get to run.
        last: The last answer's entry.
        goes_on: It paused, and is sent back as it came.
        before_pause: What stood before it then.
        paused: How often an event's turn paused.
        corrected: The event whose answer did last not have its form.
        container: Where the model runs code, as its last answer that did so said.
        native: Some answer brought a state of its provider's own.
        counted: Tokens up to the last answer, by its own count.
        cached: What the last answer's request left in the cache, where the next one begins with it.
        stripped: Answers of requests that had not read so far lose what they thought.
    """

    parts: list[Part] = field(default_factory=list[Part])
    head: int = 0
    calls: list[str] = field(default_factory=list[str])
    late: set[str] = field(default_factory=set[str])
    last: Mapping[str, Any] = field(default_factory=dict[str, Any])
    goes_on: bool = False
    before_pause: BeforePause = field(default_factory=BeforePause)
    paused: tuple[str | None, int] = (None, 0)
    corrected: str | None = None
    container: Mapping[str, Any] = field(default_factory=dict[str, Any])
    native: bool = False
    counted: int | None = None
    cached: Cached | None = None
    stripped: int = 0
    _cuts: list[Cut] = field(default_factory=list[Cut])
    _sums: list[int] = field(default_factory=lambda: [0])
    """Of the tokens of the messages that were measured, from the first on."""

    def copied(self) -> Conversation:
        """Return one that changes for itself."""
        return replace(self, parts=[*self.parts], _cuts=[*self._cuts], _sums=[*self._sums])

    def said(self) -> Iterator[tuple[Block, Place]]:
        """Yield its blocks that the journal has, with where."""
        for part in self.parts:
            yield from ((block, place) for block, place in part.said if place is not None)

    @property
    def size(self) -> int:
        """About how many tokens its messages are."""
        return self.size_from(0)

    def size_from(self, at: int) -> int:
        """Return about how many tokens its messages are, from one on."""
        sums = self._sums
        for part in self.parts[len(sums) - 1 :]:
            sums.append(sums[-1] + tokens.of_message(part.message))
        return sums[-1] - sums[at]

    @property
    def length(self) -> int:
        """How many messages it has, without those that stand for others."""
        return len(self.parts) - self.head

    @property
    def cuts(self) -> list[Cut]:
        """Where it can be cut so that something is left out, oldest first."""
        # What an answer that paused had answered may yet be taken back.
        most = self.before_pause.count if self.goes_on else len(self.parts)
        return [cut for cut in self._cuts if self.head < cut.at <= most]

    def unsaid(self) -> list[Part]:
        """Return what is to stand behind an answer that paused in its thoughts, where something else follows it."""
        waits, last = self.awaited, self.parts[-1:]
        thinks = self.goes_on and last and last[0].message["content"][-1]["type"] in THINKING
        if not (waits or thinks):
            return []
        said: list[Said] = [(block, None) for block in (*server_blocks.closed(waits), text(NO_ANSWER))]
        return [replace(Part.of("assistant", said), provider=last[0].provider)]

    @property
    def awaited(self) -> dict[str, str]:
        """The calls of the provider's own that an answer paused in, without a result yet."""
        return server_blocks.still_open(block for part in self._last() for block in part.message["content"])

    def _last(self) -> list[Part]:
        """Return the last answer, with those behind which it went on."""
        return [*itertools.takewhile(lambda part: part.message["role"] == "assistant", reversed(self.parts))][::-1]

    def container_at(self, now: float, form: Form) -> str | None:
        """Return where the model's code is to run on, if that is still there; `now`: seconds since 1970."""
        given = self.container
        ours = given.get("provider") == form.provider and now < float(given.get("until") or 0)
        return str(given["id"]) if ours and given.get("id") else None

    @property
    def paused_text(self) -> str:
        """What the answers said that paused, and from which the next one goes on."""
        said = (block for part in self._last() if self.goes_on for block in part.message["content"])
        return "".join(str(block["text"]) for block in said if block["type"] == "text")

    def before(self, cut: Cut | None, form: Form) -> list[Message]:
        """Return the messages that an answer answered, as they were sent; `None`: all."""
        view = View(form)
        view.extend(self.parts[: self._at(cut)])
        return view.messages

    def left_out(self, cut: Cut | None) -> int:
        """Return how many messages stand before a cut; `None`: behind all."""
        return self._at(cut) - self.head

    def tools_used(self, cut: Cut | None) -> set[str]:
        """Return the tools that are called behind a cut."""
        kept = self.parts[self._at(cut) :]
        return {str(block["name"]) for part in kept for block, _ in part.said if block["type"] == "tool_use"}

    def call_ids(self) -> set[str]:
        """Return the ids of its calls."""
        return {str(block.get("id")) for part in self.parts for block, _ in part.said if block["type"] == "tool_use"}

    def _at(self, cut: Cut | None) -> int:
        return len(self.parts) if cut is None else cut.at

    def answer(self, answered: Sequence[Part], content: Sequence[Said], answer: Entry, seen: int) -> None:
        """Commit an answer, and what it answered, as it was sent."""
        self.parts += [part.committed() for part in answered]
        self.cached = Cached.of(answer)
        if answered:
            self._cuts.append(Cut(len(self.parts), answer.seq, seen, answer.event_id))
        made = Part.answer(content, answer.body).committed()
        self.container = answer.body.get("container") or self.container
        self.native = self.native or made.native is not None
        self.parts.append(compactions.without_thoughts(made) if seen < self.stripped else made)

    def take_back_pause(self) -> None:
        """Take back what paused, with what it answered."""
        count = self.before_pause.count
        self.calls, self.late, self.last = self.before_pause.calls, self.before_pause.late, self.before_pause.last
        del self.parts[count:], self._sums[count + 1 :]
        self._cuts = [cut for cut in self._cuts if cut.at < count]
        self.goes_on = False

    def doubt(self, places: Collection[Place], *, shown: bool = False) -> None:
        """Leave blocks out, in place; no answer's thinking is bound to what it answered any more.

        `shown`: only what they show.
        """
        gone = [block for block, place in self.said() if place in places]
        left_out = {block.get("id") for block in gone if block["type"] in ("tool_use", server_blocks.CALL)}
        left_out |= {block["tool_use_id"] for block in gone if server_blocks.is_made(block) and "tool_use_id" in block}

        def doubted(block: Block, place: Place | None) -> Block:
            ids = {block.get("tool_use_id"), block.get("id")} - {None}
            return replaced(block, shown=shown) if place in places or ids & left_out else block

        for at, part in enumerate(self.parts):
            said = part.said
            if is_block(part.message) and said[0][1] in places:  # what it says stays, in words
                self.parts[at] = replace(part, message=summary_in_words(part.message), owner=None).committed()
                continue
            kept = [(doubted(*each), each[1]) for each in said if each[0]["type"] not in THINKING]
            made = Part.of(part.message["role"], kept or [(text(NO_ANSWER), None)], part.owner).committed()
            self.parts[at] = replace(made, provider=part.provider, native=None if places else part.native)
        self._sums, self.counted, self.cached = [0], None if shown else self.counted, None
        self.pause_no_more()

    def pause_no_more(self) -> None:
        """Ask to go on behind an answer that paused: it is not what it was."""
        if self.goes_on:
            self.goes_on, self.last = False, {**self.last, "nudge": True}

    def cut_of(self, entry: Entry) -> Cut | None:
        """Return where a compaction cuts; `None`: all goes."""
        return next((cut for cut in self._cuts if cut.seq == entry.body.get("kept_from")), None)

    def unbind(self, entry: Entry, at: int = 0) -> None:
        """Take from answers what they thought that a compaction leaves without what it was bound to."""
        # What the model itself summarised it takes for unchanged; whatever others thought was bound to another form.
        bound = entry.body.get("model") if entry.body["by"] == "claude" else None
        kept = [p if bound and p.owner == bound else compactions.without_thoughts(p) for p in self.parts[at:]]
        self.parts, self.counted, self._sums, self.cached = [*self.parts[:at], *kept], None, [0], None
        if bound is None:
            self.stripped = entry.seq
            self.pause_no_more()

    def compact(self, entry: Entry) -> None:
        """Put what stands for it in the place of what was said before a cut."""
        cut, heads = self.cut_of(entry), compactions.heads(entry)
        at = self._at(cut)
        self.unbind(entry, at)
        moved = len(heads) - at
        self.parts, self.head = [*heads, *self.parts[at:]], len(heads)
        self._cuts = [replace(c, at=c.at + moved) for c in self._cuts if c.at >= at]
        self.before_pause = replace(self.before_pause, count=self.before_pause.count + moved)
        if cut is None:
            self.calls, self.late, self.goes_on = [], set(), False
            # Behind the API's own, what was said before comes next (`inturn.testing.run`).
            self.last = {} if entry.body["by"] == "claude" else {"nudge": True, "words": compactions.GO_ON}

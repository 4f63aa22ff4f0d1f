"""Making room in a conversation: where it is cut, and what stands for its beginning.

    the API's own summary ──► a request of ours for one ──► one of words alone ──► the oldest half is left out

Invariant: there is always a next one, and the last asks nobody: whatever a model makes of a summary, the session goes
on. What is written down is all that any worker needs to send the same; who summarises is paid once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, Final

from inturn.journal.views.compactions import By, Cut, summary_in
from inturn.journal.views.requests import Form, Message
from inturn.journal.views.transcript import Transcript
from inturn.models import ModelRequest
from inturn.turns import tokens
from inturn.turns.blocks import Block, text
from inturn.turns.budget import total
from inturn.turns.compaction import Room
from inturn.turns.room.summaries import Ladder, Made, Means, Summariser, in_plain_words
from inturn.values import Usage

WORTH: Final = 10
"""A summary takes up this part of the window at least, where there is no need for one yet."""
MAX_WHY: Final = 200


class Compacting:
    """Makes room in one conversation, once.

    Attributes:
        used: What the answers used that came.
        failures: Why those before the last gave nothing.
    """

    def __init__(
        self, by: Summariser, request: ModelRequest, transcript: Transcript, room: Room, *, tight: bool = False
    ) -> None:
        """Compact the conversation that a request is to be made of; `tight`: keep as little as can be."""
        self._by = by
        self._request = request
        self._transcript = transcript
        self._said = transcript.committed
        self._room = room
        self._tight = tight
        self._frame = tokens.of_value(request.system) + tokens.of_value(request.tools)
        self._pending = transcript.pending_size()
        self.used = Usage()
        self.failures: list[str] = []

    @property
    def full(self) -> bool:
        """Whether a request made now has too little room, and compacting makes some."""
        new = self._room.new(self._pending, self._frame)
        return not self._room.fits(self._transcript.size - self._pending + new)

    async def body(self, *, needed: bool = True, asks: bool = True) -> dict[str, Any] | None:
        """Return the body of the entry; `None`: there is nothing to leave out.

        Args:
            needed: There is no room without it; else nothing is left out that nobody summarised.
            asks: The model is asked for a summary.

        Raises:
            ModelError: It is needed, and the model is away, or its account is in trouble: that passes.
        """
        cut = self._cut
        if cut is None and not self._said.length:
            return None
        made = await self._summary(cut, needed=needed) if asks else None
        if made is None:
            return self._left_out() if needed else None
        means = made.means
        return self._body(means.by, means.cut, made.block, model=made.model, consumed=means.consumed)

    def worth_it(self) -> bool:
        """Return whether what would be left out is enough to be paid for, while there is room yet."""
        cut = self._cut
        return cut is not None and (self._said.size - self._said.size_from(cut.at)) * WORTH >= self._room.window

    @cached_property
    def _cut(self) -> Cut | None:
        """Return where to cut: before the last turns, as many as are to stay and fit; `None`: all of it goes."""
        head, cuts = self._room.summary, self._said.cuts
        fitting = [cut for cut in cuts if self._keeps(cut, head, self._pending)]
        if not fitting:  # not for what somebody sends, and is only guessed, is all of it to go
            new = self._room.new(self._room.window, self._frame)
            return next((cut for cut in reversed(cuts) if self._keeps(cut, head, new)), None)
        few = [cut for cut in fitting if self._said.size_from(cut.at) <= self._room.kept]
        if self._tight or not few:
            return fitting[-1]
        turns = list(dict.fromkeys(cut.event_id for cut in reversed(few)))[: self._by.settings.keep_turns]
        return next(cut for cut in few if cut.event_id in turns)

    def _keeps(self, cut: Cut, head: int, new: int) -> bool:
        """Return whether what is behind a cut fits, with so much before it and so much that is new."""
        return self._room.fits(self._frame + head + self._said.size_from(cut.at) + new)

    async def _summary(self, cut: Cut | None, *, needed: bool) -> Made | None:
        ladder = Ladder(self._by, self._request, self._room, needed=needed)
        try:
            return await ladder.summary(list(self._means(cut, needed=needed)))
        finally:
            self.used, self.failures = total(answer.usage for answer in ladder.answers), ladder.failures

    def _means(self, cut: Cut | None, *, needed: bool) -> Iterator[Means]:
        """Yield the means to a summary, the best first; who names a model for it pays no other while there is room."""
        by, consumed, ours = self._by, list[str](), cut
        if self._transcript.owes_results:
            # What the open answer thought would be cut from its calls: they go along, and their results with them.
            ours, consumed = None, self._transcript.consumed()
        if by.other is not None:
            yield self._ours(by.other, ours, consumed)
            if not needed:
                return
        if by.form(by.model).compacted and cut is not None:
            said = partial(self._said.before, cut, by.form(by.model))
            yield Means("claude", by.model, cut, said, self._before(cut))
        own = self._ours(by.model, ours, consumed)
        yield own
        yield Means("summary", by.model, ours, lambda: in_plain_words(own.messages()), own.tokens, consumed)

    def _ours(self, model: str, cut: Cut | None, consumed: Sequence[str]) -> Means:
        said = self._messages(cut, self._by.form(model))
        return Means("summary", model, cut, said, self._before(cut), consumed)

    def _messages(self, cut: Cut | None, form: Form) -> Callable[[], list[Message]]:
        if cut is None:
            return partial(self._transcript.said_so_far, form)
        return partial(self._said.before, cut, form)

    def _before(self, cut: Cut | None) -> int:
        """Return how many tokens at most are to be summarised."""
        counted = self._transcript.size - self._pending
        if cut is None:
            return counted + self._pending * self._transcript.owes_results
        return min(counted, self._frame + self._said.size - self._said.size_from(cut.at))

    def _left_out(self) -> dict[str, Any] | None:
        """Leave the oldest half out, and more where that is not enough; an earlier summary stays where it can."""
        cuts, half, earlier = self._said.cuts, self._said.size // 2, self._earlier()
        new, head = self._room.new(self._pending, self._frame), tokens.of_value(earlier)
        fitting = [cut for cut in cuts if self._keeps(cut, head, new) and not self._tight]
        smaller = [cut for cut in fitting if self._said.size_from(cut.at) <= half]
        cut = next(iter([*smaller, *fitting[-1:], *cuts[-1:]]), None)
        if cut is None and (self._transcript.owes_results or self._pending >= self._said.size):
            return None  # the calls stay beside their results, and the larger part is not left out for what is new
        return self._body("cut", cut, earlier, left_out=self._said.left_out(cut))

    def _earlier(self) -> Block:
        """Return the summary that the conversation begins with, in words; without any where it has none."""
        if self._tight or not self._said.head or not self._transcript.compactions:
            return {}
        said, shown = summary_in(self._transcript.compactions[-1]), self._said.parts[0].message["content"][0]
        stands = said and said in str(shown.get("text") or shown.get("content"))  # nobody found it to be refused
        return text(said) if stands else {}

    def _body(self, by: By, cut: Cut | None, block: Block, **more: Any) -> dict[str, Any]:
        seqs, again = self._transcript.restated(cut, change=by == "claude")
        kept = self._frame + self._pending + (0 if cut is None else self._said.size_from(cut.at))
        body: dict[str, Any] = {
            "by": by,
            "seen": self._transcript.seq if cut is None else cut.seen,
            "kept_from": None if cut is None else cut.seq,
            "block": block,
            "tokens": [self._transcript.size, kept + tokens.of_value(block) + tokens.of_value(again)],
            "manifest": self._transcript.manifest_hash if by == "claude" else self._by.agent_hash,
            **{name: value for name, value in more.items() if value},
        }
        if again:
            body |= {"restated": seqs, "text": again}
        if self.failures:
            body["failures"] = [why[:MAX_WHY] for why in self.failures]
        before = {name: (self._transcript.manifest or {}).get(name) for name in ("system", "tools")}
        frozen = before if by == "claude" else self._frozen(cut, before["tools"] or [])
        if frozen != before or self._transcript.refrozen:  # whoever begins here has not read what was frozen before
            body["frozen"] = frozen
        if by == "claude" and self._transcript.since:
            body["since"] = self._transcript.since
        return body

    def _frozen(self, cut: Cut | None, before: Sequence[Any]) -> dict[str, Any]:
        """Return what the agent is today, with the tools besides that are called in what is kept."""
        agent, used = self._by.agent, self._said.tools_used(cut)
        offered = {tool["name"] for tool in agent["tools"]}
        kept = [tool for tool in before if tool["name"] in used and tool["name"] not in offered]
        return {"system": agent["system"], "tools": [*agent["tools"], *kept]}

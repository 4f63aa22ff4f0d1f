"""The order within each source, so plain that it is right by reading: one list, sorted for each question.

It shares no code with `workflows`. A cancelled event that was held stays in the list, so that its number is no gap:
whoever is in the list and not in the state `held` is such a placeholder. Times closer than `SAME` are one time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from inturn.policy import InboxPolicy

SAME = 1e-5
"""Seconds: far more than rounding, far less than any step of the clock."""


@dataclass(eq=False)
class Item:
    """One accepted event."""

    id: str
    n: int = 0
    at: float = 0.0
    state: str = ""
    size: int = 0
    source: str | None = None
    sequence: int | None = None
    sequencing: str | None = None
    aliases: tuple[str, ...] = ()
    when_busy: str = "queue"
    expires_after: float | None = None
    sent_at: float | None = None
    times: int = 0
    """How often it was driven again; then it has no content, and so no source."""
    steers: str | None = None
    group: int = 0
    """Events of one group become one turn."""

    @property
    def turn(self) -> str:
        """Its turn's name."""
        return f"{self.id}~{self.times}" if self.times else self.id

    @property
    def number(self) -> int:
        """The sequence of an event that has one."""
        assert self.sequence is not None
        return self.sequence

    def expired(self, now: float, policy: InboxPolicy) -> bool:
        """Return whether it has waited too long; one that was driven again never has."""
        if self.times:
            return False
        patience = self.expires_after if self.expires_after is not None else policy.expires_after
        since = self.sent_at if self.sent_at is not None else self.at
        return patience is not None and now > since + patience + SAME


@dataclass(frozen=True)
class Gap:
    """Numbers that are no longer waited for."""

    source: str
    first: int
    last: int
    behind: int
    """The `n` of the first event that waited for them."""


@dataclass(eq=False)
class SequenceModel:
    """What is held of every source, and what comes next."""

    most_sources: int = 0
    held: list[Item] = field(default_factory=list)
    next: dict[str, int | None] = field(default_factory=dict)
    """Dense: the number awaited; sparse: the highest released. The least recently used source first."""
    patience: dict[str, float] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    """What the latest event of a source that said it said of its numbers."""

    # Questions.

    def is_sparse(self, source: str, policy: InboxPolicy, item: Item | None = None) -> bool:
        """Return whether a source's numbers have holes; `item`: what comes now may say so."""
        said = (item.sequencing if item else None) or self.said.get(source)
        return (said or policy.sequencing) == "sparse"

    def of(self, source: str | None) -> list[Item]:
        """List what is held of a source, in order."""
        return sorted((item for item in self.held if item.source == source), key=lambda item: (item.number, item.n))

    def verdict(self, item: Item, policy: InboxPolicy) -> str:
        """Return what becomes of a new event that has a sequence: it is late, next or to be held."""
        awaited = self.awaited(str(item.source), policy, item.number, item)
        if self.is_sparse(str(item.source), policy, item):
            return "late" if awaited is not None and item.number < awaited else "held"
        assert awaited is not None
        if item.number < awaited or item.number in [other.number for other in self.of(item.source)]:
            return "late"
        return "next" if item.number == awaited else "held"

    def fills_a_gap(self, item: Item, policy: InboxPolicy) -> bool:
        """Return whether held events wait for just this one."""
        if item.sequence is None or not self.of(item.source) or self.is_sparse(str(item.source), policy, item):
            return False
        return self.verdict(item, policy) == "next"

    def is_missing(self, item: Item, policy: InboxPolicy) -> bool:
        """Return whether what is held of its source may wait for this one, too."""
        awaited = self.awaited(str(item.source), policy, item.number, item)
        return item.number >= (awaited or 0) and all(item.number < other.number for other in self.of(item.source))

    def awaited(
        self, source: str, policy: InboxPolicy, came: int | None = None, item: Item | None = None
    ) -> int | None:
        """Return the number that a source waits for; one of which nothing was released yet begins by the policy."""
        known = self.next.get(source)
        if known is not None or self.is_sparse(source, policy, item):
            return known
        if policy.first_sequence is not None:
            return policy.first_sequence
        return min([item.number for item in self.of(source)] + ([] if came is None else [came]))

    def deadline(self, source: str, policy: InboxPolicy) -> float:
        """Return until when a source that holds events waits."""
        mine = self.of(source)
        first_came = min(item.at for item in mine)
        if self.is_sparse(source, policy):
            return first_came + policy.reorder_window
        awaited = self.awaited(source, policy)
        if awaited is not None and mine[0].number <= awaited:  # only after a change of policy
            return 0.0
        return max(first_came + policy.gap_timeout, self.patience.get(source, 0.0))

    def waiting_sources(self, policy: InboxPolicy) -> list[str]:
        """List the sources that hold events in the order in which they are served."""
        sources = {str(item.source) for item in self.held}
        return sorted(sources, key=lambda source: (self.deadline(source, policy), self.of(source)[0].n))

    # Changes. What comes out comes out in order: gaps, and events whose state says what becomes of them.

    def refuse(self, source: str, until: float) -> None:
        """Wait longer for a refused event: it may come again."""
        self.patience[source] = max(self.patience.get(source, 0.0), until)
        self.use(source)

    def hold(self, item: Item) -> None:
        """Take an event that has to wait."""
        item.state = "held"
        self.held.append(item)
        self.use(str(item.source), item)

    def deliver(self, item: Item) -> list[Item | Gap]:
        """Take the event that is next. Returns it with what it held up."""
        source = str(item.source)
        self.next[source] = item.number + 1
        out = [item, *self._follow(source, "pending")]
        self.use(source, item)
        return out

    def release(self, now: float, policy: InboxPolicy) -> list[Item | Gap]:
        """Return what has waited long enough, taken out."""
        out: list[Item | Gap] = []
        while self.held:
            first = self.waiting_sources(policy)[0]
            if self.deadline(first, policy) > now + SAME:
                break
            out += self.end_wait(first, policy)
        return out

    def end_wait(self, source: str, policy: InboxPolicy) -> list[Item | Gap]:
        """End what a source waits for first: for lower numbers than the oldest one's, or for the end of a gap."""
        mine = self.of(source)
        self.use(source)
        if self.is_sparse(source, policy):
            oldest = min(mine, key=lambda item: (item.at, item.n))
            passed = self.next.get(source) or 0
            self.next[source] = max(passed, oldest.number)
            due = [item for item in mine if item.number <= oldest.number]
            # Late only after a change of policy.
            return [out for item in due for out in self._let_go(item, "late" if item.number < passed else "pending")]
        awaited, lowest = self.awaited(source, policy), mine[0]
        assert awaited is not None
        if lowest.number < awaited:  # only after a change of policy
            return self._let_go(lowest, "late")
        self.next[source] = lowest.number
        if lowest.number == awaited:
            return self._follow(source, "pending")
        gap = Gap(source, awaited, lowest.number - 1, lowest.n)
        return [gap, *self._follow(source, "parked" if policy.on_gap == "park" else "pending")]

    def clear(self) -> list[Item]:
        """Return everything, taken out; what comes later comes after it."""
        cleared, places = [item for item in self.held if item.state == "held"], self.held
        self.held = []
        for item in places:
            self.next[str(item.source)] = max(self.next.get(str(item.source)) or 0, item.number + 1)
            self.use(str(item.source))
        return cleared

    def use(self, source: str, item: Item | None = None) -> None:
        """Note that a source is in use, and what an event says of it; those unused for longest are forgotten."""
        if item is not None and item.sequencing:
            self.said[source] = item.sequencing
        self.next[source] = self.next.pop(source, None)
        while len(self.next) > self.most_sources:
            idle = [name for name in self.next if not self.of(name)]
            if not idle:
                break
            del self.next[idle[0]]
            self.patience.pop(idle[0], None)
            self.said.pop(idle[0], None)

    def _follow(self, source: str, state: str) -> list[Item | Gap]:
        out: list[Item | Gap] = []
        while (mine := self.of(source)) and mine[0].number == self.next[source]:
            out += self._let_go(mine[0], state)
            self.next[source] = mine[0].number + 1
        return out

    def _let_go(self, item: Item, state: str) -> list[Item | Gap]:
        self.held.remove(item)
        if item.state != "held":
            return []
        item.state = state
        return [item]

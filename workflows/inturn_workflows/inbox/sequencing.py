"""The order of sources: events that carry a `sequence` are held until it is their turn.

Rules:
  1. What a source numbered leaves here in the order of its numbers; sources never wait for one another.
  2. `dense`: numbers without holes. A missing one is waited for, `gap_timeout` seconds from the first event behind it;
     then the gap ends, by `on_gap`, and is reported. A missing one that is refused stops that clock: it is on its way.
  3. `sparse`: growing numbers with holes (chat timestamps). Each event waits `reorder_window` seconds for lower ones.
  4. What comes after its place has passed is late; it never overtakes backwards.
  5. Which of the two a source is, the latest of its events says that says so; else the policy does.
  6. At most `hold_capacity` events are held and `MAX_SOURCES` sources remembered.

Pure: time is an argument, in seconds since 1970.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Final, Literal

from pydantic import Field

from inturn import sizes
from inturn.policy import InboxPolicy, Sequencing
from inturn.wire import Message
from inturn_workflows.inbox.events import Queued

MAX_SOURCES: Final = 1_000
Verdict = Literal["next", "held", "late"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers of a source that did not come: `first` to `last`."""

    source: str
    first: int
    last: int
    behind: int
    """The event that waited for them, by its place in the order of acceptance."""


@dataclass(slots=True)
class Release:
    """What leaves the hold buffer together, in order."""

    ready: list[Queued] = field(default_factory=list)
    parked: list[Queued] = field(default_factory=list)
    """Set aside, because a gap before them never closed."""
    late: list[Queued] = field(default_factory=list)
    gap: Gap | None = None


class Source(Message):
    """Where a source stands."""

    next: int | None = None
    """The lowest number that is not late: dense, the one behind the last that left; sparse, the last itself."""
    sparse: bool | None = None
    """Whether its numbers have holes, as its events say; `None`: none did."""
    wait_until: float = 0.0
    """A gap is waited for until then at least: an event was refused and is to come again."""


class Sequencer(Message):
    """The hold buffer and the sources' places; carried whole by continue-as-new."""

    sources: dict[str, Source] = Field(default_factory=dict[str, Source])
    """The least recently used first."""
    held: list[Queued] = Field(default_factory=list[Queued])
    """In order of acceptance."""

    @cached_property
    def _groups(self) -> dict[str, list[Queued]]:
        """What is held by source, in sequence."""
        groups: dict[str, list[Queued]] = {}
        for queued in sorted(self.held, key=_place):
            groups.setdefault(queued.source, []).append(queued)
        return groups

    @cached_property
    def _ids(self) -> Counter[str]:
        """How many are held under each event id."""
        return Counter(queued.event_id for queued in self.held if queued.event)

    @cached_property
    def _by_alias(self) -> dict[str, Queued]:
        """What is held by its other ids."""
        return {alias: queued for queued in self.held for alias in queued.aliases}

    @property
    def bytes(self) -> int:
        """What the held events have as JSON, and the places that cancelled ones keep."""
        return sum(queued.size for queued in self.held)

    @property
    def referred(self) -> int:
        """Bytes of the held events' contents that the journal has."""
        return sum(queued.referred for queued in self.held)

    # Arrivals.

    def sparse(self, source: str, policy: InboxPolicy, said: Sequencing | None = None) -> bool:
        """Return whether a source's numbers have holes. `said`: by the event that comes."""
        known = self.sources.get(source)
        if said is None and known is not None and known.sparse is not None:
            return known.sparse
        return (said or policy.sequencing) == "sparse"

    def verdict(self, source: str, sequence: int, policy: InboxPolicy, said: Sequencing | None = None) -> Verdict:
        """Return what an arriving event would be. Changes nothing."""
        expected = self._expected(source, sequence, policy, said)
        if self.sparse(source, policy, said):
            return "late" if sequence < expected else "held"
        if sequence < expected or self._is_held(source, sequence):
            return "late"
        return "next" if sequence == expected else "held"

    def holds(self, event_id: str) -> bool:
        """Return whether an event is held."""
        return self._ids[event_id] > 0

    def under_alias(self, id_: str) -> Queued | None:
        """Return what is held under one of its other ids."""
        return self._by_alias.get(id_)

    def fills(self, source: str, sequence: int, policy: InboxPolicy, said: Sequencing | None = None) -> bool:
        """Return whether events of its source wait for it."""
        return self.verdict(source, sequence, policy, said) == "next" and bool(self._of(source))

    def misses(self, source: str, sequence: int, policy: InboxPolicy, said: Sequencing | None = None) -> bool:
        """Return whether a number lies before all that its source holds, and is not late."""
        held = self._of(source)
        return self._expected(source, sequence, policy, said) <= sequence and not (
            held and held[0].sequence <= sequence
        )

    def hold(self, queued: Queued) -> None:
        """Keep an event back."""
        self._touch(queued.source, queued.sequencing)
        insort(self._groups.setdefault(queued.source, []), queued, key=_place)
        self._ids[queued.event_id] += 1
        self._by_alias.update(dict.fromkeys(queued.aliases, queued))
        self.held.append(queued)

    def advance(self, queued: Queued) -> list[Queued]:
        """Pass the next one of a dense source. Returns it with those that waited for it."""
        source = self._touch(queued.source, queued.sequencing)
        source.next = queued.sequence + 1
        return [queued, *self._run(queued.source)]

    def go_on(self, source: str, number: int, said: Sequencing | None = None) -> None:
        """Have a source go on from a number, whatever left already. `said`: by its events."""
        self._touch(source, said).next = number

    def extend_wait(self, source: str, until: float) -> None:
        """Stop the clock of a source's gap: what was refused comes again."""
        kept = self._touch(source)
        kept.wait_until = max(kept.wait_until, until)

    # Time.

    def next_due(self, policy: InboxPolicy) -> float | None:
        """Return when something leaves here though nothing arrives: 0 at once, `None` never."""
        return min((self._deadline(source, policy) for source in self._groups), default=None)

    def release(self, policy: InboxPolicy, now: float) -> Iterator[Release]:
        """Yield what is due, wait by wait; the longest first."""
        waits = [self._wait(source, policy) for source in self._groups]
        heapify(waits)
        while waits and waits[0][0] <= now:
            source = heappop(waits)[-1]
            yield self._end(source, policy)
            if source in self._groups:
                heappush(waits, self._wait(source, policy))

    def release_early(self, policy: InboxPolicy) -> Release:
        """End the first wait of the source that would be due first: room is needed."""
        waits = [self._wait(source, policy) for source in self._groups]
        return self._end(min(waits)[-1], policy) if waits else Release()

    # People.

    def cancel(self, event_id: str, policy: InboxPolicy) -> Queued | None:
        """Take an event out. Where numbers have no holes, its place is kept: it is no gap."""
        for index, queued in enumerate(self.held):
            if queued.event_id == event_id and queued.event:
                self._take(queued.source, [queued])
                if not self.sparse(queued.source, policy):
                    place = queued.source, queued.sequence
                    kept = Queued(n=queued.n, at=queued.at, place=place, size=sizes.PLACE)
                    self.held.insert(index, kept)
                    insort(self._groups.setdefault(queued.source, []), kept, key=_place)
                return queued
        return None

    def clear(self) -> list[Queued]:
        """Take everything out; the sources go on behind it."""
        cleared, self.held = self.held, []
        self._groups.clear()
        self._ids.clear()
        self._by_alias.clear()
        for queued in cleared:
            source = self._touch(queued.source)
            source.next = max(source.next or 0, queued.sequence + 1)
        return [queued for queued in cleared if queued.event]

    def missing(self, queued: Queued, policy: InboxPolicy) -> Gap | None:
        """Return the numbers that a held event waits for first; `None` where it waits for time alone."""
        lowest = self._of(queued.source)[0]
        expected = self._expected(queued.source, lowest.sequence, policy)
        if self.sparse(queued.source, policy) or expected >= lowest.sequence:
            return None
        return Gap(queued.source, expected, lowest.sequence - 1, lowest.n)

    def deadline(self, queued: Queued, policy: InboxPolicy) -> float:
        """Return when the wait of a held event's source ends at the latest."""
        return self._deadline(queued.source, policy)

    # Inside.

    def _end(self, source: str, policy: InboxPolicy) -> Release:
        entries = self._of(source)
        if self.sparse(source, policy):
            top = min(entries, key=lambda queued: (queued.at, queued.n)).sequence
            return self._up_to(source, top)
        first = entries[0]
        expected = self._expected(source, first.sequence, policy)
        if first.sequence < expected:  # only where the source became another meanwhile
            self._take(source, [first])
            return Release(late=[first] if first.event else [])
        gap = None if first.sequence == expected else Gap(source, expected, first.sequence - 1, first.n)
        self._touch(source).next = first.sequence
        run = self._run(source)
        return Release(parked=run, gap=gap) if gap and policy.on_gap == "park" else Release(ready=run, gap=gap)

    def _up_to(self, source: str, top: int) -> Release:
        entries = [queued for queued in self._of(source) if queued.sequence <= top]
        self._take(source, entries)
        kept = self._touch(source)
        passed = kept.next or 0
        kept.next = max(passed, top)
        released = Release()
        for queued in entries:
            if queued.event:
                (released.late if queued.sequence < passed else released.ready).append(queued)
        return released

    def _run(self, source: str) -> list[Queued]:
        """Take the held ones that follow without a hole."""
        kept, run = self.sources[source], []
        for queued in self._of(source):
            if queued.sequence != kept.next:
                break
            kept.next = queued.sequence + 1
            run.append(queued)
        self._take(source, run)
        return [queued for queued in run if queued.event]

    def _expected(self, source: str, first: int, policy: InboxPolicy, said: Sequencing | None = None) -> int:
        """Return the lowest number that is not late. `first`: what comes from a source of which nothing left yet."""
        known = self.sources.get(source)
        if known is not None and known.next is not None:
            return known.next
        if self.sparse(source, policy, said):
            return 0
        if policy.first_sequence is not None:
            return policy.first_sequence
        return min([first, *(queued.sequence for queued in self._of(source)[:1])])

    def _deadline(self, source: str, policy: InboxPolicy) -> float:
        entries = self._of(source)
        oldest = min(queued.at for queued in entries)
        if self.sparse(source, policy):
            return oldest + policy.reorder_window
        if entries[0].sequence <= self._expected(source, entries[0].sequence, policy):
            return 0.0
        known = self.sources.get(source)
        return max(oldest + policy.gap_timeout, known.wait_until if known else 0.0)

    def _wait(self, source: str, policy: InboxPolicy) -> tuple[float, int, str]:
        """Return until when a source waits at most, and what is served first of those that wait as long."""
        return self._deadline(source, policy), self._of(source)[0].n, source

    def _of(self, source: str) -> list[Queued]:
        return self._groups.get(source, [])

    def _is_held(self, source: str, sequence: int) -> bool:
        held = self._of(source)
        at = bisect_left(held, sequence, key=lambda queued: queued.sequence)
        return at < len(held) and held[at].sequence == sequence

    def _take(self, source: str, entries: list[Queued]) -> None:
        gone, groups = {queued.n for queued in entries}, self._groups
        self._ids.subtract(queued.event_id for queued in entries if queued.event)
        for alias in (alias for queued in entries for alias in queued.aliases):
            self._by_alias.pop(alias, None)
        self.held = [queued for queued in self.held if queued.n not in gone]
        if left := [queued for queued in groups.pop(source, []) if queued.n not in gone]:
            groups[source] = left

    def _touch(self, source: str, said: Sequencing | None = None) -> Source:
        """Remember a source as the latest used; the one used least recently is forgotten, if it holds nothing."""
        kept = self.sources.pop(source, None) or Source()
        kept.sparse = kept.sparse if said is None else said == "sparse"
        self.sources[source] = kept
        if len(self.sources) > MAX_SOURCES:
            holding = self._groups
            idle = (name for name in self.sources if name not in holding and name != source)
            self.sources.pop(next(idle, source))
        return kept


def _place(queued: Queued) -> tuple[int, int]:
    return queued.sequence, queued.n

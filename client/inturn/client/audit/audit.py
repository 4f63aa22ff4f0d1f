"""The audit: was anything lost, repeated or reordered?

Invariant: it compares books that were kept apart: what the session carries through all its runs (counts, and how far
its journal went), and the outcomes and the entries in the journal; a deep one adds the histories of all runs that the
server retains. It changes nothing. A session goes on while its books are read: so its counts are compared with the
journal as that was when the session had seen the last of it, whatever was written since.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from inturn import names
from inturn.client.audit import books
from inturn.client.audit.accepted import Accepted, HistoryReader
from inturn.client.audit.ended_runs import EndedRuns
from inturn.client.status import StatusReader, open_events
from inturn.client.temporal.transport import Message, SessionTransport
from inturn.errors import InturnError, SessionNotFound, Unavailable
from inturn.histories import ended_how
from inturn.journal.views.turns import FOR_GOOD, Ends
from inturn.values import Audit, Disposition, Entry

if TYPE_CHECKING:
    from inturn.journal import Ending, SessionJournal

_OPEN: Final = frozenset({"accepted", "pending", "running", "held", "repeated"})
"""Counts that the journal's outcomes do not have; `repeated`: duplicates of events older than the session's window."""
_SETTLE_WITHIN: Final = 3.0
"""Seconds for what is on its way between the books to arrive, such as the end of an event that was just accepted."""
_LONGEST_PAUSE: Final = 0.2
"""Seconds between two looks."""
_MADE: Final = ("auto:", "invalid:", "sealed:", "~")


@dataclass(frozen=True)
class _Books:
    """All books, as they were read one after the other.

    Attributes:
        carried: The session's own status; `None` where it has no run that counts on.
        left: What a run that was ended from outside left open.
        endings: How events ended, by all that the journal has.
        ended: How events had ended where the session had seen the journal's last entry.
        recorded: The journal's counts of ended events, there.
        kept: Events whose content the journal keeps beside its entries.
        accepted: What the histories say, for a deep audit.
    """

    carried: Message | None
    left: Sequence[str]
    entries: Sequence[Entry]
    endings: Mapping[str, Ending]
    ended: Mapping[str, Disposition]
    recorded: Counter[str]
    kept: Mapping[str, int]
    accepted: Accepted | None
    aliases: Mapping[str, str]
    """For a deep audit: the journal's events by their other ids."""
    journal: Sequence[str] = field(default=())
    """How the journal differs from the one that the session knows."""
    head: int = 0
    """Where the journal ended before the histories were read: what is behind it they need not know."""

    @property
    def counts(self) -> dict[str, int]:
        """The session's counts, the journal's where it has none."""
        counts = self.recorded if self.carried is None else dict(self.carried.get("counts", {}))
        return {name: int(count) for name, count in counts.items() if count}

    @property
    def open(self) -> set[str]:
        """The events that wait or run."""
        return set() if self.carried is None else open_events(self.carried)


@dataclass
class Auditor:
    """Audits one session."""

    transport: SessionTransport

    async def audit(self, *, deep: bool) -> Audit:
        """Compare the books; see `Session.audit`."""
        journal = await self.transport.connection.any_journal()
        faults = [f"the journal's hash chain: {fault}" for fault in await journal.verify(self.transport.key)]
        try:
            if (pruned := await journal.pruned(self.transport.key)) is not None:
                return _of_pruned(pruned, faults)
            return await self._compared(journal, faults, deep=deep)
        except InturnError:
            raise
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            beyond = f"the books cannot be read: {type(error).__name__}: {error}"
            return Audit(ok=False, accepted=0, counts={}, differences=(*faults, beyond))

    async def _compared(self, journal: SessionJournal, faults: Sequence[str], *, deep: bool) -> Audit:
        """Compare the books; `faults` of the journal itself are differences, too.

        An event that one book lacks may be on its way there: it is missing if every look finds it so.
        """
        read = await self._read(journal, deep=deep)
        differences, missing = _differences(read), _missing(read)
        clock, pause = asyncio.get_running_loop().time, 0.05
        until = clock() + _SETTLE_WITHIN
        while (differences or missing) and clock() <= until:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            read = await self._read(journal, deep=deep)
            differences, found = _differences(read), set(_missing(read))
            missing = [event for event in missing if event in found]
        differences += [*missing, *faults]
        counts = read.counts
        total = counts.pop("accepted", sum(counts.values()))
        return Audit(
            ok=not differences,
            accepted=total,
            counts=counts,
            differences=tuple(differences),
            gone=() if read.accepted is None else tuple(read.accepted.gone),
            unknown=tuple(await journal.unknown_calls(self.transport.key)),
        )

    async def _read(self, journal: SessionJournal, *, deep: bool) -> _Books:
        """Read the books, while events go on: what was accepted, then what the session says of it, then its ends.

        Content is looked for before the entries and behind them: it is kept until an entry says it.
        """
        key = self.transport.key
        head = await journal.head(key)
        accepted = await self._accepted() if deep else None
        carried, left = await self._session(head)
        kept = await journal.contents(key)
        damaged: list[str] = []
        entries = [books.sound(entry, damaged) async for entry in journal.entries(key, types=books.READ)]
        seen = max((e.seq for e in entries), default=0) if carried is None else int(carried.get("head") or 0)
        ended = await journal.ended_by(key, seen)
        recorded: Counter[str] = Counter(ended.values())
        for entry in books.of_type([e for e in entries if e.seq <= seen], *books.DECIDED):
            if entry.type == "event.rejected" or "count" in entry.body:
                recorded[entry.type.removeprefix("event.")] += int(entry.body.get("count", 1))
        differs = damaged + ([] if carried is None else await self._located(journal, carried))
        endings, kept = await journal.endings(key), kept | await journal.contents(key)
        aliases = {} if accepted is None else await journal.aliases(key)
        return _Books(carried, left, entries, endings, ended, recorded, kept, accepted, aliases, differs, head)

    async def _accepted(self) -> Accepted | None:
        """Return what the histories say; `None` where the server has none of the session."""
        try:
            return await HistoryReader(self.transport).accepted()
        except SessionNotFound:
            return None

    async def _session(self, head: int) -> tuple[Message | None, list[str]]:
        """Return what the session says of itself, and what its end from outside left open."""
        status = StatusReader(self.transport)
        live, seen = await asyncio.gather(status.live(), status.seen())
        if seen is None and live is None:
            try:
                seen = await status.described()
            except SessionNotFound:
                if head == 0:
                    raise
                return None, []
        if seen is not None and (how := ended_how(seen.status)):
            left = await EndedRuns(self.transport).open_events(seen.run_id)
            if left is None:
                return None, [f"run {seen.run_id} was {how}, and what it left open is not known"]
            return None, [f"event {event_id} was open when run {seen.run_id} was {how}" for event_id in left]
        if live is None:  # a worker that is there may be busy, or take the session over just now
            live = await status.live(self.transport.connection.settings.worker_timeout)
        if live is None:
            raise Unavailable(f"session {self.transport.key} cannot be asked for its counts: no worker answers")
        return live, []

    async def _located(self, journal: SessionJournal, carried: Message) -> list[str]:
        """Compare the journal with what the session has seen of it."""
        key, known = self.transport.key, carried.get("journal")
        if not known:
            return []
        here, head = await journal.position(key), int(carried.get("head") or 0)
        if not await journal.known(key, known):
            return ["the journal here is another than the session's: it begins with another entry, or has none"]
        if here.head < head:
            return [f"the journal ends at entry {here.head}, and the session has seen entry {head}"]
        seq, seal = carried.get("seal") or (0, None)
        if seal is not None and await journal.sealed(key, known, seq) != seal:
            return [f"the entries up to {seq} are not those that the session has seen: they were written anew"]
        return []


def _of_pruned(pruned: Entry, faults: Sequence[str]) -> Audit:
    """Return what there is to say of a session whose log was pruned: its ends are counted, and compared no more."""
    counts = {str(name): int(count) for name, count in pruned.body.get("counts", {}).items()}
    total = sum(counts.values())
    return Audit(ok=not faults, accepted=total, counts=counts, differences=tuple(faults), pruned=pruned.seq - 1)


def _differences(read: _Books) -> list[str]:
    """Return what is wrong whenever it is seen."""
    found = [*read.left, *read.journal, *books.gaps(read.entries)]
    if read.carried is not None:
        found += _unequal(read, read.carried)
    return [
        *found,
        *books.contradictory(read.endings),
        *books.doubled(read.entries),
        *books.out_of_order(read.entries),
    ]


def _missing(read: _Books) -> list[str]:
    """Return what one book says of an event and another does not, or not yet."""
    entries, endings, found = read.entries, read.endings, list[str]()
    if read.carried is not None:
        found += books.unended([entry for entry in entries if entry.seq <= read.head], endings, read.open)
    found += books.without_content(entries, endings, read.kept.keys())
    if read.accepted is not None:
        found += [*_unanswered(read, read.accepted), *_unaccepted(read, read.accepted)]
    return found


def _unequal(read: _Books, carried: Message) -> list[str]:
    """Compare the session's counts with each other, and with the journal's and what that must still learn."""
    counts, recorded = read.counts, Counter(read.recorded)
    recorded.update({str(name): int(count) for name, count in carried.get("unrecorded", {}).items()})
    accepted = counts.pop("accepted", 0)
    found: list[str] = []
    if (ended := sum(counts.values())) != accepted:
        found.append(f"{accepted} events were accepted, but {ended} are accounted for")
    # Until a redriven event's turn ends, the journal holds it as parked.
    driven = sum(read.ended.get(event_id) == "parked" for event_id in read.open)
    recorded["parked"] -= min(driven, max(recorded["parked"] - counts.get("parked", 0), 0))
    unequal = [d for d in sorted((counts.keys() | recorded.keys()) - _OPEN) if counts.get(d, 0) != recorded[d]]
    if books.older_chains(read.entries, str(carried.get("chain") or "")):  # their events are in the journal alone
        unequal = [d for d in unequal if counts.get(d, 0) > recorded[d]]
    if carried.get("resets"):  # what it rejects then, it rejects under another number, or not at all
        unequal = [d for d in unequal if d != "rejected" or counts.get(d, 0) > recorded[d]]
    return found + [f"{d}: the session counts {counts.get(d, 0)}, the journal {recorded[d]}" for d in unequal]


def _unanswered(read: _Books, accepted: Accepted) -> list[str]:
    """Return the events of the histories that have not ended, do not wait, and were not rejected by an entry."""
    ends = Ends()
    for entry in books.of_type(read.entries, *names.COUNTED):
        ends.take(entry)
    ends.told |= {event_id: FOR_GOOD for event_id, ending in read.endings.items() if ending.outcome is not None}
    said = {str(e.body.get("joined") or e.event_id) for e in books.of_type(read.entries, "user.message")}
    lost = [
        f"event {event_id} waits, and what it says is gone"
        for event_id in sorted(accepted.claimed & read.open - said - read.kept.keys())
    ]
    found = [
        f"event {event_id}, accepted in run {accepted.run_of(event_id)}, has no outcome"
        for event_id in accepted.after(ends, read.open, read.aliases)
    ]
    return lost + found


def _unaccepted(read: _Books, accepted: Accepted) -> list[str]:
    """Return the journal's events that no run accepted, where the server still has all runs."""
    if accepted.gone or books.older_chains(read.entries, "") - accepted.chains:
        return []
    entries = books.of_type(read.entries, "turn.started", "event.parked", *books.DECIDED)
    ids = {str(e.event_id).partition("~")[0] for e in entries if e.event_id and e.seq <= read.head}
    made = {event_id for event_id in ids if event_id.startswith(_MADE)}  # by the session, for what had no id
    return [
        f"event {event_id} is in the journal, and no run accepted it"
        for event_id in sorted(ids - made - accepted.events.keys() - accepted.named)
    ]

"""The audit: was anything lost, repeated or reordered?

Invariant: it compares books that were kept apart: the counts that the session carries through all its runs, and the
outcomes and the entries in the journal; a deep one adds the histories on the server. It changes nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from inturn.client.audit_history import Accepted, HistoryReader
from inturn.client.status import StatusReader, open_events
from inturn.client.transport import Message, SessionTransport
from inturn.errors import SessionNotFound, Unavailable
from inturn.values import Audit, Entry

if TYPE_CHECKING:
    from inturn.journal import Ending, SessionJournal

_OPEN: Final = frozenset({"accepted", "pending", "running", "held", "repeated"})
"""Counts that the journal's outcomes do not have; `repeated`: duplicates of events older than the session's window."""
_SETTLE_WITHIN: Final = 3.0
"""Seconds for what is on its way between the two books to arrive: they are not read at one moment."""
_MADE: Final = ("auto:", "invalid:", "~")
_DECIDED: Final = ("event.rejected", "event.expired", "event.cancelled", "event.merged")


@dataclass
class Auditor:
    """Audits one session."""

    transport: SessionTransport

    async def audit(self, *, deep: bool) -> Audit:
        """Compare the books; see `Session.audit`."""
        journal = await self.transport.connection.any_journal()
        carried, differences = await self._compared(journal)
        started = await self._entries(journal, "turn.started")
        endings = await journal.endings(self.transport.key)
        if differences and carried is not None:
            differences += _unended(started, endings, carried)
        differences += [*_contradictory(endings), *await self._unfit(journal), *_out_of_order(started)]
        gone: tuple[str, ...] = ()
        if deep and carried is not None:
            accepted = await HistoryReader(self.transport).accepted()
            differences += await self._missing(journal, carried, accepted)
            differences += await self._unaccepted(journal, started, carried, accepted)
            gone = tuple(accepted.gone)
        counts = _counts(carried) if carried is not None else await self._recorded(journal)
        total = counts.pop("accepted", sum(counts.values()))
        unknown = tuple(await journal.unknown_calls(self.transport.key))
        return Audit(
            ok=not differences,
            accepted=total,
            counts=counts,
            differences=tuple(differences),
            gone=gone,
            unknown=unknown,
        )

    async def _compared(self, journal: SessionJournal) -> tuple[Message | None, list[str]]:
        clock = asyncio.get_running_loop().time
        until, pause = clock() + _SETTLE_WITHIN, 0.05
        while True:
            carried = await self._carried(journal)
            if carried is None:
                return None, []
            differences = await self._differences(journal, carried)
            if not differences or clock() > until:
                return carried, differences
            await asyncio.sleep(pause)
            pause *= 2

    async def _carried(self, journal: SessionJournal) -> Message | None:
        """Return the session's own counts; `None` when only the journal still knows it."""
        live = await StatusReader(self.transport).live()
        if live is not None:
            return live
        try:
            await StatusReader(self.transport).described()
        except SessionNotFound:
            if await journal.head(self.transport.key) == 0:
                raise
            return None
        raise Unavailable(f"session {self.transport.key} cannot be asked for its counts: no worker answers")

    async def _differences(self, journal: SessionJournal, carried: Message) -> list[str]:
        counts = _counts(carried)
        accepted = counts.pop("accepted", 0)
        found: list[str] = []
        if (ended := sum(counts.values())) != accepted:
            found.append(f"{accepted} events were accepted, but {ended} are accounted for")
        recorded = await self._recorded(journal)
        if recorded["parked"] > counts.get("parked", 0):
            recorded["parked"] -= await self._driven_again(journal, carried)
        unequal = [d for d in sorted((counts.keys() | recorded.keys()) - _OPEN) if counts.get(d, 0) != recorded[d]]
        if unequal and _has_older_chain(await self._entries(journal, "turn.started"), carried):
            unequal = [d for d in unequal if counts.get(d, 0) > recorded[d]]
        return found + [f"{d}: the session counts {counts.get(d, 0)}, the journal {recorded[d]}" for d in unequal]

    async def _recorded(self, journal: SessionJournal) -> Counter[str]:
        """Return the counts of ended events in the journal: those with an outcome, and decisions about several."""
        counts: Counter[str] = Counter(dict(await journal.outcomes(self.transport.key)))
        for entry in await self._entries(journal, *_DECIDED):
            if entry.type == "event.rejected" or "count" in entry.body:
                counts[entry.type.removeprefix("event.")] += int(entry.body.get("count", 1))
        return counts

    async def _driven_again(self, journal: SessionJournal, carried: Message) -> int:
        """Return how many events wait or run again: until that turn ends, the journal holds them as parked."""
        outcomes = [await journal.outcome(self.transport.key, event_id) for event_id in open_events(carried)]
        return sum(outcome is not None and outcome.disposition == "parked" for outcome in outcomes)

    async def _unfit(self, journal: SessionJournal) -> list[str]:
        return [
            f"the journal's entry {seq} does not fit its hash chain" for seq in await journal.verify(self.transport.key)
        ]

    async def _missing(self, journal: SessionJournal, carried: Message, accepted: Accepted) -> list[str]:
        """Return the events of the histories that have not ended, do not wait, and were not rejected by an entry."""
        decided = await self._entries(journal, *_DECIDED)
        endings = await journal.endings(self.transport.key)
        known = open_events(carried) | {entry.event_id for entry in decided if entry.type == "event.rejected"}
        known |= {event_id for event_id, ending in endings.items() if ending.outcome is not None}
        found = [
            f"event {event_id}, accepted in run {run_id}, has no outcome"
            for event_id, run_id in accepted.events.items()
            if event_id not in known
        ]
        # In a flood some were only counted: which of these they are is not known.
        counted = sum(int(entry.body["count"]) for entry in decided if "count" in entry.body)
        return found if len(found) > counted else []

    async def _unaccepted(
        self, journal: SessionJournal, started: Sequence[Entry], carried: Message, accepted: Accepted
    ) -> list[str]:
        """Return the journal's events that no run accepted, where the server still has all runs."""
        if accepted.gone or _has_older_chain(started, carried):
            return []
        entries = [*started, *await self._entries(journal, "event.parked", *_DECIDED)]
        ids = {str(entry.event_id).partition("~")[0] for entry in entries if entry.event_id}
        made = {event_id for event_id in ids if event_id.startswith(_MADE)}  # by the session, for what had no id
        return [
            f"event {event_id} is in the journal, and no run accepted it"
            for event_id in sorted(ids - made - accepted.events.keys() - accepted.named)
        ]

    async def _entries(self, journal: SessionJournal, *types: str) -> list[Entry]:
        return [entry async for entry in journal.entries(self.transport.key, types=types)]


def _unended(started: Sequence[Entry], endings: Mapping[str, Ending], carried: Message) -> list[str]:
    """Return the events whose turn began and has no end, though the session does not run them."""
    begun = {str(entry.event_id) for entry in started if entry.event_id}
    return [f"event {e} began a turn that has no end" for e in sorted(begun - endings.keys() - open_events(carried))]


def _contradictory(endings: Mapping[str, Ending]) -> list[str]:
    """Return the events of which the outcome says another end than the entries, or one of the two says none."""
    return [_contradiction(e, ending) for e, ending in sorted(endings.items()) if ending.outcome != ending.by_entries]


def _contradiction(event_id: str, ending: Ending) -> str:
    if ending.by_entries is None:
        return f"event {event_id} has the outcome {ending.outcome}, and no entry of its end"
    says = "has no outcome" if ending.outcome is None else f"its outcome says {ending.outcome}"
    return f"event {event_id} ended {ending.by_entries} by its entries, and {says}"


def _out_of_order(started: Sequence[Entry]) -> list[str]:
    """Return the turns that began out of order: of acceptance, and those with a sequence of their source.

    Redrives come later, interrupting events without a sequence earlier.
    """
    found: list[str] = []
    last: dict[str | None, tuple[int, str]] = {}
    for entry in started:
        body = entry.body
        if body.get("chain"):
            last = {}
        turn = str(body.get("turn", ""))
        source = body["source"] if "sequence" in body else None
        overtakes = body.get("when_busy") == "interrupt" and source is None
        if "~" in turn or not body.get("n") or overtakes:
            continue
        number = int(body["n"] if source is None else body["sequence"])
        before, earlier = last.get(source, (-1, ""))
        if number < before or (source is None and number == before):
            place = "accepted as" if source is None else f"{source} sequence"
            found.append(f"turn {turn} ({place} {number}) began after {earlier} ({place} {before})")
        last[source] = (number, turn)
    return found


def _has_older_chain(started: Sequence[Entry], carried: Message) -> bool:
    """Return whether the journal also holds events of a session that was terminated and started anew."""
    chain = str(carried.get("chain") or "")
    return any(entry.body.get("chain") not in (None, chain) for entry in started)


def _counts(carried: Message) -> dict[str, int]:
    return {name: int(count) for name, count in dict(carried.get("counts", {})).items() if count}

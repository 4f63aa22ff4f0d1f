"""A turn as its entries show it.

Invariant: a pure view; the entries are the truth, so any reader, at any time, sees the same turn.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from inturn import names
from inturn.journal.values import Outcome
from inturn.keys import SHORT_NAME, SessionKey, redrive_of, short_name
from inturn.signals import Signal, read_marks
from inturn.turns.budget import added, total
from inturn.turns.stop_reasons import PAUSES
from inturn.values import Disposition, Entry, StopReason, Turn, TurnToolCall, Usage

if TYPE_CHECKING:
    from inturn.journal.reader import SessionJournal

FOR_GOOD: Final = datetime.max.replace(tzinfo=UTC)
_ENDS: Final[dict[str, Disposition]] = {"turn.completed": "applied", "turn.interrupted": "cancelled"}


def turn_of(entries: Sequence[Entry], outcome: Outcome | None = None) -> Turn | None:
    """Return the last turn that an event's entries show; `None` where it has not ended or failed.

    Args:
        entries: All entries of one event, in order.
        outcome: How the event ended, where that is known better (merged into another's turn, for one).
    """
    turn = _latest(entries)
    end = next((e for e in reversed(turn) if e.type in _ENDS), None)
    if end is None:
        return None
    usage = total(Usage.model_validate(e.body.get("usage") or {}) for e in turn if e.type == "agent.message")
    if end.type == "turn.interrupted":  # what its last attempts used, that gave no answer
        usage = added(usage, end.body.get("usage") or {})
    return Turn(
        event_id=end.event_id or "",
        text=_answer(turn),
        stop_reason=_stop(end),
        usage=usage,
        cache_hit=usage.cache_hit,
        cache_missed=tuple(str(e.body.get("reason")) for e in turn if e.type == "cache.missed"),
        tool_calls=_calls(turn),
        output=end.body.get("output"),
        seqs=(turn[0].seq, turn[-1].seq),
        disposition=outcome.disposition if outcome else _ENDS[end.type],
    )


async def read_turn(journal: SessionJournal, session: SessionKey, event_id: str) -> Turn | None:
    """Read the turn in which an event was answered; of a merged event that is its host's. `None` as in `turn_of`.

    Raises:
        JournalUnavailable: The journal cannot be read.
    """
    outcome = await journal.outcome_by(session, event_id)
    host = (outcome.into or outcome.event_id) if outcome else event_id
    return turn_of(await entries_of(journal, session, host), outcome)


async def own_turn(journal: SessionJournal, session: SessionKey, event_id: str) -> Turn | None:
    """Read the turn of an event that was not merged into another's, with one read less.

    Raises:
        JournalUnavailable: The journal cannot be read.
    """
    return turn_of(await entries_of(journal, session, event_id))


@dataclass(slots=True)
class Ends:
    """The events that have an end, with the time until which what came under their ids has ended.

    One that was rejected may come again: what came after its last rejection may wait.

    Attributes:
        told: By event id.
        counted: Of those that entries only count and that had waited, by short name.
        signals: Those of them that were rejected as they came: which of a run's brought them, as bits.
    """

    told: dict[str, datetime] = field(default_factory=dict[str, datetime])
    counted: dict[str, datetime] = field(default_factory=dict[str, datetime])
    signals: dict[str, int] = field(default_factory=dict[str, int])

    def take(self, entry: Entry) -> None:
        """Take an entry that ends an event, or counts some that ended."""
        until = entry.at if entry.type == "event.rejected" else FOR_GOOD
        ids = str(entry.body.get("ids") or "")
        for name in (ids[at : at + SHORT_NAME] for at in range(0, len(ids), SHORT_NAME)):
            self.counted[name] = max(until, self.counted.get(name, until))
        for run, bits in read_marks(entry.body.get("signals")).items():
            self.signals[run] = self.signals.get(run, 0) | bits
        if entry.event_id and entry.type == "event.rejected":  # the others have outcomes
            self.told[entry.event_id] = until

    def has(self, event_id: str, came: datetime | None, signal: Signal | None = None) -> bool:
        """Return whether an event has ended that came last at a time, by a signal; `None`: that is not known."""
        if signal is not None and self.signals.get(signal.run, 0) >> signal.number & 1:
            return True
        times = self.told.get(event_id), self.counted.get(short_name(event_id))
        return any(until is not None and (came is None or came <= until) for until in times)


async def ended_events(journal: SessionJournal, session: SessionKey, but: Container[str] = ()) -> Ends:
    """Return the events that have an end; `but`: whose outcome is none.

    Raises:
        JournalUnavailable: The journal cannot be read.
    """
    ends = Ends()
    async for entry in journal.entries(session, types=names.COUNTED):
        ends.take(entry)
    endings = await journal.endings(session)
    ended = [event_id for event_id, ending in endings.items() if ending.outcome is not None and event_id not in but]
    ends.told |= dict.fromkeys(ended, FOR_GOOD)
    return ends


async def disposition_of(journal: SessionJournal, session: SessionKey, event_id: str) -> Disposition | None:
    """Return how an event ended, `running` where its latest turn has not; `None` where the journal knows neither.

    Raises:
        JournalUnavailable: The journal cannot be read.
    """
    outcome = await journal.outcome_by(session, event_id)
    if outcome is not None and outcome.disposition != "parked":
        return outcome.disposition
    begun = await entries_of(journal, session, outcome.event_id if outcome else event_id, ("turn.started",))
    latest = str(begun[-1].body.get("turn")) if begun else ""
    if begun and (outcome is None or redrive_of(latest) > redrive_of(outcome.turn)):
        return "running"
    return outcome.disposition if outcome else None


async def entries_of(
    journal: SessionJournal, session: SessionKey, event_id: str, types: Sequence[str] = ()
) -> list[Entry]:
    """Read all entries of an event, or those of these types.

    Raises:
        JournalUnavailable: The journal cannot be read.
    """
    return [entry async for entry in journal.entries(session, event_id=event_id, types=types)]


def _latest(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Cut off what is before a redrive: earlier turns, up to their failed end."""
    started = max((i for i, e in enumerate(entries) if e.type == "turn.started"), default=0)
    failed = max((i for i, e in enumerate(entries[:started]) if e.type == "turn.failed"), default=-1)
    start = failed + 1
    while start < len(entries) and entries[start].type.startswith("event."):
        start += 1
    return entries[start:]


def _stop(end: Entry) -> StopReason:
    if end.type == "turn.interrupted":
        return "interrupted"
    stop = end.body.get("stop")
    return cast("StopReason", stop) if stop in get_args(StopReason) else "end_turn"


def _answer(turn: Sequence[Entry]) -> str:
    """Return the text of the last answer, with that of pauses right before it."""
    texts: list[str] = []
    for entry in reversed(turn):
        if entry.type == "agent.message":
            if texts and entry.body.get("stop") not in PAUSES:
                break
            texts.append(entry.text or "")
    return "".join(reversed(texts))


def _calls(turn: Sequence[Entry]) -> tuple[TurnToolCall, ...]:
    """Return the calls with their results, by their place in the turn: two may have one id."""
    results: dict[Any, Entry] = {}
    for entry in turn:
        if entry.type == "agent.tool_result":
            results.setdefault(entry.step, entry)
    return tuple(_call(e.body, results.get(e.step)) for e in turn if e.type == "agent.tool_use")


def _call(use: dict[str, Any], result: Entry | None) -> TurnToolCall:
    return TurnToolCall(
        call_id=str(use.get("call_id")),
        tool=str(use.get("tool")),
        args=use.get("args"),
        status=result.body.get("status") if result else None,
        result=result.text if result else None,
    )

"""Bugs in the books: bounds, counts, ids, what is parked, what is told."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import Any

from inturn import sizes
from inturn.events import Event
from inturn_workflows.inbox import dedup as dedup_module
from inturn_workflows.inbox.books import Books
from inturn_workflows.inbox.capacity import Capacity
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.endings import Endings
from inturn_workflows.inbox.events import Admission, Arrival, ParkedEvent, Queued, Receipt, Refusal
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.known import KnownIds
from inturn_workflows.inbox.parked import DeadLetters
from inturn_workflows.inbox.sequencing import Sequencer
from tests.property.planted.planting import Plant, all_of, at_restore, instead, with_policy, wrap


def _no_byte_capacity(check: Any) -> Any:
    def bug(inbox: Inbox, arrival: Arrival, *given: Any, **named: Any) -> Refusal | None:
        return check(inbox, replace(arrival, size=0), *given, **named)  # type: ignore[no-any-return]

    return bug


def _bytes_kept(method: Any) -> Any:
    def bug(inbox: Inbox, *given: Any) -> Any:
        waiting = inbox.queue.bytes
        ended = method(inbox, *given)
        inbox.queue.bytes = waiting
        return ended

    return bug


def _cancel_not_counted(finish: Any) -> Any:
    def bug(endings: Endings, event_id: str, disposition: str) -> None:
        if disposition != "cancelled":
            finish(endings, event_id, disposition)

    return bug


def _quota_of_the_queue_alone(capacity: Capacity, source: str) -> int:
    return capacity.queue.count_of(source)


def _redrive_not_counted(redrive: Any) -> Any:
    def bug(inbox: Inbox, event_id: str, now: float, *, force: bool = False) -> ParkedEvent | Refusal:
        parked = inbox.books.counts.get("parked", 0)
        redriven = redrive(inbox, event_id, now, force=force)
        if parked:
            inbox.books.counts["parked"] = parked
        return redriven  # type: ignore[no-any-return]

    return bug


def _old_turn_redriven(redrive: Any) -> Any:
    def bug(inbox: Inbox, event_id: str, now: float, *, force: bool = False) -> ParkedEvent | Refusal:
        redriven = redrive(inbox, event_id, now, force=force)
        if isinstance(redriven, ParkedEvent) and redriven.delivery is None:
            inbox.queue.events[-1].turn = redriven.turn
        return redriven  # type: ignore[no-any-return]

    return bug


def _effects_redriven_unasked(redrive: Any) -> Any:
    def bug(inbox: Inbox, event_id: str, now: float, *, force: bool = False) -> ParkedEvent | Refusal:
        return redrive(inbox, event_id, now, force=True)  # type: ignore[no-any-return]

    return bug


def _rejected_id_remembered(reject: Any) -> Any:
    def bug(inbox: Inbox, event: Event, refusal: Refusal, now: float) -> None:
        reject(inbox, event, refusal, now)
        inbox.dedup.add(str(event.event_id), "rejected")

    return bug


def _refused_id_remembered(check: Any) -> Any:
    def bug(inbox: Inbox, arrival: Arrival, *given: Any, **named: Any) -> Refusal | None:
        refusal: Refusal | None = check(inbox, arrival, *given, **named)
        if refusal is not None:
            inbox.dedup.add(arrival.event_id, "rejected")
        return refusal

    return bug


def _expiry_from_acceptance_alone(expired: Any) -> Any:
    def bug(queued: Queued, now: float, default: float | None) -> bool:
        unsent = {name: value for name, value in queued.event.items() if name != "sent_at"}
        return expired(queued.model_copy(update={"event": unsent}), now, default)  # type: ignore[no-any-return]

    return bug


def _expiry_of_the_redriven(queued: Queued, now: float, default: float | None) -> bool:
    limit = queued.event.get("expires_after", default)
    return limit is not None and now > queued.event.get("sent_at", queued.at) + limit


def _decision_written_twice(drain: Any) -> Any:
    def bug(books: Books, now: float) -> Any:
        drained = drain(books, now)
        books.decisions = drained[-1:]
        return drained

    return bug


def _overflow_forgotten(drain: Any) -> Any:
    def bug(books: Books, now: float) -> Any:
        books.overflowed = {}
        return drain(books, now)

    return bug


def _own_id_alone(ids: KnownIds, arrival: Arrival, running: Container[str] = ()) -> str | None:
    return arrival.event_id if ids.knows(arrival.event_id, running) else None


def _window_off_by_one(compact: Any) -> Any:
    def bug(window: DedupWindow) -> None:
        compact(window)
        keep = (dedup_module.SIZE - dedup_module.RECENT - 1) * 8
        window.block = window.block[max(0, len(window.block) - keep) :]

    return bug


def _duplicate_runs_again(admit: Any) -> Any:
    def bug(inbox: Inbox, arrival: Arrival, *given: Any, **named: Any) -> Admission:
        inbox.dedup.forget(arrival.event_id)
        return admit(inbox, arrival, *given, **named)  # type: ignore[no-any-return]

    return bug


def _running_forgotten(method: Any) -> Any:
    def bug(inbox: Inbox, *given: Any, running: Any, **named: Any) -> Any:
        return method(inbox, *given, **named)

    return bug


def _discard_uncounted(count: Any) -> Any:
    return lambda books, disposition, *change: (
        None if disposition == "discarded" else count(books, disposition, *change)
    )


def _held_told_as_pending(duplicate: Any) -> Any:
    def bug(inbox: Inbox, event_id: str, *running: Any) -> Receipt:
        receipt: Receipt = duplicate(inbox, event_id, *running)
        return replace(receipt, disposition="pending") if receipt.disposition == "held" else receipt

    return bug


PLANTS: dict[str, Plant] = {
    # Bounds.
    "the capacity in events is ignored": with_policy("check", capacity=10**6),
    "the capacity in bytes is ignored": wrap("check", _no_byte_capacity),
    "the bytes of what is held are ignored": instead("bytes", property(lambda sequencer: 0), Sequencer),
    "held events leave no room for what they wait for": instead("HELD", 2**40, sizes),
    "the places of cancelled events take no room": instead("PLACE", 0, sizes),
    "a source's quota is ignored": with_policy("check", source_quota=None),
    "the advice behind a gap is to come at once": instead("_until_gap_ends", lambda capacity: 0.1, Capacity),
    "a source's quota shuts out what its held events wait for": instead("_ahead", lambda capacity, source: 1, Capacity),
    "a source's quota does not count what is held": instead("_waiting_of", _quota_of_the_queue_alone, Capacity),
    "take does not give bytes back": wrap("take", _bytes_kept),
    "cancel does not give bytes back": wrap("cancel", _bytes_kept),
    "late events are parked without end": with_policy("set_aside_or_reject", Endings, capacity_bytes=2**40),
    "parked events are never dropped": instead(
        "add", lambda letters, parked: letters.events.append(parked), DeadLetters
    ),
    # Counts.
    "a cancelled event is not counted": wrap("finish", _cancel_not_counted, Endings),
    "a discarded event is not counted": wrap("count", _discard_uncounted, Books),
    "a redriven event stays counted as parked": wrap("redrive", _redrive_not_counted),
    "a redriven event keeps its turn": wrap("redrive", _old_turn_redriven),
    "effects are repeated without force": wrap("redrive", _effects_redriven_unasked),
    # Ids.
    "a duplicate runs again": wrap("admit", _duplicate_runs_again),
    "a rejected id is remembered": wrap("reject", _rejected_id_remembered),
    "a refused id is remembered": wrap("check", _refused_id_remembered),
    "a twin is known by its own id alone": instead("of", _own_id_alone, KnownIds),
    "a twin is remembered by its own id alone": instead("remember_others", lambda *given: None, KnownIds),
    "the window is one too short": wrap("_compact", _window_off_by_one, DedupWindow),
    "the window never rolls": instead("_compact", lambda window: None, DedupWindow),
    "a duplicate's standing is stale": instead("note", lambda window, event_id, standing: None, DedupWindow),
    "a duplicate of a held event is told that it is queued": wrap("duplicate", _held_told_as_pending),
    "what runs is a duplicate by the window alone": all_of(
        wrap("check", _running_forgotten), wrap("admit", _running_forgotten)
    ),
    "what is parked is a duplicate by the window alone": instead("holds", lambda letters, event_id: False, DeadLetters),
    "what was no event keeps its id": instead("_comes_again", lambda inbox, arrival: None),
    # Time.
    "an expired event runs": instead("expired", lambda queued, now, default: False, Queued),
    "the policy's expiry is ignored": wrap(
        "expired", lambda expired: lambda queued, now, default: expired(queued, now, None), Queued
    ),
    "expiry ignores sent_at": wrap("expired", _expiry_from_acceptance_alone, Queued),
    "a redriven event expires": instead("expired", _expiry_of_the_redriven, Queued),
    # What is told and carried.
    "a decision is recorded twice": wrap("drain_decisions", _decision_written_twice, Books),
    "what was only counted is dropped": wrap("drain_decisions", _overflow_forgotten, Books),
    "restore loses the older ids": at_restore(lambda state: setattr(state.inbox.dedup, "block", b"")),
    "restore loses the newer ids": at_restore(lambda state: state.inbox.dedup.recent.clear()),
    "restore loses the running turn": at_restore(lambda state: setattr(state, "turn", None)),
    "restore turns the queue around": at_restore(lambda state: state.inbox.queue.events.reverse()),
    "restore loses decisions": at_restore(lambda state: state.inbox.books.decisions.clear()),
    "restore drops a newer version's fields": at_restore(lambda state: (state.inbox.model_extra or {}).clear()),
}

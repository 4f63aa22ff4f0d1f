"""The state machine is not blind: bugs are planted in the inbox one at a time, and it finds each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inturn.agents import InboxPolicy
from inturn.events import Event
from tests.property.inbox_machine import explore
from workflows import inbox as inbox_module
from workflows import window as window_module
from workflows.inbox import Inbox, ParkedEvent, Queued, Receipt, Refusal
from workflows.state import SessionState
from workflows.window import Window

pytestmark = pytest.mark.promise("ORD-1", "ACC-2", "ACC-5", "ACC-8", "SUR-6")

Plant = Callable[[pytest.MonkeyPatch], None]


def _wrap(name: str, make: Callable[[Any], Any], owner: Any = Inbox) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(owner, name, make(getattr(owner, name)))

    return plant


def _at_restore(damage: Callable[[SessionState], object]) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        restore = SessionState.model_validate

        def damaged(carried: Any) -> SessionState:
            state = restore(carried)
            damage(state)
            return state

        patch.setattr(SessionState, "model_validate", damaged)

    return plant


def _last_in_first_out(take: Any) -> Any:
    def bug(inbox: Inbox, now: float) -> Queued | None:
        inbox.queue.insert(0, inbox.queue.pop()) if inbox.queue else None
        return take(inbox, now)  # type: ignore[no-any-return]

    return bug


def _no_capacity(check: Any) -> Any:
    def bug(inbox: Inbox, event: Event, size: int, policy: InboxPolicy, *, busy: bool) -> Refusal | None:
        return check(inbox, event, size, policy.model_copy(update={"capacity": 10**6}), busy=busy)  # type: ignore[no-any-return]

    return bug


def _no_byte_capacity(check: Any) -> Any:
    def bug(inbox: Inbox, event: Event, size: int, policy: InboxPolicy, *, busy: bool) -> Refusal | None:
        return check(inbox, event, 0, policy, busy=busy)  # type: ignore[no-any-return]

    return bug


def _bytes_kept_by_take(take: Any) -> Any:
    def bug(inbox: Inbox, now: float) -> Queued | None:
        waiting = inbox.queued_bytes
        taken = take(inbox, now)
        inbox.queued_bytes = waiting
        return taken  # type: ignore[no-any-return]

    return bug


def _bytes_kept_by_cancel(cancel: Any) -> Any:
    def bug(inbox: Inbox, event_id: str, now: float, reason: str | None) -> bool:
        waiting = inbox.queued_bytes
        cancelled = cancel(inbox, event_id, now, reason)
        inbox.queued_bytes = waiting
        return cancelled  # type: ignore[no-any-return]

    return bug


def _cancel_not_counted(finish: Any) -> Any:
    def bug(inbox: Inbox, event_id: str, disposition: str) -> None:
        if disposition != "cancelled":
            finish(inbox, event_id, disposition)

    return bug


def _redrive_not_counted(redrive: Any) -> Any:
    def bug(inbox: Inbox, event_id: str, now: float, *, force: bool = False) -> ParkedEvent | Refusal:
        parked = inbox.counts.get("parked", 0)
        redriven = redrive(inbox, event_id, now, force=force)
        if parked:
            inbox.counts["parked"] = parked
        return redriven  # type: ignore[no-any-return]

    return bug


def _old_turn_redriven(redrive: Any) -> Any:
    def bug(inbox: Inbox, event_id: str, now: float, *, force: bool = False) -> ParkedEvent | Refusal:
        redriven = redrive(inbox, event_id, now, force=force)
        if isinstance(redriven, ParkedEvent) and redriven.delivery is None:
            inbox.queue[-1].turn = redriven.turn
        return redriven  # type: ignore[no-any-return]

    return bug


def _effects_redriven_unasked(redrive: Any) -> Any:
    def bug(inbox: Inbox, event_id: str, now: float, *, force: bool = False) -> ParkedEvent | Refusal:
        return redrive(inbox, event_id, now, force=True)  # type: ignore[no-any-return]

    return bug


def _rejected_id_remembered(reject: Any) -> Any:
    def bug(inbox: Inbox, event: Event, refusal: Refusal, now: float) -> None:
        reject(inbox, event, refusal, now)
        inbox.window.add(str(event.event_id), "rejected")

    return bug


def _refused_id_remembered(check: Any) -> Any:
    def bug(inbox: Inbox, event: Event, size: int, policy: InboxPolicy, *, busy: bool) -> Refusal | None:
        refusal = check(inbox, event, size, policy, busy=busy)
        if refusal is not None:
            inbox.window.add(event.event_id or "", "rejected")
        return refusal  # type: ignore[no-any-return]

    return bug


def _interrupt_waits_in_line(admit: Any) -> Any:
    def bug(inbox: Inbox, event: Event, size: int, now: float) -> Receipt:
        receipt = admit(inbox, event, size, now)
        if event.when_busy == "interrupt" and receipt.status == "accepted":
            inbox.queue.append(inbox.queue.pop(0))
        return receipt  # type: ignore[no-any-return]

    return bug


def _expired_one_runs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(inbox_module, "_expired", lambda queued, now: False)


def _expiry_from_acceptance_alone(patch: pytest.MonkeyPatch) -> None:
    def bug(queued: Queued, now: float) -> bool:
        limit = queued.event.get("expires_after")
        return limit is not None and now > queued.at + limit

    patch.setattr(inbox_module, "_expired", bug)


def _decision_written_twice(drain: Any) -> Any:
    def bug(inbox: Inbox, now: float) -> Any:
        drained = drain(inbox, now)
        inbox.decisions = drained[-1:]
        return drained

    return bug


def _overflow_forgotten(drain: Any) -> Any:
    def bug(inbox: Inbox, now: float) -> Any:
        inbox.overflowed = {}
        return drain(inbox, now)

    return bug


def _window_off_by_one(patch: pytest.MonkeyPatch) -> None:
    def bug(window: Window) -> None:
        settle(window)
        keep = (window_module.SIZE - window_module.RECENT - 1) * 8
        window.block = window.block[max(0, len(window.block) - keep) :]

    settle = Window._settle
    patch.setattr(Window, "_settle", bug)


def _window_never_rolls(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "_settle", lambda window: None)


def _standing_never_noted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "note", lambda window, event_id, standing: None)


def _duplicate_runs_again(patch: pytest.MonkeyPatch) -> None:
    def bug(inbox: Inbox, event: Event, size: int, now: float) -> Receipt:
        inbox.window.forget(event.event_id or "")
        return admit(inbox, event, size, now)

    admit = Inbox.admit
    patch.setattr(Inbox, "admit", bug)


def _parked_without_end(park: Any) -> Any:
    return lambda inbox, parked: inbox.parked.append(parked)


def _discard_uncounted(count: Any) -> Any:
    return lambda inbox, disposition: None if disposition == "discarded" else count(inbox, disposition)


def _explore_widely() -> None:
    for start in range(10):
        explore(15, 50, start=start, shrink=False)


PLANTS: dict[str, Plant] = {
    "the newest event is taken first": _wrap("take", _last_in_first_out),
    "an interrupting event waits in line": _wrap("admit", _interrupt_waits_in_line),
    "the capacity in events is ignored": _wrap("check", _no_capacity),
    "the capacity in bytes is ignored": _wrap("check", _no_byte_capacity),
    "take does not give bytes back": _wrap("take", _bytes_kept_by_take),
    "cancel does not give bytes back": _wrap("cancel", _bytes_kept_by_cancel),
    "a cancelled event is not counted": _wrap("finish", _cancel_not_counted),
    "a discarded event is not counted": _wrap("_count", _discard_uncounted),
    "a redriven event stays counted as parked": _wrap("redrive", _redrive_not_counted),
    "a redriven event keeps its turn": _wrap("redrive", _old_turn_redriven),
    "effects are repeated without force": _wrap("redrive", _effects_redriven_unasked),
    "parked events are never dropped": _wrap("_park", _parked_without_end),
    "a duplicate runs again": _duplicate_runs_again,
    "a rejected id is remembered": _wrap("reject", _rejected_id_remembered),
    "a refused id is remembered": _wrap("check", _refused_id_remembered),
    "the window is one too short": _window_off_by_one,
    "the window never rolls": _window_never_rolls,
    "a duplicate's standing is stale": _standing_never_noted,
    "an expired event runs": _expired_one_runs,
    "expiry ignores sent_at": _expiry_from_acceptance_alone,
    "a decision is recorded twice": _wrap("drain_decisions", _decision_written_twice),
    "what was only counted is dropped": _wrap("drain_decisions", _overflow_forgotten),
    "restore loses the older ids": _at_restore(lambda state: setattr(state.inbox.window, "block", b"")),
    "restore loses the newer ids": _at_restore(lambda state: state.inbox.window.recent.clear()),
    "restore loses the running turn": _at_restore(lambda state: setattr(state, "turn", None)),
    "restore turns the queue around": _at_restore(lambda state: state.inbox.queue.reverse()),
    "restore loses decisions": _at_restore(lambda state: state.inbox.decisions.clear()),
    "restore drops a newer version's fields": _at_restore(lambda state: (state.inbox.model_extra or {}).clear()),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=list(PLANTS))
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        _explore_widely()

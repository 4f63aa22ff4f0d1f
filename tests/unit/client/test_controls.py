"""Controls: an update where there is room, else a signal; acting once either way."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import TerminatedError
from temporalio.service import RPCStatusCode as Status

import inturn.client.control.controls
from inturn.client.control.controls import Controls
from inturn.errors import ApprovalConflict, InvalidEvent, SessionClosed, SessionNotFound, TurnTimeout, Unavailable
from inturn.journal import NewEntry, Recorded, open_journal
from tests.support.stores import journal_url
from tests.support.transport import FakeTransport, accepted, never, refused, rpc_error

FULL = rpc_error(Status.RESOURCE_EXHAUSTED, "limit on number of concurrent in-flight updates has been reached")


def _controls(transport: FakeTransport) -> Controls:
    return Controls(transport)  # type: ignore[arg-type]


async def test_a_control_says_only_what_it_means() -> None:
    transport = FakeTransport(accepted({"ok": True}))
    assert await _controls(transport).act("cancel", event_id="e1")
    [(kind, message, update_id)] = transport.calls
    assert kind == "update control"
    assert message == {"control_id": update_id, "op": "cancel", "event_id": "e1"}


async def test_nothing_to_cancel_is_no_error() -> None:
    assert not await _controls(FakeTransport(accepted({"ok": False}))).act("cancel", event_id="e1")


@pytest.mark.promise("ACC-11")
async def test_with_the_slots_full_it_goes_as_a_signal_and_the_update_fetches_what_came_of_it() -> None:
    transport = FakeTransport(FULL, {}, FULL, accepted({"ok": True}))
    assert await _controls(transport).act("cancel", event_id="e1", reason="enough")
    kinds = [call[0] for call in transport.calls]
    assert kinds == ["update control", "signal control", "update control", "update control"]
    assert all(call[1] == transport.calls[0][1] for call in transport.calls)  # one control_id: it acts once


async def test_an_update_that_is_held_back_becomes_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inturn.client.control.controls, "_ROOM_WITHIN", 0.05)
    transport = FakeTransport(never, {}, accepted({"ok": True}))
    await _controls(transport).act("pause")
    assert [call[0] for call in transport.calls] == ["update control", "signal control", "update control"]


async def test_an_interrupt_by_signal_names_the_turn_it_means() -> None:
    transport = FakeTransport(FULL, {}, accepted({"ok": True}))
    transport.state = {"state": "running", "turn": {"event_id": "e7", "step": 0, "doing": "model"}}
    await _controls(transport).act("interrupt", clear_queue=False)
    assert "event_id" not in transport.calls[0][1]
    assert transport.calls[1][1]["event_id"] == "e7"


async def test_without_anybody_to_answer_it_says_that_the_control_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inturn.client.control.controls, "_ROOM_WITHIN", 0.05)
    transport = FakeTransport(never, {}, never, worker_timeout=0.05)
    with pytest.raises(Unavailable, match="will act on the pause"):
        await _controls(transport).act("pause")


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (rpc_error(Status.NOT_FOUND, "workflow not found for ID: t/s"), SessionNotFound),
        (rpc_error(Status.NOT_FOUND, "workflow execution already completed"), SessionClosed),
        (accepted(refused("ApprovalConflict", "approved", "ann")), ApprovalConflict),
    ],
)
async def test_a_refused_control_says_why(error: Any, meaning: type[Exception]) -> None:
    transport = FakeTransport(error)
    with pytest.raises(meaning):
        await _controls(transport).answer("deny", "call:0123456789ab", by=None, reason=None)
    assert len(transport.calls) == 1


@pytest.mark.promise("EFF-7")
@pytest.mark.parametrize(("op", "late"), [("approve", False), ("deny", True)])
async def test_an_answer_that_the_session_has_forgotten_is_known_by_the_journal(
    tmp_path: Path, op: Literal["approve", "deny"], late: bool
) -> None:
    journal = open_journal(journal_url(tmp_path))
    body = {"approval_id": "call:0123456789ab", "answer": "approved", "by": "ann"}
    transport = FakeTransport(accepted({"ok": True, "early": True}), journal=journal)
    await journal.record(transport.key, [Recorded(NewEntry("approval.answered", body, "e1", key="k"))])
    with pytest.raises(ApprovalConflict) if late else contextlib.nullcontext() as conflict:
        await _controls(transport).answer(op, "call:0123456789ab", by="eve", reason=None)
    assert conflict is None or (conflict.value.answer, conflict.value.by) == ("approved", "ann")
    await journal.close()


async def test_an_early_answer_needs_no_journal() -> None:
    await _controls(FakeTransport(accepted({"ok": True, "early": True}))).answer("approve", "c:0", by=None, reason=None)


@pytest.mark.promise("ACC-1", "EFF-7")
async def test_what_is_not_waited_for_is_a_signal_alone_and_asks_nobody() -> None:
    transport = FakeTransport()
    controls, not_waited = _controls(transport), {"wait": False, "control_id": "click-7"}
    await controls.answer("approve", "c:0", not_waited, by="slack:T1:U7", via="slack")
    assert await controls.act("interrupt", {"wait": False}, clear_queue=True)
    await controls.close("cancel", {"wait": False}, timeout=None)
    assert [kind for kind, _, _ in transport.calls] == ["signal control"] * 3
    message = transport.calls[0][1]
    assert message.pop("at") > 1_700_000_000
    said = {"control_id": "click-7", "op": "approve", "approval_id": "c:0", "by": "slack:T1:U7", "via": "slack"}
    assert message == said


async def test_a_control_that_no_server_takes_in_time_is_unavailable() -> None:
    transport = FakeTransport(*[rpc_error(Status.UNAVAILABLE)] * 100, patience=0.2)
    with pytest.raises(Unavailable):
        await _controls(transport).answer("approve", "c:0", {"wait": False})


@pytest.mark.parametrize(
    ("known", "result"),
    [({}, None), ({"ok": True}, True), ({"ok": False}, False), ({"ok": True, "answer": "approved", "by": "a"}, True)],
)
async def test_what_came_of_a_control_is_asked_for_later(known: dict[str, Any], result: bool | None) -> None:
    transport = FakeTransport(known)
    assert await _controls(transport).result("click-7") is result
    assert transport.calls == [("query control", {"control_id": "click-7"}, None)]


@pytest.mark.parametrize(
    ("type_", "details", "meaning"),
    [
        ("ApprovalConflict", ["denied", "ann"], ApprovalConflict),
        ("InvalidEvent", [], InvalidEvent),
        ("SessionClosed", [], SessionClosed),
    ],
)
async def test_a_control_that_was_refused_later_raises_what_it_would_have(
    type_: str, details: list[str], meaning: type[Exception]
) -> None:
    transport = FakeTransport({"ok": False, "error": type_, "message": "no", "details": details})
    with pytest.raises(meaning) as refused:
        await _controls(transport).result("click-7")
    if isinstance(refused.value, ApprovalConflict):
        assert (refused.value.answer, refused.value.by) == ("denied", "ann")


async def test_a_click_on_a_card_that_the_session_has_forgotten_learns_who_was_first(tmp_path: Path) -> None:
    journal = open_journal(journal_url(tmp_path))
    body = {"approval_id": "call:0123456789ab", "answer": "approved", "by": "ann"}
    early = {"ok": True, "early": True, "approval_id": "call:0123456789ab", "answer": "denied", "by": "eve"}
    transport = FakeTransport(early, journal=journal)
    await journal.record(transport.key, [Recorded(NewEntry("approval.answered", body, "e1", key="k"))])
    with pytest.raises(ApprovalConflict, match="by ann"):
        await _controls(transport).result("click-7")
    await journal.close()


@pytest.mark.parametrize("id_", ["a b", "a\nb", 'a"b', "a\\b", "é", "a" * 300])
async def test_an_id_that_a_session_would_not_read_is_refused_before_it_is_sent(id_: str) -> None:
    transport = FakeTransport()
    controls, not_waited = _controls(transport), {"wait": False}
    with pytest.raises(InvalidEvent, match="control_id"):
        await controls.act("pause", {"wait": False, "control_id": id_})
    with pytest.raises(InvalidEvent, match="event_id"):
        await controls.act("cancel", not_waited, event_id=id_)
    with pytest.raises(InvalidEvent, match="approval_id"):
        await controls.answer("approve", id_, not_waited)
    assert transport.calls == []


async def test_closing_a_closed_session_is_fine() -> None:
    transport = FakeTransport(rpc_error(Status.NOT_FOUND, "workflow execution already completed"))
    await _controls(transport).close("park", timeout=None)


async def test_a_close_returns_once_the_session_has_ended_through_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inturn.client.control.controls, "LONGEST_DELAY", 0.01)
    transport = FakeTransport(accepted({"ok": True}), rpc_error(Status.UNAVAILABLE), rpc_error(Status.UNAVAILABLE), {})
    await _controls(transport).close("cancel", timeout=None)
    assert [call[0] for call in transport.calls] == ["update control", "ended", "ended", "ended"]
    assert transport.calls[0][1]["pending"] == "cancel"


async def test_a_timeout_gives_up_waiting_for_a_close_and_not_the_close() -> None:
    transport = FakeTransport(accepted({"ok": True}), never)
    with pytest.raises(TurnTimeout, match=r"did not close within 0\.01 s; it will"):
        await _controls(transport).close("park", timeout=0.01)
    assert [call[0] for call in transport.calls] == ["update control", "ended"]


async def test_a_session_that_is_terminated_while_it_closes_has_ended() -> None:
    transport = FakeTransport(accepted({"ok": True}), WorkflowFailureError(cause=TerminatedError("by an operator")))
    await _controls(transport).close("park", timeout=None)


@pytest.mark.promise("ACC-7", "SUR-15")
@pytest.mark.parametrize(
    "text",
    ["r" * 513, "\x01" * 90, "\N{CJK UNIFIED IDEOGRAPH-754C}" * 180, "\ud800", "r" * 3_000_000],
    ids=["long", "controls", "wide", "half a pair", "huge"],
)
async def test_what_is_too_long_for_a_control_is_refused_before_it_is_sent(text: str) -> None:
    controls = _controls(FakeTransport())
    with pytest.raises(InvalidEvent, match="reason"):
        await controls.act("cancel", event_id="e1", reason=text)
    with pytest.raises(InvalidEvent, match="by"):
        await controls.answer("approve", "c:0", by=text, reason=None)
    with pytest.raises(InvalidEvent, match="event_id"):
        await controls.act("redrive", event_id=text)

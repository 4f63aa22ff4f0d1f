"""Sending: the same ids in every retry, and the order of the calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from temporalio.service import RPCStatusCode as Status

from inturn.client.submitter import Submitter
from inturn.errors import Backpressure, InvalidEvent, JournalUnavailable, Unavailable
from inturn.events import Event, EventOptions
from inturn.journal import Journal, NewEntry, Outcome, Recorded
from inturn.keys import SessionKey
from inturn.values import Receipt
from tests.support.journal import opening, plain_turn
from tests.support.transport import FakeTransport, accepted, never, refused, reworded_cancel, rpc_error

KEY = SessionKey("t", "s")
RECEIPT = {"receipt": {"event_id": "e1", "status": "accepted", "position": 2}}
DUPLICATE = {"receipt": {"event_id": "e1", "status": "duplicate"}}
"""Of an event so old that the session does not know any more how it stands."""
CLOSING = rpc_error(Status.RESOURCE_EXHAUSTED, "workflow is closing")


def _submitter(transport: FakeTransport) -> Submitter:
    return Submitter(transport)  # type: ignore[arg-type]


async def _again(journal: Journal | None, receipt: dict[str, Any] = DUPLICATE) -> Receipt:
    submitter = _submitter(FakeTransport(accepted(receipt), journal=journal))
    return await submitter.submit("hi", event_id="e1")


async def _parked(journal: Journal) -> None:
    end = NewEntry("event.parked", {"error": "400", "turn": "e1"}, event_id="e1", key="e1/parked")
    await journal.record(KEY, [Recorded(end, Outcome("e1", "e1", "parked", reason="400"))])


async def test_send_is_one_signal_with_the_event_as_its_json() -> None:
    transport = FakeTransport()
    submitter = _submitter(transport)
    receipt = await submitter.send("hi", event_id="e1", source="slack", metadata={"a": 1})
    assert (receipt.event_id, receipt.status) == ("e1", "sent")
    event = {"event_id": "e1", "content": "hi", "source": "slack", "metadata": {"a": 1}}
    assert transport.calls == [("signal_with_start", event, None)]


async def test_submit_gives_the_receipt_of_the_session() -> None:
    transport = FakeTransport(accepted(RECEIPT))
    submitter = _submitter(transport)
    receipt = await submitter.submit("hi", event_id="e1")
    assert (receipt.status, receipt.position) == ("accepted", 2)


async def test_retries_carry_the_same_event_and_the_same_update_id() -> None:
    lost = accepted(refused("AcceptedUpdateCompletedWorkflow"))
    transport = FakeTransport(CLOSING, rpc_error(Status.UNAVAILABLE), lost, accepted(RECEIPT))
    submitter = _submitter(transport)
    await submitter.submit("hi")
    assert len(transport.calls) == 4
    assert all(call == transport.calls[0] for call in transport.calls)


async def test_two_calls_with_one_event_are_two_updates() -> None:
    transport = FakeTransport(accepted(RECEIPT), accepted(RECEIPT))
    submitter = _submitter(transport)
    for _ in range(2):
        await submitter.submit("hi", event_id="e1")
    first, second = (call[2] for call in transport.calls)
    assert first != second  # the server would answer the second with the first one's receipt, not with `duplicate`


@pytest.mark.promise("ORD-11")
async def test_what_one_handle_sends_is_accepted_in_call_order_through_retries() -> None:
    transport = FakeTransport(CLOSING, CLOSING, {}, CLOSING, accepted(RECEIPT), {})
    submitter = _submitter(transport)
    await asyncio.gather(
        submitter.send("a", event_id="e1"),
        submitter.submit("b", event_id="e2"),
        submitter.send("c", event_id="e3"),
    )
    assert [call[1]["event_id"] for call in transport.calls] == ["e1", "e1", "e1", "e2", "e2", "e3"]


async def test_an_ask_holds_its_place_until_it_is_accepted_not_answered() -> None:
    transport = FakeTransport(accepted(never), {})
    submitter = _submitter(transport)
    await submitter.accepted(submitter.event("a", event_id="e1"))
    await submitter.send("b", event_id="e2")
    assert transport.calls[0][1] == {"event_id": "e1", "content": "a", "wait": True, "inline": True}


@pytest.mark.promise("ACC-2")
async def test_an_old_duplicate_is_told_by_the_journal_how_its_original_ended(journal: Journal) -> None:
    await plain_turn(journal, KEY, "e1")
    receipt = await _again(journal)
    assert (receipt.event_id, receipt.status, receipt.disposition) == ("e1", "duplicate", "applied")


@pytest.mark.promise("ACC-2")
async def test_an_old_duplicate_of_an_event_whose_turn_has_begun_and_not_ended_is_running(journal: Journal) -> None:
    await journal.claim_model(KEY.turn("e1").step(0), opening("e1"))
    assert (await _again(journal)).disposition == "running"


@pytest.mark.promise("ACC-2")
async def test_an_old_duplicate_of_a_parked_event_is_running_only_while_it_is_driven_again(journal: Journal) -> None:
    await journal.claim_model(KEY.turn("e1").step(0), opening("e1"))
    await _parked(journal)
    assert (await _again(journal)).disposition == "parked"
    await journal.claim_model(KEY.turn("e1", redrive=1).step(0), opening("e1~1"))
    assert (await _again(journal)).disposition == "running"


async def test_what_the_session_knows_of_a_duplicate_stands_against_the_journal(journal: Journal) -> None:
    await _parked(journal)
    waits = {"receipt": {"event_id": "e1", "status": "duplicate", "position": 0, "disposition": "pending"}}
    assert (await _again(journal, waits)).disposition == "pending"


async def test_a_duplicate_that_nobody_here_can_tell_of_still_has_its_receipt(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise JournalUnavailable("away")

    assert (await _again(None)).disposition is None
    assert (await _again(journal)).disposition is None, "the journal does not know it"
    monkeypatch.setattr(journal, "outcome", away)
    assert (await _again(journal)).status == "duplicate"


async def test_a_call_that_fails_frees_its_place() -> None:
    transport = FakeTransport(rpc_error(Status.PERMISSION_DENIED), {})
    submitter = _submitter(transport)
    failed, sent = await asyncio.gather(submitter.send("a"), submitter.send("b"), return_exceptions=True)
    assert isinstance(failed, Unavailable)
    assert not isinstance(sent, BaseException)


@pytest.mark.promise("ACC-5")
async def test_a_refusal_is_raised_and_not_tried_again() -> None:
    transport = FakeTransport(accepted(refused("Backpressure", 3.5)))
    submitter = _submitter(transport)
    with pytest.raises(Backpressure) as caught:
        await submitter.submit("hi")
    assert caught.value.retry_after == 3.5
    assert len(transport.calls) == 1


async def test_patience_ends_with_the_reason_as_cause() -> None:
    transport = FakeTransport(*[CLOSING] * 50, patience=0.3)
    submitter = _submitter(transport)
    with pytest.raises(Unavailable, match="workflow is closing") as caught:
        await submitter.send("hi")
    assert caught.value.__cause__ is CLOSING
    assert len(transport.calls) > 1


async def test_without_a_worker_submit_ends_in_time_and_says_what_is_safe() -> None:
    transport = FakeTransport(never, worker_timeout=0.1)
    submitter = _submitter(transport)
    with pytest.raises(Unavailable, match=r"no worker took the call within 0\.1 s; the same event_id again is safe"):
        await submitter.submit("hi")


async def test_a_session_that_answers_is_crowded_and_not_without_a_worker() -> None:
    transport = FakeTransport(never, never, accepted(RECEIPT), worker_timeout=0.05)
    transport.answers = True
    submitter = _submitter(transport)
    assert (await submitter.submit("hi")).status == "accepted"
    assert len({call[2] for call in transport.calls}) == 1


async def test_a_cancelled_caller_is_cancelled_though_the_sdk_says_timeout() -> None:
    async def cancelled_inside() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            raise reworded_cancel() from asyncio.CancelledError()

    transport = FakeTransport(cancelled_inside)
    submitter = _submitter(transport)
    task = asyncio.create_task(submitter.submit("hi"))
    while not transport.calls:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(transport.calls) == 1


async def test_an_event_gets_a_fresh_id_once_per_call() -> None:
    submitter = _submitter(FakeTransport())
    one, other = submitter.event("yes"), submitter.event("yes")
    assert str(one.event_id).startswith("c:")
    assert one.event_id != other.event_id


@pytest.mark.promise("ACC-3")
async def test_with_sent_at_the_same_thing_sent_twice_is_one_event() -> None:
    submitter = _submitter(FakeTransport())
    one, other = (submitter.event("yes", sender="u", sent_at=5.0) for _ in range(2))
    assert one.event_id == other.event_id


@pytest.mark.parametrize("wrong", [{"event_id": "a b"}, {"sequence": -1}, {"when_busy": "never"}])
async def test_an_event_that_breaks_a_rule_is_refused_before_it_is_sent(wrong: dict[str, Any]) -> None:
    transport = FakeTransport()
    with pytest.raises(InvalidEvent):
        await _submitter(transport).send("hi", **wrong)
    assert transport.calls == []


@pytest.mark.parametrize("call", ["send", "submit", "event"])
async def test_an_option_that_no_event_has_is_named_and_nothing_is_sent(call: str) -> None:
    transport = FakeTransport()
    with pytest.raises(TypeError, match=r"no option event_ids; it has aliases, event_id, expires_after, metadata"):
        await getattr(_submitter(transport), call)("hi", event_ids=["e1"])
    assert transport.calls == []


async def test_an_event_itself_can_be_sent_and_keeps_what_it_says() -> None:
    transport = FakeTransport()
    transport.agent = "support"
    submitter = _submitter(transport)
    await submitter.send(Event(content="hi", source="slack", event_id="e1", agent="sales"))
    receipt = await submitter.send(Event(content="hi"))
    sent = [call[1] for call in transport.calls]
    assert sent[0] == {"event_id": "e1", "content": "hi", "source": "slack", "agent": "sales"}
    assert sent[1] == {"event_id": receipt.event_id, "content": "hi", "agent": "support"}
    with pytest.raises(TypeError, match="source cannot be given beside it"):
        await submitter.send(Event(content="hi"), source="slack")


def test_the_options_of_a_call_are_the_fields_of_an_event() -> None:
    made_here = {"content", "agent", "trace"}
    assert EventOptions.__annotations__.keys() == Event.model_fields.keys() - made_here


async def test_the_producers_trace_travels_with_the_event() -> None:
    here = SpanContext(trace_id=7, span_id=9, is_remote=False, trace_flags=TraceFlags(1))
    submitter = _submitter(FakeTransport())
    with use_span(NonRecordingSpan(here)):
        event = submitter.event("hi")
    assert event.trace == f"00-{7:032x}-{9:016x}-01"
    assert submitter.event("hi").trace is None


async def test_the_handles_agent_travels_with_the_event() -> None:
    transport = FakeTransport()
    transport.agent = "support"
    assert _submitter(transport).event("hi").wire()["agent"] == "support"

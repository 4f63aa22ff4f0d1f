"""Calls whose outcome nobody knows are listed until an operator says what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from inturn.client.control.unknown_calls import UnknownCalls
from inturn.client.temporal.connection import Connection
from inturn.errors import InvalidEvent
from inturn.journal import Journal, NewEntry, Recorded, Resolution, Superseded, Want
from inturn.journal.views.transcript import Transcript
from tests.support.journal import SESSION, answer, calls, opening

pytestmark = pytest.mark.usefixtures("store")

TURN = SESSION.turn("e1")
STEP = TURN.step(0)
CALL = TURN.step(0, 0)
LOCK = Want(SESSION.tenant, "order:17", "write")


async def called(journal: Journal, *, idempotent: bool = False) -> None:
    """A model step that asked for one call."""
    claim = await journal.claim_model(STEP, opening("e1"))
    made: Sequence[NewEntry] = calls("e1", ["c0"])
    for entry in made:
        if entry.type == "agent.tool_use" and idempotent:
            entry.body["idempotent"] = True
    await journal.finish(STEP, claim.token, {"stop": "tool_use"}, made)


async def ended(journal: Journal, status: str) -> str:
    """The call's attempt ends so; gives the token of the one before it, which was cut off."""
    lost = await journal.claim_call(CALL, lease=0)
    claim = await journal.claim_call(CALL, lease=5)
    body = {"call_id": "c0", "tool": "add", "status": status, "text": "?"}
    entry = NewEntry("agent.tool_result", body, event_id="e1", step="0/0", key=CALL.within_session)
    await journal.finish(CALL, claim.token, {"status": status, "text": "?"}, [entry])
    return lost.token


def settling(journal: Journal) -> UnknownCalls:
    return UnknownCalls(Connection(None, journal=journal), SESSION)


async def settle(journal: Journal, **settlement: Any) -> None:
    given: dict[str, Any] = {"done": True, "result": None, "by": None, "reason": None, **settlement}
    await settling(journal).settle(str(CALL), **given)


@pytest.mark.promise("EFF-2")
@pytest.mark.parametrize(
    ("status", "idempotent", "listed"),
    [
        ("unknown", False, True),
        ("unknown", True, True),
        ("timeout", False, True),
        ("timeout", True, False),
        ("ok", False, False),
        ("error", False, False),
    ],
)
async def test_a_call_is_listed_where_its_outcome_is_unknown(
    journal: Journal, status: str, idempotent: bool, listed: bool
) -> None:
    await called(journal, idempotent=idempotent)
    await ended(journal, status)
    found = await journal.unknown_calls(SESSION)
    assert [(o.key, o.call_id, o.tool, o.status) for o in found] == [(str(CALL), "c0", "add", status)] * listed


@pytest.mark.promise("EFF-2")
@pytest.mark.parametrize("began", [True, False])
async def test_an_interrupted_call_is_listed_only_if_its_body_began(journal: Journal, began: bool) -> None:
    await called(journal)
    await journal.claim_call(CALL, lease=5, begin=began)
    await journal.record(SESSION, [], settle=[TURN])
    assert [o.status for o in await journal.unknown_calls(SESSION)] == ["interrupted"] * began


@pytest.mark.promise("EFF-8")
async def test_a_late_record_of_a_turns_end_leaves_its_delivery_alone(journal: Journal) -> None:
    end = NewEntry("turn.interrupted", {"turn": "e1"}, "e1", key="e1/end")

    async def record() -> None:
        await journal.record(SESSION, [Recorded(end)], settle=[TURN])

    await called(journal)
    await record()
    delivery = TURN.step("deliver")
    claim = await journal.claim_call(delivery, lease=5, begin=True)
    await record()  # an attempt that was held up
    await journal.finish(delivery, claim.token, {"status": "ok"})
    assert (await journal.claim_call(delivery, lease=5, begin=True)).status == "done"


@pytest.mark.promise("EFF-4")
async def test_a_late_record_of_cancelled_calls_leaves_the_next_steps_alone(journal: Journal) -> None:
    await called(journal)
    held = await journal.claim_call(CALL, lease=5, begin=True, wants=[LOCK])

    async def record() -> None:
        await journal.record(SESSION, [], settle=[TURN], cancelled="too many failed", number=CALL.step)

    await record()
    with pytest.raises(Superseded):
        await journal.finish(CALL, held.token, {"status": "ok"})
    assert [e.body["status"] for e in await journal.read(SESSION, types=("agent.tool_result",))] == ["cancelled"]
    step = await journal.claim_model(TURN.step(1))
    await record()  # an attempt that was held up
    await journal.finish(TURN.step(1), step.token, {"stop": "tool_use"}, calls("e1", ["c1"], step=1))
    call = await journal.claim_call(TURN.step(1, 0), lease=5, begin=True, wants=[LOCK])
    assert call.status == "claimed", "the cancelled one's lock is free"
    await record()
    await journal.finish(TURN.step(1, 0), call.token, {"status": "ok"})


@pytest.mark.promise("EFF-2")
async def test_a_result_that_came_too_late_is_offered(journal: Journal) -> None:
    await called(journal)
    token = await ended(journal, "unknown")
    with pytest.raises(Exception, match="nothing was written"):
        await journal.finish(CALL, token, {"status": "ok", "text": "posted 7"})
    [outcome] = await journal.unknown_calls(SESSION)
    assert (outcome.late_status, outcome.late_result) == ("ok", "posted 7")


async def _said(journal: Journal) -> str:
    """What the model reads as the system's words once the user says something."""
    claim = await journal.claim_model(TURN.step(1))
    await journal.finish(TURN.step(1), claim.token, {"stop": "end_turn"}, answer("e1", step=1))
    await journal.claim_model(SESSION.turn("e2").step(0), opening("e2"))
    messages = Transcript(await journal.read(SESSION)).request_messages()
    return str([m["content"] for m in messages if m["role"] == "system"])


@pytest.mark.promise("EFF-2", "MOD-1")
@pytest.mark.parametrize(
    ("settlement", "heard"),
    [
        ({"done": True, "result": "posted 7", "by": "ann"}, "by ann: it was done. Its result: posted 7"),
        ({"done": True, "result": {"id": 7}}, 'it was done. Its result: {"id": 7}'),
        ({"done": True}, "looked into: it was done."),
        ({"done": False, "reason": "asked them"}, "(asked them): it was not done and had no effect."),
    ],
)
async def test_a_settled_call_is_listed_no_more_and_the_model_learns_of_it(
    journal: Journal, settlement: dict[str, Any], heard: str
) -> None:
    await called(journal)
    await ended(journal, "unknown")
    before = Transcript(await journal.read(SESSION)).request_messages()
    await settle(journal, **settlement)
    assert await journal.unknown_calls(SESSION) == []
    assert Transcript(await journal.read(SESSION)).request_messages()[: len(before)] == before
    text = await _said(journal)
    assert heard.replace('"', '\\"') in text or heard in text
    assert await journal.verify(SESSION) == []


@pytest.mark.promise("EFF-2")
async def test_the_first_settlement_stands_and_the_same_again_is_fine(journal: Journal) -> None:
    await called(journal)
    await ended(journal, "unknown")
    await settle(journal, done=True, result="posted 7", by="ann")
    await settle(journal, done=True, result="posted 7", by="eve")
    for other in ({"done": False}, {"done": True, "result": "posted 8"}):
        with pytest.raises(InvalidEvent, match=r"settled by ann otherwise before: done, with result 'posted 7'"):
            await settle(journal, **other)
    assert [e.body["by"] for e in await journal.read(SESSION, types=("system.message",))] == ["ann"]


async def test_what_is_known_or_was_never_called_cannot_be_settled(journal: Journal) -> None:
    await called(journal)
    with pytest.raises(InvalidEvent, match="not unknown"):
        await settle(journal)  # it may still run
    await ended(journal, "ok")
    with pytest.raises(InvalidEvent, match="not unknown"):
        await settle(journal)
    assert await journal.read(SESSION, types=("system.message",)) == []


@pytest.mark.parametrize(
    ("call", "why"),
    [("toolu_1", "no call's key"), ("other/s1/e1/0/0", "of session other/s1"), (f"{SESSION}/e1/0/x", "no call's key")],
)
async def test_only_a_call_of_this_session_can_be_settled(journal: Journal, call: str, why: str) -> None:
    with pytest.raises(InvalidEvent, match=why):
        await settling(journal).settle(call, done=True, result=None, by=None, reason=None)


async def test_a_result_is_bounded_for_the_model_reads_it(journal: Journal) -> None:
    with pytest.raises(InvalidEvent, match="16,384 bytes"):
        await settle(journal, result="x" * 20_000)


def test_settlements_are_the_same_by_what_they_say() -> None:
    assert Resolution(True, {"a": 1}, by="ann").same(Resolution(True, {"a": 1}))
    assert not Resolution(True).same(Resolution(False))


@pytest.mark.parametrize("wrong", ["half a character", "too deep"])
async def test_a_result_that_cannot_be_written_is_refused(journal: Journal, wrong: str) -> None:
    result: Any = "\ud800"
    for _ in range(900 if wrong == "too deep" else 0):
        result = [result]
    with pytest.raises(InvalidEvent, match="JSON"):
        await settle(journal, result=result)

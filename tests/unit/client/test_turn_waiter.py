"""Waiting for a turn: an accepted event is followed, never sent again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.service import RPCStatusCode as Status

import inturn.client.turn_waiter
from inturn.client.control.controls import Controls
from inturn.client.submitter import Submitter
from inturn.client.turn_waiter import TurnWaiter
from inturn.errors import (
    InvalidEvent,
    JournalUnavailable,
    SessionClosed,
    SessionNotFound,
    TurnFailed,
    TurnTimeout,
)
from inturn.events import Event
from inturn.journal import Journal, NewEntry, Outcome, Recorded
from inturn.keys import SessionKey
from inturn.values import Turn
from tests.support.journal import plain_turn
from tests.support.transport import FakeTransport, accepted, never, refused, rpc_error

TOLD = {"turn": {"event_id": "e1", "text": "hello", "stop_reason": "end_turn"}}
PENDING = {"receipt": {"event_id": "e1", "status": "accepted"}, "pending": True}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inturn.client.turn_waiter, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(inturn.client.turn_waiter, "_LONGEST_PAUSE", 0.05)


def _waiter(transport: Any) -> tuple[TurnWaiter, Event]:
    submitter = Submitter(transport)
    return TurnWaiter(transport, submitter, Controls(transport)), submitter.event("hi", event_id="e1")


async def _ask(transport: FakeTransport, **options: Any) -> Turn:
    waiter, event = _waiter(transport)
    return await waiter.ask(event, **{"timeout": 5, "cancel_on_exit": False, **options})


async def test_an_ask_takes_the_turn_from_the_updates_result() -> None:
    transport = FakeTransport(accepted(TOLD))
    assert (await _ask(transport)).text == "hello"
    assert [call[0] for call in transport.calls] == ["update_with_start"]


@pytest.mark.parametrize(
    "cut",
    [
        PENDING,
        rpc_error(Status.UNAVAILABLE),
        rpc_error(Status.NOT_FOUND, "update not found"),
        refused("AcceptedUpdateCompletedWorkflow"),
    ],
    ids=["released", "server away", "update lost", "run ended"],
)
async def test_an_ask_that_loses_its_answer_asks_again_and_never_sends_again(cut: Any) -> None:
    transport = FakeTransport(accepted(cut), accepted(PENDING), accepted(TOLD))
    assert (await _ask(transport)).text == "hello"
    assert [call[0] for call in transport.calls] == ["update_with_start", "update submit", "update submit"]
    assert all("content" not in call[1] for call in transport.calls[1:])
    assert len({call[2] for call in transport.calls}) == 3  # an older update would only give its old answer


@pytest.mark.parametrize("disposition", ["parked", "expired", "rejected", "discarded", "cancelled"])
async def test_an_event_that_ended_without_a_turn_raises(disposition: str) -> None:
    transport = FakeTransport(accepted({"ended": {"disposition": disposition, "reason": "because"}}))
    with pytest.raises(TurnFailed, match="because") as caught:
        await _ask(transport)
    assert (caught.value.event_id, caught.value.disposition) == ("e1", disposition)


async def test_a_timeout_is_the_callers_and_leaves_the_turn_running() -> None:
    transport = FakeTransport(accepted(never))
    with pytest.raises(TurnTimeout, match="its turn goes on"):
        await _ask(transport, timeout=0.05)
    assert [call[0] for call in transport.calls] == ["update_with_start"]


@pytest.mark.promise("EFF-8")
async def test_a_caller_that_goes_away_can_cancel_its_turn() -> None:
    transport = FakeTransport(accepted(never), accepted({"ok": True}))
    waiter, event = _waiter(transport)
    task = asyncio.create_task(waiter.ask(event, timeout=None, cancel_on_exit=True))
    while not transport.calls:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    kind, message, _ = transport.calls[1]
    assert kind == "update control"
    assert (message["op"], message["event_id"]) == ("cancel", "e1")


async def test_waiting_for_an_event_that_nobody_knows_is_the_callers_mistake() -> None:
    waiter, _ = _waiter(FakeTransport(accepted({"unknown": True})))
    with pytest.raises(InvalidEvent, match="knows no event e1"):
        await waiter.wait("e1", timeout=5)


FORGOTTEN = {"receipt": {"event_id": "e1", "status": "duplicate"}, "unknown": True}


@pytest.mark.promise("ACC-2")
async def test_asking_for_a_turn_that_only_the_journal_remembers_reads_it_there(journal: Journal) -> None:
    await plain_turn(journal, SessionKey("t", "s"), "e1", "hello again")
    assert (await _ask(FakeTransport(accepted(FORGOTTEN), journal=journal))).text == "hello again"


@pytest.mark.promise("ACC-2")
@pytest.mark.parametrize("script", [[FORGOTTEN], [PENDING, FORGOTTEN]], ids=["a duplicate", "released before"])
async def test_who_cannot_read_the_journal_is_not_told_that_an_event_which_was_taken_is_unknown(
    script: list[Any],
) -> None:
    transport = FakeTransport(*map(accepted, script))
    with pytest.raises(
        JournalUnavailable, match="took event e1 and no longer has its answer, only the journal can; none here"
    ):
        await _ask(transport)


async def test_an_answer_that_the_clients_journal_lacks_is_not_the_callers_mistake(journal: Journal) -> None:
    with pytest.raises(JournalUnavailable, match=r"took event e1 .* that this client reads does not have it"):
        await _ask(FakeTransport(accepted(FORGOTTEN), journal=journal))


async def test_waiting_without_a_journal_for_an_event_that_may_be_old_says_who_could_know(journal: Journal) -> None:
    waiter, _ = _waiter(FakeTransport(accepted({"unknown": True})))
    with pytest.raises(InvalidEvent, match=r"knows no event e1 \(any more\); none here"):
        await waiter.wait("e1", timeout=5)
    await plain_turn(journal, SessionKey("t", "s"), "e1")
    waiter, _ = _waiter(FakeTransport(accepted({"unknown": True}), journal=journal))
    assert (await waiter.wait("e1", timeout=5)).disposition == "applied"


@pytest.mark.parametrize(
    ("message", "error"),
    [("workflow not found for ID: t/s", SessionNotFound), ("workflow execution already completed", SessionClosed)],
)
async def test_waiting_at_a_session_that_is_not_there_says_so(message: str, error: type[Exception]) -> None:
    waiter, _ = _waiter(FakeTransport(rpc_error(Status.NOT_FOUND, message)))
    with pytest.raises(error):
        await waiter.wait("e1", timeout=5)


async def test_the_journal_answers_for_a_session_that_is_gone(journal: Journal) -> None:
    end = NewEntry("event.expired", {"reason": "too old"}, event_id="e1", key="e1/disposition")
    outcome = Outcome(event_id="e1", turn="e1", disposition="expired", reason="too old")
    await journal.record(SessionKey("t", "s"), [Recorded(end, outcome)])
    gone = rpc_error(Status.NOT_FOUND, "workflow not found for ID: t/s")
    waiter, _ = _waiter(FakeTransport(gone, journal=journal))
    with pytest.raises(TurnFailed, match="too old"):
        await waiter.wait("e1", timeout=5)


# With a journal to read: no history for who waits.

KEY = SessionKey("t", "s")


def _running(event_id: str = "e1", **turn: Any) -> dict[str, Any]:
    return {"state": "running", "turn": {"event_id": event_id, **turn}}


def _following(journal: Journal, *script: Any, state: Any = None) -> tuple[TurnWaiter, FakeTransport]:
    transport = FakeTransport(*script, journal=journal)
    transport.state = state or _running()
    waiter, _ = _waiter(transport)
    return waiter, transport


async def _during(transport: FakeTransport, wait: Any, *steps: Any) -> Any:
    """Begin a wait, then let each step happen while it waits for the journal; return what it brings."""
    async with asyncio.timeout(5):
        waiting = asyncio.create_task(wait)
        for step in steps:
            transport.follows.clear()
            await transport.follows.wait()
            await step
        return await waiting


async def _park(journal: Journal, turn: str) -> None:
    end = NewEntry("event.parked", {"error": "400", "turn": turn}, event_id="e1", key=f"{turn}/parked")
    await journal.record(KEY, [Recorded(end, Outcome("e1", turn, "parked", reason="400"))])


@pytest.mark.parametrize("where", ["queue", "held", "running", "merged"])
async def test_a_wait_for_an_open_event_follows_the_journal_and_asks_nothing(journal: Journal, where: str) -> None:
    states = {
        "queue": {"queue": [{"event_id": "e1"}]},
        "held": {"held": [{"event_id": "e1"}]},
        "running": _running(),
        "merged": _running("host", merged=["e1"]),
    }
    waiter, transport = _following(journal, state=states[where])
    turn = await _during(transport, waiter.wait("e1", timeout=5), plain_turn(journal, KEY, "e1", "hello"))
    assert turn.text == "hello"
    assert transport.calls == []


async def test_a_wait_for_an_event_that_has_ended_needs_neither_worker_nor_server(journal: Journal) -> None:
    await plain_turn(journal, KEY, "e1", "hello")
    waiter, transport = _following(journal, state=rpc_error(Status.UNAVAILABLE))
    assert (await waiter.wait("e1", timeout=5)).text == "hello"
    assert transport.calls == []


async def test_an_ask_that_was_released_follows_the_journal(journal: Journal) -> None:
    _, transport = _following(journal, accepted(PENDING))
    waiter, event = _waiter(transport)
    asked = waiter.ask(event, timeout=5, cancel_on_exit=False)
    assert (await _during(transport, asked, plain_turn(journal, KEY, "e1", "hello"))).text == "hello"
    assert [call[0] for call in transport.calls] == ["update_with_start"]


async def test_a_wait_outlives_pauses_without_news_while_the_session_has_the_event(journal: Journal) -> None:
    waiter, transport = _following(journal)
    with pytest.raises(TurnTimeout):  # many pauses of 10 ms
        await waiter.wait("e1", timeout=0.3)
    assert transport.calls == []


async def test_a_wait_asks_the_session_about_an_event_that_neither_journal_nor_status_shows(journal: Journal) -> None:
    waiter, transport = _following(journal, accepted(TOLD), state={"state": "idle"})
    assert (await waiter.wait("e1", timeout=5)).text == "hello"
    assert [call[0] for call in transport.calls] == ["update submit"]


async def test_a_wait_for_a_parked_event_fails_at_once_unless_it_is_driven_again(journal: Journal) -> None:
    await _park(journal, "e1")
    waiter, transport = _following(journal, state={"state": "idle"})
    with pytest.raises(TurnFailed, match="400") as caught:
        await waiter.wait("e1", timeout=5)
    assert caught.value.disposition == "parked"
    transport.state = {"queue": [{"event_id": "e1"}]}
    turn = await _during(transport, waiter.wait("e1", timeout=5), plain_turn(journal, KEY, "e1~1", "better"))
    assert turn.text == "better"
    assert transport.calls == []


async def test_a_wait_sees_its_event_parked_once_the_session_has_let_go_of_it(journal: Journal) -> None:
    waiter, transport = _following(journal)

    async def let_go() -> None:
        transport.state = {"state": "idle"}

    with pytest.raises(TurnFailed, match="400"):
        await _during(transport, waiter.wait("e1", timeout=5), _park(journal, "e1"), let_go())
    assert transport.calls == []


async def test_a_wait_asks_for_the_status_again_where_the_server_holds_other_queries(journal: Journal) -> None:
    full = [rpc_error(Status.RESOURCE_EXHAUSTED, "consistent query buffer is full")]

    async def state() -> Any:
        if full:
            raise full.pop()
        return _running()

    waiter, transport = _following(journal, state=state)
    waiting = waiter.wait("e1", timeout=5)
    assert (await _during(transport, waiting, plain_turn(journal, KEY, "e1", "hello"))).text == "hello"
    assert transport.calls == []


async def test_a_redrive_that_ends_while_a_wait_asks_for_the_status_is_its_answer(journal: Journal) -> None:
    await _park(journal, "e1")

    async def answered_meanwhile() -> Any:
        await plain_turn(journal, KEY, "e1~1", "better")
        return {"state": "idle"}

    waiter, _ = _following(journal, state=answered_meanwhile)
    assert (await waiter.wait("e1", timeout=5)).text == "better"


@pytest.mark.parametrize("looks", [0, 1])
async def test_a_turn_that_ends_while_a_wait_asks_for_the_status_is_read_and_not_asked_for(
    journal: Journal, looks: int
) -> None:
    running = [_running() for _ in range(looks)]

    async def ended_meanwhile() -> Any:
        if running:
            return running.pop()
        await plain_turn(journal, KEY, "e1", "hello")
        return {"state": "idle"}

    waiter, transport = _following(journal, state=ended_meanwhile)
    assert (await waiter.wait("e1", timeout=5)).text == "hello"
    assert transport.calls == []


class _AwayFor:
    """Has a journal's reads fail so many times, once so many have not."""

    def __init__(self, journal: Journal, monkeypatch: pytest.MonkeyPatch, times: int, *, behind: int = 0) -> None:
        self.left, self.behind = times, behind
        outcome = journal.outcome_by

        async def away(*args: Any) -> Any:
            self.behind -= 1
            if self.behind >= 0:
                return await outcome(*args)
            self.left -= 1
            if self.left >= 0:
                raise JournalUnavailable("the disk is full")
            return await outcome(*args)

        monkeypatch.setattr(journal, "outcome_by", away)


async def test_a_journal_that_is_away_for_a_moment_ends_no_wait(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiter, transport = _following(journal)
    asking = asyncio.create_task(waiter.wait("e1", timeout=8))
    await transport.follows.wait()
    away = _AwayFor(journal, monkeypatch, 3)
    await plain_turn(journal, KEY, "e1", "hello")
    assert (await asking).text == "hello"
    assert away.left < 0
    assert transport.calls == [], "nothing was asked of the session for it"
    _AwayFor(journal, monkeypatch, 2)
    assert (await waiter.wait("e1", timeout=8)).text == "hello"


ENDED = {"turn": {"event_id": "e1", "disposition": "applied", "stop_reason": "end_turn", "truncated": True}}
"""What a session tells who reads the journal: the text is there."""


async def test_a_journal_that_is_away_when_the_answer_is_told_is_waited_for(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plain_turn(journal, KEY, "e1", "hello")
    waiter, _ = _following(journal, accepted(ENDED))
    away = _AwayFor(journal, monkeypatch, 2)
    turn = await waiter.ask(waiter.submitter.event("hi", event_id="e1"), timeout=8, cancel_on_exit=False)
    assert (turn.text, turn.truncated) == ("hello", False)
    assert away.left < 0


async def test_an_answer_that_cannot_be_read_is_an_error_and_no_empty_one(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plain_turn(journal, KEY, "e1", "hello")
    waiter, transport = _following(journal, accepted(ENDED))
    transport.patience = 0.2
    _AwayFor(journal, monkeypatch, 1000)
    with pytest.raises(JournalUnavailable, match="the disk is full"):
        await waiter.ask(waiter.submitter.event("hi", event_id="e1"), timeout=8, cancel_on_exit=False)


@pytest.mark.parametrize("behind", [0, 1, 2])
async def test_a_turn_that_ran_never_counts_as_failed_because_the_journal_went_away(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, behind: int
) -> None:
    await plain_turn(journal, KEY, "e1", "hello")
    waiter, _ = _following(journal)
    _AwayFor(journal, monkeypatch, 1, behind=behind)
    assert (await waiter.wait("e1", timeout=8)).text == "hello"


@pytest.mark.parametrize("behind", [0, 1])
async def test_what_a_closed_session_had_answered_is_waited_for_too(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, behind: int
) -> None:
    await plain_turn(journal, KEY, "e1", "hello")
    waiter, _ = _following(journal, accepted({"unknown": True}))
    _AwayFor(journal, monkeypatch, 1, behind=behind)
    turn = await waiter.ask(waiter.submitter.event("hi", event_id="e1"), timeout=8, cancel_on_exit=False)
    assert turn.text == "hello"


async def test_a_journal_that_stays_away_ends_the_wait_with_the_callers_patience(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiter, transport = _following(journal)
    transport.patience = 0.2
    _AwayFor(journal, monkeypatch, 1000)
    with pytest.raises(JournalUnavailable, match="the disk is full"):
        await waiter.wait("e1", timeout=5)


async def test_a_wait_for_a_parked_event_ends_in_a_closed_session_without_a_worker(journal: Journal) -> None:
    await _park(journal, "e1")
    await journal.record(KEY, [], close=True)
    waiter, _ = _following(journal, state=rpc_error(Status.UNAVAILABLE))
    with pytest.raises(TurnFailed, match="400"):
        await waiter.wait("e1", timeout=8)

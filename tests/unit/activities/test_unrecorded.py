"""What a run had decided and not recorded when it was ended from outside is recorded, once, whatever its size."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import ActivityEnvironment

from inturn import names, sizes
from inturn.decoding import invalid_id
from inturn.events import Event
from inturn.journal import Journal
from inturn.journal.views.turns import ended_events
from inturn.keys import short_name
from inturn.signals import Signal
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn_activities.messages import Decision, RecordInput
from inturn_activities.recovery import recovered
from inturn_activities.unrecorded import AT_ONCE
from inturn_workflows.inbox.books import Books
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import ParkedEvent, Queued, Refusal
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.recovered import park
from inturn_workflows.state import SessionInput, SessionState
from inturn_workflows.turn_state import TurnState
from tests.support.steps import SESSION, StepRunner, rig

pytestmark = pytest.mark.promise("ACC-1", "ACC-8", "SUR-11")

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class _Run:
    """The history of a run that was terminated."""

    def __init__(self, state: SessionState | None = None) -> None:
        start = HistoryEvent(event_id=1, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
        attributes = start.workflow_execution_started_event_attributes
        attributes.first_execution_run_id = "the-first-of-old"
        self.events = [start]
        self._times(start)
        if state is not None:
            attributes.continued_execution_run_id = "before"
            written = SessionInput(state=state).model_dump(mode="json")
            self._write(attributes.input, json.dumps(written).encode())

    def signalled(self, message: Any, name: str = names.SUBMIT) -> None:
        event = self._next(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
        event.workflow_execution_signaled_event_attributes.signal_name = name
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        self._write(event.workflow_execution_signaled_event_attributes.input, data)

    def updated(self, control: dict[str, Any], *, refused: bool) -> None:
        event = self._next(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)
        request = event.workflow_execution_update_accepted_event_attributes.accepted_request
        request.meta.update_id, request.input.name = control["control_id"], names.CONTROL
        self._write(request.input.args, json.dumps(control).encode())
        end = self._next(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED)
        end.workflow_execution_update_completed_event_attributes.meta.update_id = control["control_id"]
        if refused:
            end.workflow_execution_update_completed_event_attributes.outcome.failure.message = "it is late"

    def asks_model(self, turn: str) -> None:
        event = self._next(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
        event.activity_task_scheduled_event_attributes.activity_type.name = names.CALL_MODEL
        event.activity_task_scheduled_event_attributes.activity_id = str(SESSION.turn(turn).step(0))

    def recording(self, input: RecordInput, *, done: bool = False) -> None:
        event = self._next(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
        attributes = event.activity_task_scheduled_event_attributes
        attributes.activity_type.name = names.RECORD
        self._write(attributes.input, input.model_dump_json().encode())
        if done:
            end = self._next(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
            end.activity_task_completed_event_attributes.scheduled_event_id = event.event_id

    def _next(self, kind: EventType.ValueType) -> HistoryEvent:
        event = HistoryEvent(event_id=len(self.events) + 1, event_type=kind)
        self._times(event)
        self.events.append(event)
        return event

    def _times(self, event: HistoryEvent) -> None:
        event.event_time.FromDatetime(BEGAN + timedelta(seconds=event.event_id))

    def _write(self, into: Payloads, data: bytes) -> None:
        into.payloads.add(data=data).metadata["encoding"] = b"json/plain"


class _Server:
    """Has the histories of runs that were terminated, and takes what is signalled."""

    def __init__(self, *runs: _Run) -> None:
        self.runs = {f"run{n}": run for n, run in enumerate(runs)}
        self.data_converter = SimpleNamespace(payload_codec=None)
        self.sent = list[dict[str, Any]]()
        self.letters = list[dict[str, Any]]()
        """What told of parked events."""

    async def list_workflows(self, query: str) -> AsyncIterator[Any]:
        for run_id in self.runs:
            ended = WorkflowExecutionStatus.TERMINATED
            yield SimpleNamespace(id=str(SESSION), run_id=run_id, status=ended, start_time=datetime.now(UTC))

    def get_workflow_handle(self, workflow_id: str, *, run_id: str) -> Any:
        return SimpleNamespace(fetch_history_events=lambda: self._history(run_id), signal=self._signal)

    async def _history(self, run_id: str) -> AsyncIterator[HistoryEvent]:
        for event in self.runs[run_id].events:
            yield event

    async def _signal(self, name: str, message: dict[str, Any]) -> None:
        (self.letters if message.get("op") == "restore" else self.sent).append(message)


async def _recovered(journal: Journal, *runs: _Run, running: str = "new") -> list[dict[str, Any]]:
    """Recover twice, as by a retry: the second time nothing is written; give what was sent."""
    server: Any = _Server(*runs)
    environment = ActivityEnvironment(client=server)
    step = SESSION.turn(running).step(0)
    environment.info = dataclasses.replace(environment.info, activity_id=str(step), attempt=1)
    await environment.run(recovered, journal, step, "chain")
    sent, server.sent = list(server.sent), []
    head = await journal.head(SESSION)
    await environment.run(recovered, journal, step, "chain")
    assert await journal.head(SESSION) == head, "nothing twice"
    return sent


def _state() -> SessionState:
    return SessionState(inbox=Inbox(dedup=DedupWindow(salt="s")))


def _queued(event_id: str, content: str = "hi") -> Queued:
    return Queued(turn=event_id, n=1, at=1.0, event={"event_id": event_id, "content": content})


def _event(n: int) -> Event:
    return Event(event_id=f"e{n}", content="hi")


async def _dispositions(run: StepRunner) -> dict[str, str | None]:
    return {event_id: ending.outcome for event_id, ending in (await run.journal.endings(SESSION)).items()}


@pytest.mark.parametrize("content", ["hi", "x" * 200_000])
@pytest.mark.parametrize("disposition", ["parked", "expired", "cancelled"])
async def test_an_end_that_a_run_began_with_is_recorded(tmp_path: Path, disposition: str, content: str) -> None:
    state = _state()
    if disposition == "parked":
        state.inbox.endings.set_aside(_queued("e1", content), "late", 2.0)
    else:
        state.inbox.endings.end(_queued("e1", content), disposition, 2.0, {"reason": "so"})
    async with rig(tmp_path) as run:
        assert await _recovered(run.journal, _Run(state)) == []
        assert await _dispositions(run) == {"e1": disposition}
        [entry] = await run.entries(f"event.{disposition}")
        if disposition == "parked":
            assert entry.body["event"]["content"] == content


async def test_what_is_merged_and_rejected_is_recorded_too(tmp_path: Path) -> None:
    state = _state()
    state.inbox.endings.merge("m1", "host", 2.0, {"source": "client"})
    state.inbox.endings.reject("r1", Refusal(names.BACKPRESSURE, "full"), 2.0, {"preview": "hi"})
    async with rig(tmp_path) as run:
        await _recovered(run.journal, _Run(state))
        assert await _dispositions(run) == {"m1": "merged"}
        [entry] = await run.entries("event.rejected")
        assert (entry.event_id, entry.body["error"]) == ("r1", names.BACKPRESSURE)


async def test_what_a_large_parked_event_refers_to_moves_into_its_entry(tmp_path: Path) -> None:
    state = _state()
    async with rig(tmp_path) as run:
        claim = await run.journal.put_content(SESSION, "e1", {"content": "y" * 100_000})
        state.inbox.endings.set_aside(
            Queued(turn="e1", n=1, event={"event_id": "e1", "claim": claim, "preview": "y"}), "late", 2.0
        )
        await _recovered(run.journal, _Run(state))
        [entry] = await run.entries("event.parked")
        assert entry.body["event"]["content"] == "y" * 100_000
        assert await run.journal.contents(SESSION) == {}


@pytest.mark.parametrize("done", [False, True])
async def test_what_a_record_had_not_said_to_have_written_is_written(tmp_path: Path, done: bool) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        await run.ask("e0")
        body = {"reason": "stopped", "turn": "e1", "n": 2}
        end = Decision(type="turn.interrupted", turn="e1", key="e1/end", disposition="cancelled", body=body, at=2.0)
        old = _Run()
        old.signalled({"event_id": "e1", "content": "hi"})
        old.recording(RecordInput(decisions=[end], settle=["e1"], close=True), done=done)
        sent = await _recovered(run.journal, old)
        assert [message["event_id"] for message in sent] == ([] if not done else ["e1"]), "done: it is in another book"
        assert (await _dispositions(run)).get("e1") == (None if done else "cancelled")
        assert await run.entries("session.closed") == []


async def test_an_event_that_is_sent_anew_beside_its_own_unrecorded_end_has_ended(tmp_path: Path) -> None:
    state = _state()
    state.inbox.endings.end(_queued("e1"), "cancelled", 2.0, {"reason": "taken out"})
    async with rig(tmp_path, ["ok"]) as run:
        await _recovered(run.journal, _Run(state), running="e1")
        result = await run.ask("e1", chain="chain")
        assert result.stop == "ended"
        assert result.ended is not None
        assert result.ended.disposition == "cancelled"


async def test_what_was_only_counted_stays_counted_and_is_not_sent_again(tmp_path: Path) -> None:
    state = _state()
    for n in range(520):
        state.inbox.reject(_event(n), Refusal(names.BACKPRESSURE, "full"), 2.0, Signal("chain-1", n))
    kept, state.inbox.books.decisions = len(state.inbox.books.decisions), []
    async with rig(tmp_path) as run:
        await _recovered(run.journal, _Run(state))
        [entry] = await run.entries("event.rejected")
        assert entry.body["count"] == 520 - kept
        ends = await ended_events(run.journal, SESSION)
        assert ends.has("e519", None, Signal("chain-1", 519))
        assert not ends.has("e519", None, Signal("chain-2", 519))
        assert not ends.has("e1", None, Signal("chain-1", 1))


async def test_what_was_counted_and_then_recorded_is_not_counted_again(tmp_path: Path) -> None:
    state = _state()
    for n in range(520):
        state.inbox.reject(_event(n), Refusal(names.BACKPRESSURE, "full"), 2.0, Signal("chain-1", n))
    old = _Run(state)
    drained = Books.model_validate(state.inbox.books.model_dump()).drain_decisions(9.0)
    async with rig(tmp_path) as run:
        await run.record(*drained)
        old.recording(RecordInput(decisions=drained), done=True)
        await _recovered(run.journal, old)
        entries = run.journal.entries(SESSION, types=("event.rejected",))
        assert sum([int(entry.body.get("count", 1)) async for entry in entries]) == 520


async def _parked(run: StepRunner, *event_ids: str, at: float = BEGAN.timestamp()) -> None:
    for event_id in event_ids:
        body = {"turn": event_id, "error": "late", "event": {"event_id": event_id, "content": "hi"}}
        key = f"{event_id}/parked"
        await run.record(Decision(type="event.parked", turn=event_id, key=key, disposition="parked", body=body, at=at))


async def test_a_parked_event_that_was_given_up_stays_given_up(tmp_path: Path) -> None:
    old = _Run()
    old.signalled({"control_id": "c", "op": "discard", "event_id": "p1", "reason": "spam"}, names.CONTROL)
    old.signalled({"control_id": "d", "op": "discard", "event_id": "unknown"}, names.CONTROL)
    old.signalled({"control_id": "e", "op": "discard", "event_id": "p3"}, names.CONTROL)
    async with rig(tmp_path) as run:
        await _parked(run, "p1", "p2")
        await _parked(run, "p3", at=BEGAN.timestamp() + 60)
        await _recovered(run.journal, old)
        assert await _dispositions(run) == {"p1": "discarded", "p2": "parked", "p3": "parked"}, "p3 was parked later"
        [entry] = await run.entries("event.cancelled")
        assert entry.body["reason"] == "spam"


async def test_a_discard_finds_what_only_the_run_had_parked(tmp_path: Path) -> None:
    state = _state()
    state.inbox.endings.set_aside(_queued("p1"), "late", BEGAN.timestamp())
    old = _Run(state)
    old.signalled({"control_id": "c", "op": "discard", "event_id": "p1"}, names.CONTROL)
    async with rig(tmp_path) as run:
        await _recovered(run.journal, old)
        assert await _dispositions(run) == {"p1": "discarded"}


async def test_what_was_no_event_is_parked_and_what_has_its_id_is_sent(tmp_path: Path) -> None:
    old, nonsense = _Run(), b"\x00" * 1_000
    old.signalled(nonsense)
    old.signalled({"event_id": "typo", "content": "hi"}, name="sbumit")
    old.signalled({"event_id": "corrected", "content": ""})
    old.signalled({"event_id": "corrected", "content": "now"})
    old.signalled({"event_id": "waits", "wait": True})
    async with rig(tmp_path) as run:
        sent = await _recovered(run.journal, old)
        assert [message["event_id"] for message in sent] == ["corrected"]
        named = [d for d in await _dispositions(run) if d.startswith("invalid:")]
        assert len(named) == 1
        assert (await _dispositions(run)) == dict.fromkeys(["typo", "waits", *named], "parked")


async def test_an_event_that_had_joined_another_is_not_said_again(tmp_path: Path) -> None:
    old = _Run()
    for event_id in ("host", "joins", "waits"):
        old.signalled({"event_id": event_id, "content": "hi"})
    async with rig(tmp_path, ["ok"]) as run:
        await run.ask("host", joined=[{"event_id": "joins", "content": "too"}])
        sent = await _recovered(run.journal, old)
        assert [message["event_id"] for message in sent] == ["waits"]
        outcome = await run.journal.outcome(SESSION, "joins")
        assert outcome is not None
        assert (outcome.disposition, outcome.into) == ("merged", "host")


async def test_large_events_that_came_as_they_are_fit_the_run_that_they_are_sent_to(tmp_path: Path) -> None:
    old = _Run()
    for n in range(210):
        old.signalled({"event_id": f"e{n}", "content": "x" * 240_000, "source": "cli", "sequence": n})
    async with rig(tmp_path, ["ok"]) as run:
        sent = await _recovered(run.journal, old)
        assert [message["event_id"] for message in sent] == [f"e{n}" for n in range(210)]
        assert sum(map(sizes.written, sent)) < 210 * 1024
        assert [message["sequence"] for message in sent] == list(range(210))
        event = {name: value for name, value in sent[0].items() if name != names.AGAIN}
        await run.ask("e0", event=event, chain="chain")
        [said] = await run.bodies("user.message")
        assert said["content"] == "x" * 240_000


def test_a_short_name_is_one_events_alone() -> None:
    assert len({short_name(f"e{n}") for n in range(20_000)}) == 20_000
    assert invalid_id([]).startswith("invalid:")


@pytest.mark.promise("ISO-4")
async def test_a_flood_of_nonsense_is_written_in_parts_that_others_write_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = _Run()
    for n in range(1_000):
        old.signalled(b"\xff" + str(n).encode())
    async with rig(tmp_path) as run:
        sizes_of, record = list[int](), run.journal.record

        async def counted(session: Any, recorded: Any, **options: Any) -> Any:
            sizes_of.append(len(recorded))
            return await record(session, recorded, **options)

        monkeypatch.setattr(run.journal, "record", counted)
        assert await _recovered(run.journal, old) == []
        assert len(await _dispositions(run)) == 1_000
        assert max(sizes_of) == AT_ONCE


ODD = [
    {"op": "discard"},
    {"op": "discard", "event_id": 5},
    {"op": "discard", "event_id": "p1", "reason": ["a"]},
    {"op": ["discard"]},
    {"op": "close", "pending": {}},
    {"op": "cancel", "event_id": {}},
]


@pytest.mark.parametrize("control", ODD)
async def test_an_odd_control_of_the_run_stops_nothing(tmp_path: Path, control: dict[str, Any]) -> None:
    old = _Run()
    old.signalled({"event_id": "e1", "content": "hi"})
    old.signalled({"control_id": "c", **control}, names.CONTROL)
    async with rig(tmp_path) as run:
        await _parked(run, "p1")
        assert [message.get("event_id") for message in await _recovered(run.journal, old)] == ["e1"]


async def test_what_was_no_event_in_one_run_and_came_right_in_the_next_is_sent(tmp_path: Path) -> None:
    first, second = _Run(), _Run()
    for old in (first, second):
        old.signalled({"event_id": "e1", "content": "hi"})
        old.signalled({"event_id": "bad", "content": ""})
    second.signalled({"event_id": "bad", "content": "now good"})
    async with rig(tmp_path) as run:
        assert [message["event_id"] for message in await _recovered(run.journal, first, second)] == ["e1", "bad"]
        assert await _dispositions(run) == {}


async def test_an_interrupt_whose_record_was_cut_off_leaves_no_call_open(tmp_path: Path) -> None:
    @tool
    async def pay() -> str:
        """Pay."""
        return "paid"

    async with rig(tmp_path, [[ToolCall("pay")], "ok"], tools=[pay]) as run:
        await run.ask("e1")
        body = {"reason": "stopped", "turn": "e1", "n": 1}
        end = Decision(type="turn.interrupted", turn="e1", key="e1/end", disposition="cancelled", body=body, at=2.0)
        old = _Run()
        old.signalled({"event_id": "e1", "content": "hi"})
        old.recording(RecordInput(decisions=[end], settle=["e1"]))
        assert await _recovered(run.journal, old) == []
        [result] = await run.bodies("agent.tool_result")
        assert result["status"] == "interrupted"
        assert (await run.ask("e2")).stop == "end_turn"


def _redrive(event_id: str, control_id: str = "r", **fields: Any) -> dict[str, Any]:
    return {"control_id": control_id, "op": "redrive", "event_id": event_id, **fields}


async def test_a_redrive_that_had_not_run_is_asked_again_under_its_own_id(tmp_path: Path) -> None:
    old = _Run()
    old.signalled(_redrive("p1", force=True), names.CONTROL)
    old.signalled(_redrive("unknown", "s"), names.CONTROL)
    old.signalled(_redrive("later", "t"), names.CONTROL)
    async with rig(tmp_path) as run:
        await _parked(run, "p1", "p2")
        await _parked(run, "later", at=BEGAN.timestamp() + 60)  # it had run, and failed again
        assert await _recovered(run.journal, old) == [_redrive("p1", force=True)]


@pytest.mark.parametrize(("first", "then", "sent"), [("discard", "redrive", 0), ("redrive", "discard", 1)])
async def test_of_what_was_asked_of_a_parked_event_the_first_counts(
    tmp_path: Path, first: str, then: str, sent: int
) -> None:
    """It is not parked any more when the other comes."""
    old = _Run()
    for control_id, op in (("a", first), ("b", then)):
        old.signalled({"control_id": control_id, "op": op, "event_id": "p1"}, names.CONTROL)
    async with rig(tmp_path) as run:
        await _parked(run, "p1")
        assert len(await _recovered(run.journal, old)) == sent
        assert await _dispositions(run) == {"p1": "parked" if sent else "discarded"}


@pytest.mark.parametrize("where", ["queued", "running"])
async def test_a_redriven_event_that_a_run_began_with_is_driven_again(tmp_path: Path, where: str) -> None:
    state = _state()
    queued = Queued(turn="p1~1", n=1, at=1.0)
    if where == "queued":
        state.inbox.queue.append(queued)
    else:
        state.turn = TurnState.of(queued, 1.0)
    async with rig(tmp_path) as run:
        await _parked(run, "p1", at=BEGAN.timestamp() - 60)
        [control] = await _recovered(run.journal, _Run(state))
        assert (control["op"], control["event_id"], control["force"]) == ("redrive", "p1", True)


async def test_a_corrected_event_is_sent_though_what_came_first_is_parked_in_the_journal(tmp_path: Path) -> None:
    old = _Run()
    old.signalled({"event_id": "bad", "content": ""})
    old.signalled({"event_id": "bad", "content": "now good"})
    old.signalled({"event_id": "p1", "content": "once more"})
    async with rig(tmp_path) as run:
        state = _state()
        state.inbox.park_invalid("bad", "content is empty", BEGAN.timestamp() + 60)
        await run.record(*state.inbox.books.drain_decisions(1.0))
        await _parked(run, "p1")
        assert [message["event_id"] for message in await _recovered(run.journal, old)] == ["bad"]


async def test_a_session_that_began_anew_is_told_of_what_is_parked(tmp_path: Path) -> None:
    async with rig(tmp_path) as run:
        await _parked(run, "p1")
        await run.record(*_sealed_decisions())
        server: Any = _Server(_Run())
        environment = ActivityEnvironment(client=server)
        step = SESSION.turn("new").step(0)
        environment.info = dataclasses.replace(environment.info, activity_id=str(step), attempt=1)
        assert not await environment.run(recovered, run.journal, step, "chain"), "nothing was open"
    state = _state()
    for letter in server.letters:
        assert sizes.written(letter) <= sizes.CONTROL
        assert park(state.inbox, letter["event_id"], ParkedEvent.model_validate(letter["parked"]))
    assert [(parked.turn, parked.valid) for parked in state.inbox.parked.events] == [("p1", True), ("invalid:x", False)]
    assert state.inbox.balance(running=0) == {"accepted": 2, "parked": 2}
    assert not isinstance(state.inbox.redrive("p1", 3.0), Refusal)
    assert [queued.turn for queued in state.inbox.queue.events] == ["p1~1"]


def _sealed_decisions() -> list[Decision]:
    state = _state()
    state.inbox.park_invalid("invalid:x", "no event" * 200, 2.0, "\x07" * 500)
    return state.inbox.books.drain_decisions(2.0)


async def test_a_turn_that_was_to_stop_is_not_run_again(tmp_path: Path) -> None:
    old, named = _Run(), _Run()
    for run_of in (old, named):
        run_of.signalled({"event_id": "e1", "content": "hi"})
        run_of.signalled({"event_id": "e2", "content": "hi"})
        run_of.asks_model("e1")
        other = {"event_id": "e2"} if run_of is named else {}
        run_of.signalled({"control_id": "c", "op": "interrupt", **other}, names.CONTROL)
    async with rig(tmp_path) as run:
        sent = await _recovered(run.journal, old)
        assert [(m["event_id"], m.get("op")) for m in sent] == [("e1", None), ("e2", None), ("e1", "cancel")]
        assert [m.get("op") for m in await _recovered(run.journal, named)] == [None, None], "another was meant"


@pytest.mark.parametrize("refused", [False, True])
async def test_an_answer_to_an_approval_that_the_session_took_is_given_again(tmp_path: Path, refused: bool) -> None:
    old = _Run()
    approve = {"control_id": "a", "op": "approve", "approval_id": "call:hash", "by": "ann", "at": 5.0}
    old.signalled({"event_id": "e1", "content": "hi"})
    old.updated(approve, refused=refused)
    old.signalled(approve | {"control_id": "b"}, names.CONTROL)  # nobody knows whether it came in time
    async with rig(tmp_path) as run:
        assert (await _recovered(run.journal, old))[1:] == ([] if refused else [approve])

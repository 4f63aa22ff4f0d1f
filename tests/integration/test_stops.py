"""How a stop gets to what runs: at once, though steps beat every two seconds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from inturn import Session
from inturn.keys import StepKey
from inturn.names import CALL_MODEL
from inturn_worker import app
from inturn_worker.server import connect
from inturn_worker.settings import Settings
from inturn_workflows.stops import heard_by
from tests.support.agents.agents import agents
from tests.support.claude import ClaudeRig
from tests.support.histories import replayed
from tests.support.rig import Rig

SAME_PROCESS = 0.3
ANOTHER_PROCESS = 0.5
"""Seconds from an interrupt to the end of the model's stream."""


async def _interrupted(claude: ClaudeRig, session: Session, number: int) -> float:
    """Interrupt a turn whose model streams; return the seconds until its stream was closed."""
    event_id, tag = f"e{number}", f"{session.session_id}-{number}-"
    await session.send(f"[[delay 30]] {tag} and more words that stream slowly", event_id=event_id)
    await claude.until_streaming(tag)
    began = time.monotonic()
    assert await session.interrupt(event_id=event_id)
    await claude.until_closed(tag, within=10)
    [request] = [e for e in claude.requests if tag in e.text]
    assert request.ended is not None
    assert (await session.wait(event_id, timeout=20)).disposition == "cancelled"
    return request.ended - began


@pytest.mark.promise("EFF-8")
async def test_an_interrupt_closes_the_models_stream_at_once(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hello")
        took = [await _interrupted(claude, session, number) for number in range(6)]
        assert sorted(took)[-2] <= SAME_PROCESS, took  # one of them may meet a machine that is busy
        heard: list[StepKey] = []
        with heard_by(heard.append):
            await replayed(rig.temporal, f"{rig.tenant}/s")
        assert not heard, "what was stopped long ago is told to nobody in a replay"


@pytest.mark.promise("EFF-8")
async def test_a_stop_reaches_a_step_that_runs_in_another_process(rig: Rig) -> None:
    async with rig.claude() as claude, rig.client() as client, rig.opened_journal() as journal:
        env = {"ANTHROPIC_API_KEY": "test", "ANTHROPIC_BASE_URL": claude.url}
        await asyncio.to_thread(rig.process(INTURN_STEP_SLOTS="1", **env).start)
        session, blocker = client.session("s", agent="support"), client.session("blocker", agent="support")
        await session.ask("hello")  # the first process keeps the session, and its only slot for steps goes to another
        await blocker.send("[[delay 60]] a blocker of many words", event_id="blocker")
        await claude.until_streaming("a blocker")
        await asyncio.to_thread(rig.process(**env).start)
        took = [await _interrupted(claude, session, number) for number in range(6)]
        noticed = (await journal.look({}, 0.0)).stopped
        assert {step for step, _ in noticed} == {rig.key("s").turn(f"e{number}").step(0) for number in range(6)}
        assert sorted(took)[-2] <= ANOTHER_PROCESS, took
        await blocker.interrupt()


@pytest.mark.promise("EFF-8")
async def test_a_long_answer_costs_few_requests(rig: Rig) -> None:
    buffer = MetricBuffer(100_000)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer))
    settings = Settings(address=rig.address, task_queue=rig.task_queue, grace=1)
    temporal = await connect(settings, runtime)
    async with rig.claude() as claude, rig.client() as client, rig.opened_journal() as journal:
        session, model = client.session("s", agent="support"), claude.model
        async with app.build_worker(temporal, agents, journal=journal, model=model, settings=settings):
            await session.ask("hello")
            buffer.retrieve_updates()
            await session.ask("[[delay 10]] an answer of many words that takes ten seconds", timeout=30)
            made = Counter(
                str(update.attributes["operation"])
                for update in buffer.retrieve_updates()
                if update.metric.name in ("temporal_request", "temporal_long_request")
            )
        await model.aclose()
    assert 3 <= made["RecordActivityTaskHeartbeat"] <= 5, made
    assert made.total() <= 16, made


@pytest.mark.promise("EFF-8")
async def test_a_worker_whose_steps_beat_rarely_is_given_the_time_for_it_and_stops_as_soon(rig: Rig) -> None:
    async with rig.claude() as claude, rig.client() as client:
        async with rig.worker(model=claude.model, bounds=None, beat=20):
            session = client.session("s", agent="support")
            await session.ask("hello")
            assert await _interrupted(claude, session, 1) <= ANOTHER_PROCESS
            history = await rig.temporal.get_workflow_handle(f"{rig.tenant}/s").fetch_history()
            scheduled = [event.activity_task_scheduled_event_attributes for event in history.events]
            assert {s.heartbeat_timeout.seconds for s in scheduled if s.activity_type.name == CALL_MODEL} == {50}
            await replayed(rig.temporal, f"{rig.tenant}/s")  # by a worker of the usual setting

"""Traces and metrics of real workers, as a collector receives them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from inturn.testing import ScriptedModel
from inturn_worker import app
from inturn_worker.server import connect
from inturn_worker.settings import Settings
from tests.support.agents import agents as test_agents
from tests.support.collector import Collector
from tests.support.histories import settled
from tests.support.rig import Rig
from tests.support.waiting import until

METRICS = {
    "gen_ai.client.token.usage",
    "gen_ai.client.operation.duration",
    "inturn.steps",
    "inturn.queue.depth",
    "inturn.queue.wait",
    "inturn.turn.duration",
}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on loopback."""
    made = Collector()
    yield made
    made.close()


async def test_one_trace_links_the_producer_the_turn_and_the_steps_of_two_workers(
    rig: Rig, collector: Collector
) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "600000",
    }
    producer = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    first = rig.process(**env).start()
    async with rig.client() as client:
        session = client.session("s1", agent="support")
        with trace.use_span(NonRecordingSpan(producer)):
            await session.send('[[tool mail {"to": "a", "delay": 1}]]', event_id="e1")
        await until(lambda: _true(rig.attempts("mail")))
        assert await asyncio.to_thread(first.stop) == 0
        second = rig.process(**env).start()
        await session.wait("e1", timeout=30)  # the journal has it, the workflow learns of that next
        await settled(rig.temporal.get_workflow_handle(str(rig.key("s1"))))
        assert await asyncio.to_thread(second.stop) == 0
    assert collector.metrics >= METRICS, "what was not exported yet is exported at the end"
    (turn,) = collector.named("invoke_agent support")
    assert turn.parent_span_id == (0xDEF).to_bytes(8, "big")
    steps = [*collector.named("chat claude-sonnet-5-5"), *collector.named("execute_tool mail")]
    assert len(steps) == 3
    assert {span.trace_id for span in collector.spans} == {(0xABC).to_bytes(16, "big")}
    assert {span.parent_span_id for span in steps} == {turn.span_id}
    assert turn.start_time_unix_nano <= min(span.start_time_unix_nano for span in steps)
    assert turn.end_time_unix_nano >= max(span.end_time_unix_nano for span in steps)


async def test_an_interrupted_and_a_parked_turn_have_their_spans_too(rig: Rig, collector: Collector) -> None:
    env = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.address}/v1/traces", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    async with rig.client() as client:
        await client.session("s2", agent="support").send("hi", event_id="first")
        await client.session("s2", agent="other").send("hello", event_id="parked")  # before anybody knows whose it is
        worker = rig.process(**env).start()
        session = client.session("s1", agent="support")
        await session.send('[[tool mail {"to": "a", "delay": 60}]]', event_id="stopped")
        await until(lambda: _true(rig.attempts("mail")))
        assert await session.interrupt(reason="enough")
        await until(lambda: _true(len(collector.named("invoke_agent support")) == 3))
    assert await asyncio.to_thread(worker.stop) == 0
    ends = [span for span in collector.spans if span.name.startswith("invoke_agent")]
    found = [{a.key: a.value.string_value for a in span.attributes} for span in ends]
    by_turn = {attributes["inturn.turn"]: attributes for attributes in found}
    assert by_turn["stopped"]["inturn.stop_reason"] == "interrupted"
    assert by_turn["parked"]["error.type"] == "parked"
    assert not collector.metrics, "nobody asked for metrics"


async def test_sessions_are_metered_once_and_not_again_in_a_replay(rig: Rig) -> None:
    buffer = MetricBuffer(100_000)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer))
    # No cache: every workflow task replays the whole run.
    settings = Settings(address=rig.address, task_queue=rig.task_queue, grace=1, cached_sessions=0)
    temporal = await connect(settings, runtime)
    async with rig.opened_journal() as journal, rig.client() as client:
        built = app.build_worker(
            temporal, test_agents.agents, journal=journal, model=ScriptedModel(), settings=settings
        )
        async with built:
            limits = {"agent": "support", "limits": {"signals": 4}}
            handle = await temporal.start_workflow("Session", limits, id=str(rig.key("s")), task_queue=rig.task_queue)
            session = client.session("s")
            await handle.signal("submit", "no object")
            for n in range(12):
                await session.send(f"message {n}", event_id=f"e{n}")
            await session.wait("e11", timeout=60)
            await settled(handle)
            runs = (await session.status()).runs
    counted: dict[str, float] = {}
    for update in buffer.retrieve_updates():
        name = update.metric.name
        counted[name] = counted.get(name, 0) + (update.value if name in _COUNTERS else 1)
    assert counted["inturn.queue.depth"] == 12
    assert counted["inturn.queue.wait"] == 12
    assert counted["inturn.turn.duration"] == 12
    assert counted["inturn.parked"] == 1
    # A task that continues as new and is refused (more signals came) says so again.
    assert runs - 1 <= counted["inturn.continued_as_new"] <= runs + 5


_COUNTERS = ("inturn.parked", "inturn.continued_as_new")


async def _true(value: object) -> bool:
    return bool(value)

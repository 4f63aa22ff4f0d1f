"""One trace per turn, whoever runs its steps; and nothing at all where nobody traces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio, Sampler
from opentelemetry.trace import StatusCode

from inturn.client.traceparent import producer_trace
from inturn.keys import SessionKey
from inturn.models import ModelMessage, ModelRequest
from inturn.values import Usage
from inturn_activities.telemetry import meters
from inturn_activities.telemetry import spans as telemetry
from inturn_activities.telemetry.meters import count_retry
from inturn_activities.telemetry.spans import model_span, tool_span, turn_span
from inturn_worker.telemetry import TurnIds

TURN = SessionKey("acme", "s1").turn("e1")
REQUEST = ModelRequest(model="claude-x", system="secret", messages=[{"role": "user", "content": "secret"}])
MESSAGE = ModelMessage(
    content=[{"type": "text", "text": "secret"}],
    stop_reason="end_turn",
    usage=Usage(input_tokens=10, output_tokens=5, cache_read_tokens=100, cache_write_tokens=1),
    model="claude-x-1",
    request_id="req_1",
)


class Worker:
    """A process's tracing: spans go to a list."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(id_generator=TurnIds(), sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """What was exported."""
        return self.exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        """The one span of this name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make this process be one worker or another; each has its own tracing."""

    def switch(worker: Worker | None) -> None:
        provider = worker.provider if worker else trace.ProxyTracerProvider()
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", worker.provider if worker else None)
        monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("inturn"))

    return switch


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """What the instruments record from here on."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    meter = provider.get_meter("inturn")
    monkeypatch.setattr(meters, "steps", meter.create_counter(meters.STEPS))
    monkeypatch.setattr(meters, "retries", meter.create_counter(meters.RETRIES))
    monkeypatch.setattr(meters, "tokens", meter.create_histogram(meters.TOKENS))
    monkeypatch.setattr(meters, "duration", meter.create_histogram(meters.MODEL_DURATION))
    yield reader
    provider.shutdown()


def _points(reader: InMemoryMetricReader, name: str) -> dict[tuple[Any, ...], Any]:
    data = reader.get_metrics_data()
    points: dict[tuple[Any, ...], Any] = {}
    for resource in data.resource_metrics if data else ():
        for metric in (m for scope in resource.scope_metrics for m in scope.metrics if m.name == name):
            for point in metric.data.data_points:
                value = point.value if isinstance(point, NumberDataPoint) else point.sum
                points[tuple(sorted((point.attributes or {}).items()))] = value
    return points


def _model(carried: str | None, step: int = 0) -> None:
    with model_span(TURN.step(step), carried, REQUEST, agent="support", attempt=2) as span:
        span.answered(MESSAGE)


def _tool(carried: str | None) -> None:
    with tool_span(TURN.step(0, 1), carried, "refund", call_id="toolu_1"):
        pass


def _end(carried: str | None, **more: Any) -> None:
    turn_span(
        TURN, carried, agent="support", started=1000.0, ended=1003.5, stop="end_turn", usage=Usage(steps=2), **more
    )


def test_steps_of_two_workers_hang_below_a_turn_that_a_third_one_ends(become: Any) -> None:
    app, first, second, third = Worker(), Worker(), Worker(), Worker()
    become(app)
    with trace.get_tracer("app").start_as_current_span("webhook"):
        carried = producer_trace()
    become(first)
    _model(carried)
    become(second)
    _tool(carried)
    become(third)
    _end(carried)

    producer = app.span("webhook").context
    turn = third.span("invoke_agent support")
    assert producer is not None
    assert turn.context is not None
    assert turn.parent is not None
    assert turn.parent.span_id == producer.span_id
    for step in (first.span("chat claude-x"), second.span("execute_tool refund")):
        assert step.context is not None
        assert step.parent is not None
        assert step.context.trace_id == turn.context.trace_id == producer.trace_id
        assert step.parent.span_id == turn.context.span_id


def test_without_a_producer_a_turn_is_a_trace_of_its_own_on_every_worker_the_same(become: Any) -> None:
    first, second = Worker(), Worker()
    become(first)
    _model(None)
    become(second)
    _end(None)
    step, turn = first.span("chat claude-x"), second.span("invoke_agent support")
    assert turn.parent is None
    assert step.context is not None
    assert turn.context is not None
    assert step.parent is not None
    assert (step.context.trace_id, step.parent.span_id) == (turn.context.trace_id, turn.context.span_id)


def test_a_turn_driven_again_is_another_span_of_the_producers_trace(become: Any) -> None:
    worker = Worker()
    become(worker)
    carried = f"00-{7:032x}-{9:016x}-01"
    _end(carried)
    turn_span(SessionKey("acme", "s1").turn("e1", 1), carried, agent="support", started=2000.0)
    first, again = (span.context for span in worker.spans)
    assert first is not None
    assert again is not None
    assert first.trace_id == again.trace_id == 7
    assert first.span_id != again.span_id


def test_a_turn_lasts_from_its_start_to_its_end_and_names_its_failure(become: Any) -> None:
    worker = Worker()
    become(worker)
    _end(None, error="parked")
    span = worker.span("invoke_agent support")
    assert (span.start_time, span.end_time) == (1000 * 10**9, 1003 * 10**9 + 5 * 10**8)
    assert span.status.status_code is StatusCode.ERROR
    attributes = dict(span.attributes or {})
    assert attributes["error.type"] == "parked"
    assert attributes["inturn.stop_reason"] == "end_turn"
    assert attributes["inturn.steps"] == 2


def test_a_model_call_has_the_genai_attributes_and_no_content(become: Any) -> None:
    worker = Worker()
    become(worker)
    _model(None)
    span = worker.span("chat claude-x")
    attributes = dict(span.attributes or {})
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.agent.name": "support",
        "gen_ai.conversation.id": "s1",
        "gen_ai.request.model": "claude-x",
        "gen_ai.request.max_tokens": 32_000,
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "claude-x-1",
        "gen_ai.response.id": "req_1",
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 111,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.cache_creation.input_tokens": 1,
        "inturn.tenant": "acme",
        "inturn.session": "s1",
        "inturn.turn": "e1",
        "inturn.step": "0",
        "inturn.attempt": 2,
    }
    assert "secret" not in span.to_json()


def test_a_failure_is_named_by_its_kind_and_never_quoted(become: Any) -> None:
    worker = Worker()
    become(worker)
    with pytest.raises(ValueError, match="secret"), tool_span(TURN.step(0, 0), None, "refund"):
        raise ValueError("secret")
    span = worker.span("execute_tool refund")
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert span.status.status_code is StatusCode.ERROR
    assert "secret" not in span.to_json()


async def test_an_interrupt_is_no_error(become: Any, reader: InMemoryMetricReader) -> None:
    worker = Worker()
    become(worker)

    async def call() -> None:
        with model_span(TURN.step(0), None, REQUEST, agent="support"):
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert worker.span("chat claude-x").status.status_code is StatusCode.UNSET
    assert _points(reader, meters.STEPS) == {(("kind", "model"), ("status", "cancelled")): 1}


def test_what_a_tool_traces_itself_hangs_below_its_call(become: Any) -> None:
    worker = Worker()
    become(worker)
    with tool_span(TURN.step(0, 0), None, "refund"), trace.get_tracer("bank").start_as_current_span("POST /refunds"):
        pass
    inner, outer = worker.span("POST /refunds"), worker.span("execute_tool refund")
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id


@pytest.mark.parametrize("carried", [None, f"00-{2**127 + 5:032x}-{9:016x}-00"])
def test_a_trace_that_is_not_sampled_is_kept_nowhere(become: Any, carried: str | None) -> None:
    first, second = Worker(ParentBasedTraceIdRatio(0.0)), Worker(ParentBasedTraceIdRatio(0.0))
    become(first)
    _model(carried)
    become(second)
    _end(carried)
    assert not first.spans
    assert not second.spans


@pytest.mark.parametrize("carried", ["", "nonsense", f"00-{0:032x}-{9:016x}-01", "00-xyz-1-01"])
def test_a_broken_traceparent_is_as_good_as_none(become: Any, carried: str) -> None:
    worker = Worker()
    become(worker)
    _model(carried)
    _end(carried)
    assert worker.span("invoke_agent support").parent is None


def test_without_an_sdk_nothing_is_traced_and_nothing_is_carried(become: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    become(None)

    def never(*_: Any) -> int:
        raise AssertionError("computed for nobody")

    monkeypatch.setattr(telemetry, "_derived", never)
    assert producer_trace() is None
    _model(None)
    _tool(None)
    _end(None)


def test_steps_tokens_and_retries_are_counted(become: Any, reader: InMemoryMetricReader) -> None:
    become(None)
    _model(None)
    _tool(None)
    _tool(None)
    with tool_span(TURN.step(0, 2), None, "refund") as span:
        span.ended("unknown")
    count_retry("model", "outage")
    assert _points(reader, meters.STEPS) == {
        (("kind", "model"), ("status", "ok")): 1,
        (("kind", "tool"), ("status", "ok")): 2,
        (("kind", "tool"), ("status", "unknown")): 1,
    }
    assert _points(reader, meters.RETRIES) == {(("class", "outage"), ("kind", "model")): 1}
    tokens = {dict(key)["gen_ai.token.type"]: value for key, value in _points(reader, meters.TOKENS).items()}
    assert tokens == {"input": 111, "output": 5}
    (duration,) = _points(reader, meters.MODEL_DURATION).values()
    assert 0 < duration < 5


def test_metrics_go_nowhere_by_default() -> None:
    assert not isinstance(metrics.get_meter_provider(), MeterProvider)

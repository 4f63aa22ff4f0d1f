"""Traces and metrics: one trace per turn, from whoever sent the event to every step.

The producer's `traceparent` travels with the event (`Event.trace`) and with each step's input. A turn's span is
`invoke_agent {agent}`, a child of the producer's; its ids follow from the turn's key, so steps on several workers hang
below it before it is written, once, by the step that ends the turn. Steps are `chat {model}` and `execute_tool {tool}`
with the GenAI attributes of OpenTelemetry's semantic conventions. No content is written: no prompt, answer, argument or
result.

Invariant: only OpenTelemetry's API is used here, and never in workflow code. Where no SDK is set up, nothing is
computed.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from inturn.keys import StepKey, TurnKey
from inturn.models import ModelMessage, ModelRequest
from inturn.values import Usage
from inturn_activities.telemetry import meters

_tracer: Final = trace.get_tracer("inturn")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_span_id: ContextVar[int] = ContextVar("inturn_chosen_span_id", default=0)
_trace_id: ContextVar[int] = ContextVar("inturn_chosen_trace_id", default=0)


def chosen_span_id() -> int:
    """Return the id that the span which starts here must have; 0: any. For an SDK's id generator."""
    return _span_id.get()


def chosen_trace_id() -> int:
    """Return the id that the trace which starts here must have; 0: any. For an SDK's id generator."""
    return _trace_id.get()


class StepSpan:
    """A step's span while its body runs."""

    def __init__(self, span: Span, attributes: Mapping[str, Any]) -> None:
        """Wrap the span with the attributes that its metrics share."""
        self._span = span
        self._attributes = attributes
        self.status = "ok"

    def answered(self, message: ModelMessage) -> None:
        """Note a model's complete answer."""
        usage = message.usage
        # The conventions count cached tokens as input; the API counts them apart.
        given = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        shared = {**self._attributes, "gen_ai.response.model": message.model}
        meters.tokens.record(given, {**shared, "gen_ai.token.type": "input"})
        meters.tokens.record(usage.output_tokens, {**shared, "gen_ai.token.type": "output"})
        self._span.set_attributes(
            {
                "gen_ai.response.model": message.model,
                "gen_ai.response.finish_reasons": [message.stop_reason or "unknown"],
                "gen_ai.usage.input_tokens": given,
                "gen_ai.usage.output_tokens": usage.output_tokens,
                "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
                "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            }
        )
        if usage.usd_nanos:
            self._span.set_attribute("inturn.usd", usage.usd)
        if message.request_id:
            self._span.set_attribute("gen_ai.response.id", message.request_id)

    def ended(self, status: str) -> None:
        """Note how a call ended that raised nothing: `ok error unknown denied timeout interrupted`."""
        self.status = status
        if status not in ("ok", "denied"):
            self.failed(status)

    def failed(self, kind: str) -> None:
        """Note a failure by its kind alone: a message may quote what a user wrote."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))


@contextmanager
def model_span(
    step: StepKey,
    carried: str | None,
    request: ModelRequest,
    *,
    agent: str,
    attempt: int = 1,
    provider: str = "anthropic",
) -> Generator[StepSpan, None, None]:
    """Trace one model call; use it around the call itself, not around an answer from the ledger.

    Args:
        step: The step's key.
        carried: The producer's `traceparent`, as the step's input has it.
        request: What is sent.
        agent: The agent's name.
        attempt: Which attempt this is, from 1.
        provider: Who answers.
    """
    shared = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": request.model,
    }
    own = {"gen_ai.request.max_tokens": request.max_tokens, "gen_ai.request.stream": True, "gen_ai.agent.name": agent}
    name = f"chat {request.model}"
    began = time.perf_counter()
    with _step_span("model", name, SpanKind.CLIENT, step, carried, shared, {**own, "inturn.attempt": attempt}) as span:
        try:
            yield span
        finally:
            outcome = {} if span.status == "ok" else {"error.type": span.status}
            meters.duration.record(time.perf_counter() - began, {**shared, **outcome})


@contextmanager
def tool_span(
    step: StepKey, carried: str | None, tool: str, *, call_id: str = "", attempt: int = 1, kind: str = "tool"
) -> Generator[StepSpan, None, None]:
    """Trace the body of a tool call, or of a delivery (`kind="deliver"`); `ended(status)` where nothing is raised."""
    shared = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}
    own: dict[str, Any] = {"gen_ai.tool.type": "function", "inturn.attempt": attempt}
    if call_id:
        own["gen_ai.tool.call.id"] = call_id
    with _step_span(kind, f"execute_tool {tool}", SpanKind.INTERNAL, step, carried, shared, own) as span:
        yield span


def turn_span(
    turn: TurnKey,
    carried: str | None,
    *,
    agent: str,
    started: float,
    ended: float | None = None,
    stop: str | None = None,
    usage: Usage | None = None,
    error: str | None = None,
) -> None:
    """Write a turn's span; called once, by the step that ends the turn.

    Args:
        turn: The turn's key.
        carried: The producer's `traceparent`.
        agent: The agent's name.
        started: When the turn started, seconds since 1970.
        ended: When it ended; now, where not given.
        stop: Its stop reason.
        usage: What it used in all.
        error: The type of the failure that ended it; none, where it ended well.
    """
    if not tracing():
        return
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": agent,
        "gen_ai.conversation.id": turn.session.session_id,
        **_ids(turn),
    }
    if stop:
        attributes["inturn.stop_reason"] = stop
    if usage is not None:
        given = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        attributes |= {"gen_ai.usage.input_tokens": given, "gen_ai.usage.output_tokens": usage.output_tokens}
        attributes["inturn.steps"] = usage.steps
        attributes |= {"inturn.usd": usage.usd} if usage.usd_nanos else {}
    producer = _parse(carried)
    parent = trace.set_span_in_context(NonRecordingSpan(producer) if producer else trace.INVALID_SPAN, Context())
    span_id, trace_id = _span_id.set(_derived(turn, 8)), _trace_id.set(_derived(turn, 16))
    try:
        span = _tracer.start_span(
            f"invoke_agent {agent}", parent, SpanKind.INTERNAL, attributes, start_time=_nanoseconds(started)
        )
    finally:
        _span_id.reset(span_id)
        _trace_id.reset(trace_id)
    if error:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end(_nanoseconds(time.time() if ended is None else max(ended, started)))


def tracing() -> bool:
    """Return whether anybody set up tracing in this process."""
    return not isinstance(trace.get_tracer_provider(), (trace.ProxyTracerProvider, trace.NoOpTracerProvider))


@contextmanager
def _step_span(
    kind: str,
    name: str,
    span_kind: SpanKind,
    step: StepKey,
    carried: str | None,
    shared: Mapping[str, Any],
    own: Mapping[str, Any],
) -> Generator[StepSpan, None, None]:
    if tracing():
        attributes = {**shared, **own, "gen_ai.conversation.id": step.session.session_id, **_ids(step.turn)}
        attributes["inturn.step"] = step.within_turn
        span = _tracer.start_span(name, _turn_context(step.turn, carried), span_kind, attributes)
    else:
        span = trace.INVALID_SPAN
    made = StepSpan(span, shared)
    try:
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield made
    except asyncio.CancelledError:
        made.status = "cancelled"
        raise
    except BaseException as error:
        made.status = type(error).__name__
        made.failed(made.status)
        raise
    finally:
        span.end()
        meters.steps.add(1, {"kind": kind, "status": made.status})


def _turn_context(turn: TurnKey, carried: str | None) -> Context:
    """Return the context below a turn's span, which may not be written yet."""
    producer = _parse(carried)
    trace_id = producer.trace_id if producer else _derived(turn, 16)
    flags = producer.trace_flags if producer else _root_flags(trace_id)
    above = SpanContext(trace_id, _derived(turn, 8), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(above), Context())


def _root_flags(trace_id: int) -> TraceFlags:
    # Nobody above decided whether this trace is kept. The SDK's sampler decides for the turn's span; asked with the
    # same trace id it says the same for its steps, on every worker.
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    if sampler is None or sampler.should_sample(None, trace_id, "").decision.is_sampled():
        return TraceFlags(TraceFlags.SAMPLED)
    return TraceFlags(TraceFlags.DEFAULT)


def _parse(carried: str | None) -> SpanContext | None:
    match = _TRACEPARENT.match(carried or "")
    if match is None:
        return None
    above = SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16)))
    return above if above.is_valid else None


def _derived(turn: TurnKey, size: int) -> int:
    digest = hashlib.blake2b(str(turn).encode(), digest_size=size, person=b"inturn").digest()
    return int.from_bytes(digest, "big") or 1


def _ids(turn: TurnKey) -> dict[str, str]:
    return {"inturn.tenant": turn.session.tenant, "inturn.session": turn.session.session_id, "inturn.turn": turn.turn}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)

"""The producer's trace: what an event carries, so that its turn hangs below whoever sent it."""

from __future__ import annotations

from opentelemetry import trace


def producer_trace() -> str | None:
    """Return the `traceparent` of the span that runs here, for an event to carry; `None` outside of any."""
    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return None
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"

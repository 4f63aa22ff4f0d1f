"""OpenTelemetry's SDK, set up from its own standard variables.

Invariant: without an `OTEL_EXPORTER_OTLP_…ENDPOINT` nothing is set up, and spans and metrics cost nothing.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.util.re import parse_env_headers
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    OpenTelemetryConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from inturn.errors import Misconfigured
from inturn_activities.telemetry.spans import chosen_span_id, chosen_trace_id
from inturn_workflows.display.metrics import QUEUE_WAIT, TURN_DURATION

_SERVICE: Final = "inturn-worker"
_INTERVAL: Final = 60_000
"""Milliseconds between two exports, OpenTelemetry's default."""
_SECONDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)


class TurnIds(IdGenerator):
    """Ids of another generator, but for the spans whose ids several workers have to agree on: those of turns."""

    def __init__(self, other: IdGenerator | None = None) -> None:
        self._other: IdGenerator = other or RandomIdGenerator()

    def generate_span_id(self) -> int:
        return chosen_span_id() or self._other.generate_span_id()

    def generate_trace_id(self) -> int:
        return chosen_trace_id() or self._other.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return self._other.is_trace_id_random()  # the chosen ones are digests: as good as random


def configure_telemetry() -> Callable[[], None]:
    """Set up what the environment asks for; returns what to call before the process ends.

    What the user's modules set up themselves stays, and only learns the ids of turns.

    Raises:
        Misconfigured: It asks for a protocol that this worker does not speak.
    """
    ends: list[Callable[[], None]] = []
    theirs = trace.get_tracer_provider()
    if isinstance(theirs, TracerProvider):
        theirs.id_generator = TurnIds(theirs.id_generator)  # type: ignore[assignment]  # declared too narrowly
    named = "OTEL_SERVICE_NAME" in os.environ or SERVICE_NAME in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {SERVICE_NAME: _SERVICE})
    if _endpoint("traces") and not isinstance(theirs, TracerProvider):
        # Imported here: without telemetry the exporters' import costs nothing.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        tracing = TracerProvider(resource=resource, id_generator=TurnIds())
        tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(tracing)
        ends.append(tracing.shutdown)
    if _endpoint("metrics") and not isinstance(metrics.get_meter_provider(), MeterProvider):
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        metering = MeterProvider(resource=resource, metric_readers=[reader])
        metrics.set_meter_provider(metering)
        ends.append(metering.shutdown)

    def end() -> None:
        if not ends:
            return
        with ThreadPoolExecutor(len(ends)) as threads:  # at once: each waits 7 s for a collector that is down
            for each in ends:
                threads.submit(each)
        gc.unfreeze()  # the worker froze what it had loaded
        gc.collect()  # Core exports what is left when its runtime goes, which the client's cycles keep alive

    return end


def core_runtime() -> Runtime:
    """Return the runtime by which Temporal's Core logs as we do, and exports metrics, workflow code's among them."""
    url = _endpoint("metrics")
    exported = None
    if url:
        exported = OpenTelemetryConfig(
            url=url,
            headers=_headers(),
            http=True,
            metric_periodicity=timedelta(milliseconds=float(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", _INTERVAL))),
            durations_as_seconds=True,
            histogram_bucket_overrides={QUEUE_WAIT: _SECONDS, TURN_DURATION: _SECONDS},
        )
    forwarding = LogForwardingConfig(
        logger=logging.getLogger("temporalio.core"), append_target_to_name=False, prepend_target_on_message=False
    )
    logs = LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forwarding)
    return Runtime(telemetry=TelemetryConfig(logging=logs, metrics=exported))


def _endpoint(signal: str) -> str | None:
    """Return the URL that a signal (`traces`, `metrics`) goes to; `None`: nowhere."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if "otlp" not in os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp").split(","):
        return None
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    common = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    url = own or (f"{common.rstrip('/')}/v1/{signal}" if common else None)
    protocol = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    if url and protocol != "http/protobuf":
        raise Misconfigured(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, this worker speaks http/protobuf only. Unset it, and "
            f"name the collector's HTTP port (usually 4318) in OTEL_EXPORTER_OTLP_ENDPOINT"
        )
    return url


def _headers() -> dict[str, str]:
    raw = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_HEADERS") or os.environ.get("OTEL_EXPORTER_OTLP_HEADERS") or ""
    return dict(parse_env_headers(raw, liberal=True))

"""How soon the server takes a worker for dead whose steps beat at another interval than the usual one.

Invariant: the timeout travels with the step, so workers of different settings agree on it: one that runs a step beats
as often as that step's timeout asks for.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle

from inturn_activities.heartbeat import BEATS_PER_TIMEOUT


class BeatsEvery(Interceptor):
    """Has the sessions of a worker give their steps a timeout that fits an interval. No history differs by it."""

    def __init__(self, seconds: float) -> None:
        """Fit it to steps that beat every so many seconds."""
        self._timeout = timedelta(seconds=seconds * BEATS_PER_TIMEOUT)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Return what wraps each session."""
        timeout = self._timeout

        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
                input.heartbeat_timeout = timeout
                return super().start_activity(input)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

        return Inbound

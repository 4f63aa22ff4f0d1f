"""What the server tells of a session's pending steps, with what the worker's codec made of it undone.

Invariant: what cannot be read stays as it is; a status never fails for that.
"""

from __future__ import annotations

from contextlib import suppress

from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.converter import DataConverter, WorkflowSerializationContext


async def decrypt_pending(temporal: Client, seen: WorkflowExecutionDescription) -> None:
    """Decrypt, in place, what pending steps reported and why they failed last."""
    if temporal.data_converter.payload_codec is None:
        return
    context = WorkflowSerializationContext(namespace=temporal.namespace, workflow_id=seen.id)
    converter = temporal.data_converter.with_context(context)
    for pending in seen.raw_description.pending_activities:
        with suppress(Exception):  # of another client's making
            if converter.payload_codec is not None:
                await converter.payload_codec.decode_wrapper(pending.heartbeat_details)
            if pending.HasField("last_failure"):
                await _decrypt_failure(converter, pending.last_failure)


async def _decrypt_failure(converter: DataConverter, failure: Failure) -> None:
    error = await converter.decode_failure(failure)
    failure.message = str(getattr(error, "message", error))

"""The sandbox in which sessions run, and in which their histories replay.

Invariant: it is the SDK's, whatever runs in it. Two things are left out. What a session was started with beyond its one
argument: the SDK would fail the session's first task for it, again and again. And asking the sandbox, six times a
payload, whose the payload is, where nobody wants to know: each question enters and leaves the sandbox, in all a tenth
of the CPU of a plain turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import DataConverter, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import Info


@dataclass(frozen=True)
class Sandbox(SandboxedWorkflowRunner):
    """The SDK's sandbox.

    Attributes:
        contexts: Whether anybody looks at whose a payload is.
    """

    contexts: bool = True

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Return a run of a workflow."""
        made = super().create_instance(det)
        return _Run(made) if self.contexts else _Contextless(made)


def wants_contexts(converter: DataConverter) -> bool:
    """Return whether payloads go through what may look at whose they are: a codec, or a store of large ones."""
    return converter.payload_codec is not None or converter.external_storage is not None


class _Run(WorkflowInstance):
    """A run that begins with one argument at most."""

    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        for job in act.jobs:
            if job.HasField("initialize_workflow"):
                del job.initialize_workflow.arguments[1:]
        return self._instance.activate(act)

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()

    def get_serialization_context(self, command_info: Any) -> Any:
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> StorageDriverStoreContext:
        return self._instance.get_external_store_context(command_info)


class _Contextless(_Run):
    """One whose payloads pass as they are."""

    def get_serialization_context(self, command_info: Any) -> None:
        return None

    def get_external_store_context(self, command_info: Any) -> StorageDriverStoreContext:
        return StorageDriverStoreContext(target=None)

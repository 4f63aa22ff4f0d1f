"""The sandbox of sessions: it is asked whose a payload is where somebody looks at that, and only there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from inturn_worker.app import workflow_runner
from inturn_worker.sandbox import Sandbox


class Same(PayloadCodec):
    """Changes nothing."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


@pytest.mark.parametrize(
    ("converter", "asked"),
    [(pydantic_data_converter, False), (dataclasses.replace(pydantic_data_converter, payload_codec=Same()), True)],
)
def test_a_codec_hears_whose_a_payload_is(converter: DataConverter, asked: bool) -> None:
    assert workflow_runner(converter).contexts is asked


def test_the_sandbox_is_the_sdks_with_all_of_its_restrictions() -> None:
    ours = workflow_runner(pydantic_data_converter)
    assert isinstance(ours, SandboxedWorkflowRunner)
    assert ours.restrictions.invalid_module_members == Sandbox().restrictions.invalid_module_members


@pytest.mark.promise("ACC-7", "SEC-5")
@pytest.mark.parametrize("contexts", [False, True])
def test_a_run_begins_with_one_argument_however_many_it_was_started_with(
    contexts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[bytes]] = []

    class Inside:
        def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
            seen.append([payload.data for job in act.jobs for payload in job.initialize_workflow.arguments])
            return WorkflowActivationCompletion()

    monkeypatch.setattr(SandboxedWorkflowRunner, "create_instance", lambda self, det: Inside())
    run = Sandbox(contexts=contexts).create_instance(None)  # type: ignore[arg-type]
    for given in ([], [b"1"], [b"1", b"\xff", b"3"]):
        act = WorkflowActivation()
        job = act.jobs.add().initialize_workflow
        job.workflow_type = "Session"
        job.arguments.extend(Payload(data=data) for data in given)
        run.activate(act)
    assert seen == [[], [b"1"], [b"1"]]

"""The sandbox of sessions: it is asked whose a payload is where somebody looks at that, and only there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from temporalio.api.common.v1 import Payload
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

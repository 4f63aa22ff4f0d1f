"""What a worker is composed of stays what it was: the SDK's private setting, and what it says at its start."""

from __future__ import annotations

import inspect

import pytest
from temporalio.worker._workflow import _WorkflowWorker

from inturn.agents import Agent
from inturn_worker.app import warn_of_unserved


def test_the_sdk_still_takes_its_deadlock_timeout_from_where_the_worker_sets_it() -> None:
    assert "self._deadlock_timeout_seconds" in inspect.getsource(_WorkflowWorker._handle_activation)


def test_what_is_not_served_yet_is_said_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    helper = Agent("helper", model="m", instructions="i")
    warn_of_unserved([Agent("a", model="m", instructions="i", subagents=[helper]), helper])
    assert [record.getMessage() for record in caplog.records] == [
        "agent a: subagents= is not served yet; the model is not told of them",
    ]

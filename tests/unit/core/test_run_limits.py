"""A run ends when its history has grown enough, and never before anything was done in it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from temporalio import workflow

from inturn import sizes
from inturn_workflows import policies
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.run_limits import RunLimits
from inturn_workflows.state import SessionState

pytestmark = pytest.mark.promise("SUR-6", "SUR-15")


@dataclass
class Info:
    """What the server says of a run."""

    length: int = 3
    size: int = 0
    suggested: bool = False

    def get_current_history_length(self) -> int:
        return self.length

    def get_current_history_size(self) -> int:
        return self.size

    def is_continue_as_new_suggested(self) -> bool:
        return self.suggested


@pytest.fixture
def info(monkeypatch: pytest.MonkeyPatch) -> Info:
    told = Info()
    monkeypatch.setattr(workflow, "info", lambda: told)
    monkeypatch.setattr(workflow, "time", lambda: 1_763_677_084.5)
    return told


def limits() -> RunLimits:
    return RunLimits(SessionState(inbox=Inbox(dedup=DedupWindow(salt="s"))))


def test_a_run_that_began_with_all_that_a_session_carries_has_as_much_room_as_any(info: Info) -> None:
    info.size = sizes.CARRIED + 300_000  # and what came before its first task
    run = limits()
    assert not run.reached, "it would go on to the next run, and that one, too"
    info.size += policies.MAX_BYTES
    assert not run.reached
    info.size += 1
    assert run.reached


def test_a_run_ends_by_its_events_and_when_the_server_says_so(info: Info) -> None:
    run = limits()
    info.length = policies.MAX_EVENTS + 1
    assert run.reached
    info.length, info.suggested = 3, True
    assert run.reached

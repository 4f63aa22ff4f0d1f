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
from inturn_workflows.state import Limits, SessionState

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


def test_a_model_call_is_cut_before_messages_fill_its_run_by_number_or_by_bytes(info: Info) -> None:
    run = limits()
    info.size = sizes.CUT_RUN
    run.signals = policies.CUT_SIGNALS
    assert not run.cut_due
    info.size += 1
    assert run.cut_due, "200 foreign signals of 250 KB end a run as 10,000 small ones do"
    info.size, run.signals = 0, policies.CUT_SIGNALS + 1
    assert run.cut_due


def test_a_run_whose_call_is_to_be_cut_ends_however_much_it_began_with(info: Info) -> None:
    info.size = sizes.CUT_RUN + 1  # before its first task
    run = limits()
    assert run.cut_due
    assert run.reached, "else its call would be cut, and made again in the same run"
    info.size = 0
    run = RunLimits(SessionState(inbox=Inbox(dedup=DedupWindow(salt="s")), limits=Limits(cut_signals=2)))
    run.signals = 3
    assert run.cut_due
    assert run.reached


def test_an_update_is_refused_where_its_bytes_would_end_the_run(info: Info) -> None:
    run = limits()
    info.size = sizes.INLINE_RUN
    assert run.has_room(sizes.READ_EVENT)
    info.size += 1
    assert not run.has_room(sizes.INLINE + 1)
    assert run.has_room(sizes.INLINE)
    info.size = sizes.SIGNALLED_RUN + 1
    assert not run.has_room(0)

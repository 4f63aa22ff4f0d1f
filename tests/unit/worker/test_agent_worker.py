"""Where a worker takes the steps that only workers like it can do: by its code, or by its build."""

from __future__ import annotations

from pathlib import Path

import pytest

from inturn.agents import Agent
from inturn.journal import open_journal
from inturn_worker.agent_worker import Registration


def _queues(tmp_path: Path, instructions: str, version: str | None, *names: str, own: str | None = None) -> list[str]:
    agents = [Agent(name, model="m", instructions=instructions, task_queue=own) for name in names]
    registration = Registration(open_journal(f"sqlite:///{tmp_path / 'j.db'}"), agents, "q", str, version)
    assert {row.version for row in registration.rows()} == {version}
    return registration.queues


@pytest.mark.promise("SUR-16")
def test_workers_whose_agents_differ_take_steps_from_different_queues(tmp_path: Path) -> None:
    assert _queues(tmp_path, "a", None, "sales") == _queues(tmp_path, "a", None, "sales")
    assert _queues(tmp_path, "a", None, "sales") != _queues(tmp_path, "b", None, "sales")


@pytest.mark.promise("SUR-16", "SUR-7")
def test_the_next_build_polls_the_queues_that_the_last_one_did(tmp_path: Path) -> None:
    assert _queues(tmp_path, "a", "shop:1", "sales", "desk") == _queues(tmp_path, "b", "shop:2", "desk", "sales")
    assert _queues(tmp_path, "a", "shop:1", "sales") != _queues(tmp_path, "a", "shop:1", "desk")
    assert _queues(tmp_path, "a", "shop:1", "sales", own="gpu") == ["gpu"]

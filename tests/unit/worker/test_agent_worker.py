"""Where a worker takes the steps that only workers like it can do: by its code, or by its build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inturn.agents import Agent
from inturn.journal import Serving, open_journal
from inturn.testing import ScriptedModel
from inturn_activities.limits.limits import Limits
from inturn_activities.registry import Steps
from inturn_worker.agent_worker import Registration
from tests.support import outside
from tests.support.steps import rig
from tests.support.stores import journal_url


def _queues(tmp_path: Path, instructions: str, version: str | None, *names: str, own: str | None = None) -> list[str]:
    agents = [Agent(name, model="m", instructions=instructions, task_queue=own) for name in names]
    journal = open_journal(journal_url(tmp_path))
    registration = Registration(journal, agents, "q", Steps(journal, ScriptedModel(), agents), version)
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


@pytest.mark.promise("ISO-4")
@pytest.mark.usefixtures("store")
async def test_workers_that_share_a_journal_hold_the_lowest_of_their_limits(tmp_path: Path) -> None:
    journal = open_journal(journal_url(tmp_path))
    await journal.open()
    agents = [Agent("support", model="m", instructions="")]

    def worker(**limits: Any) -> tuple[Registration, Steps]:
        steps = Steps(journal, ScriptedModel(), agents, limits=Limits(**limits))
        return Registration(journal, agents, "q", steps), steps

    def holds(steps: Steps) -> dict[str, float]:
        return {want.resource: want.capacity for want in steps.agreed.of_model("acme", "support", "m")}

    high, high_steps = worker(max_steps=50, per_model={"m": 9}, rate_per_tenant=600)
    low, low_steps = worker(max_steps=None, max_models=3, per_model={"m": 4}, rate_per_tenant=6000)
    async with high.kept():
        assert holds(high_steps) == {"steps": 50, "model m": 9, "model calls per minute": 10}
        async with low.kept():
            lowest = {"steps": 50, "model calls": 3, "model m": 4, "model calls per minute": 10}
            assert holds(low_steps) == lowest
            await high.refresh()
            assert holds(high_steps) == lowest
        await high.refresh()
        assert holds(high_steps) == {"steps": 50, "model m": 9, "model calls per minute": 10}
    await journal.close()


ABOUTS = {
    "a newer version's": '{"manifest":"m","tools":["t"],"deliver":true,"trouble":"","gpu":{"of":3},"limits":{}}',
    "a limit that is none": '{"manifest":"m","tools":["t"],"deliver":true,"trouble":"","limits":{"max_steps":null}}',
    "an endless limit": '{"manifest":"m","tools":["t"],"deliver":true,"limits":{"rate_per_tenant":Infinity}}',
    "no limit at all": '{"tools":["t"],"limits":{"max_steps":0,"rate_per_tenant":-1}}',
    "less": '{"tools":["t"]}',
}
MANGLED = {"cut": '{"manifest":"m', "empty": "", "another type": "[1]", "deep": "[" * 100_000, "tools": '{"tools":7}'}


@pytest.mark.promise("SUR-16", "ISO-4")
@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("about", [*ABOUTS, *MANGLED])
async def test_what_one_worker_says_of_itself_keeps_no_other_from_its_work(tmp_path: Path, about: str) -> None:
    journal = open_journal(journal_url(tmp_path))
    await journal.open()
    agents = [Agent("support", model="m", instructions="")]
    steps = Steps(journal, ScriptedModel(), agents, limits=Limits(max_steps=7))
    own = Registration(journal, agents, "q", steps)
    await journal.register([Serving("other", "sales", "q2")])
    text = {**ABOUTS, **MANGLED}[about]
    await journal._store.write(
        lambda tx: tx.execute("UPDATE agents SET about = ? WHERE worker = 'other'", (text,)), durable=False
    )
    async with own.kept():
        [want] = steps.agreed.of_model("acme", "support", "m")
        assert want.capacity == 7
        others = [row for row in await journal.serving() if row.worker == "other"]
        assert [row.tools for row in others] == ([("t",)] if about in ABOUTS else [])
    await journal.close()


@pytest.mark.promise("ISO-4")
@pytest.mark.parametrize("column", ["tokens", "at"])
@pytest.mark.parametrize("value", ["x", "", b"\xff", 1e308, "9" * 400])
async def test_a_mangled_rate_keeps_no_session_of_its_tenant_from_its_work(
    tmp_path: Path, column: str, value: Any
) -> None:
    async with rig(
        tmp_path, ["one", "two"], limits=Limits(rate_per_tenant=6_000), url=f"sqlite:///{tmp_path}/j.db"
    ) as r:
        await r.ask()
        outside.change(f"sqlite:///{tmp_path}/j.db", "UPDATE buckets SET tokens = 1")
        with outside.opened(f"sqlite:///{tmp_path}/j.db") as tx:
            tx.execute(f"UPDATE buckets SET {column} = ?", (value,))
        assert (await r.ask("e2")).stop == "end_turn"


@pytest.mark.promise("SUR-16")
async def test_a_worker_goes_on_to_say_that_it_lives_whatever_went_wrong_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = open_journal(journal_url(tmp_path))
    await journal.open()
    agents = [Agent("support", model="m", instructions="")]
    own = Registration(journal, agents, "q", Steps(journal, ScriptedModel(), agents))

    async def broken() -> None:
        raise TypeError("one of ours")

    monkeypatch.setattr(journal, "serving", broken)
    await own.refresh()
    assert "one of ours" in caplog.text
    await journal.close()

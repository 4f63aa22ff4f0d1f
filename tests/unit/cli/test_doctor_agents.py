"""The doctor says which workers serve what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inturn.cli.doctor.agents import judge_agents
from inturn.journal import Serving

ROW = Serving("w1", "sales", "q~1", manifest="m1", since=1.0, seen=9.0)


@pytest.mark.promise("SUR-16", "SUR-12")
def test_each_agent_is_shown_with_who_serves_it_and_where() -> None:
    rows = [ROW, replace(ROW, worker="w2"), replace(ROW, agent="support", queue="q~2")]
    sales, support = judge_agents(rows)
    assert (sales.state, sales.found) == ("ok", "sales: w1, w2 (task queue q~1)")
    assert (support.state, support.found) == ("ok", "support: w1 (task queue q~2)")
    assert judge_agents([]) == []


@pytest.mark.promise("SUR-16")
def test_workers_that_have_an_agent_otherwise_than_the_newest_are_named() -> None:
    newer = [replace(ROW, worker=f"n{n}", manifest="m2", since=2.0) for n in range(5)]
    [found] = judge_agents([ROW, *newer])
    assert found.state == "warn"
    assert found.found == "sales: n0, n1, n2 and 3 more (task queue q~1); not as the newest has it: w1"


@pytest.mark.promise("SUR-17")
def test_threads_that_hang_are_told_with_the_tool() -> None:
    _, found = judge_agents([replace(ROW, trouble="3 threads hang: 3 of pay (acme/s1)")])
    assert (found.name, found.state) == ("threads", "warn")
    assert found.found == "w1: 3 threads hang: 3 of pay (acme/s1)"


@pytest.mark.promise("ISO-4", "SUR-12")
def test_limits_that_differ_are_told_with_who_has_which() -> None:
    rows = [
        replace(ROW, limits={"max_steps": 50.0}),
        replace(ROW, worker="w2", limits={"max_steps": 50.0, "max_models": 3.0}),
    ]
    found = [finding for finding in judge_agents(rows) if finding.name == "limits"]
    assert [(f.state, f.found) for f in found] == [("warn", "max_models none: w1; 3: w2")]

"""The doctor says which build gets a task queue's sessions, and who gets none."""

from __future__ import annotations

import pytest

from inturn.cli.doctor.versions import judge_versions


def _judged(current: str | None, **builds: str | None) -> list[tuple[str, str]]:
    return [(f.state, f.found) for f in judge_versions("q", current, builds, lambda version: f"current {version}")]


@pytest.mark.promise("SUR-12")
def test_where_nobody_uses_builds_nothing_is_said_of_them() -> None:
    assert _judged(None) == _judged(None, w1=None) == []


@pytest.mark.promise("SUR-12")
def test_builds_that_are_served_are_fine() -> None:
    assert _judged("shop:2", w1="shop:1", w2="shop:2") == [
        ("ok", "sessions of task queue q go to shop:2, beside it shop:1")
    ]
    assert _judged(None, w1=None, w2="shop:1") == [
        ("ok", "sessions of task queue q go to workers without a version, beside it shop:1")
    ]


@pytest.mark.promise("SUR-12")
def test_a_queue_whose_sessions_go_to_nobody_fails() -> None:
    assert _judged(None, w1="shop:1") == [("fail", "no version is current: no session of task queue q gets to shop:1")]
    for builds in ({}, {"w1": "shop:1"}, {"w1": None}):
        assert _judged("shop:2", **builds) == [
            ("fail", "sessions of task queue q go to shop:2, and no worker of it is there")
        ]


@pytest.mark.promise("SUR-12")
def test_a_worker_without_a_version_beside_a_current_one_is_named() -> None:
    [(state, found)] = _judged("shop:2", w1="shop:2", w2=None)
    assert state == "warn"
    assert found.endswith("without a version, and so without sessions: w2")

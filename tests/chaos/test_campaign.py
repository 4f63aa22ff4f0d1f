"""Two minutes of everything that happens to clusters, judged from the outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign.campaign import campaign


@pytest.mark.alone
@pytest.mark.timeout(900)
@pytest.mark.promise("SUR-1", "SUR-2", "SUR-5", "SUR-6", "SUR-7", "ACC-1", "ACC-2", "ACC-8", "ISO-1")
@pytest.mark.promise("ORD-1", "ORD-2", "ORD-11", "EFF-1", "EFF-2")
def test_two_minutes_of_faults_break_no_promise(tmp_path: Path) -> None:
    summary = campaign(2.0, seed=1, keep=tmp_path / "evidence")
    assert summary.quoted == []
    assert summary.violations == 0
    assert summary.faults["kill"] >= 10
    assert summary.counts["events"] >= 500

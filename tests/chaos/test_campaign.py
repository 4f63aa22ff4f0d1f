"""Minutes of everything that happens to clusters, judged from the outside."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.chaos.campaign.campaign import campaign
from tests.support.sizes import sized

MINUTES: Final = sized(sample=2.0, whole=10.0)


@pytest.mark.alone
@pytest.mark.timeout(2_400)
@pytest.mark.promise("SUR-1", "SUR-2", "SUR-5", "SUR-6", "SUR-7", "ACC-1", "ACC-2", "ACC-8", "ISO-1")
@pytest.mark.promise("ORD-1", "ORD-2", "ORD-11", "EFF-1", "EFF-2")
def test_minutes_of_faults_break_no_promise(tmp_path: Path) -> None:
    summary = campaign(MINUTES, seed=1, keep=tmp_path / "evidence")
    assert summary.quoted == []
    assert summary.violations == 0
    assert summary.faults["kill"] >= 5 * MINUTES
    assert summary.counts["events"] >= 250 * MINUTES

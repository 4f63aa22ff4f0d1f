"""Minutes of everything that happens to clusters, judged from the outside."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.chaos.campaign.campaign import campaign
from tests.chaos.campaign.ground import one_machine, with_database
from tests.support.sizes import sized

MINUTES: Final = {"sqlite": sized(sample=2.0, whole=10.0), "postgres": sized(sample=0.5, whole=10.0)}
GROUNDS: Final = {"sqlite": one_machine, "postgres": with_database}


@pytest.mark.heavy
@pytest.mark.timeout(2_400)
@pytest.mark.promise("SUR-1", "SUR-2", "SUR-5", "SUR-6", "SUR-7", "ACC-1", "ACC-2", "ACC-8", "ISO-1")
@pytest.mark.promise("ORD-1", "ORD-2", "ORD-11", "EFF-1", "EFF-2")
def test_minutes_of_faults_break_no_promise(tmp_path: Path, store: str) -> None:
    minutes = MINUTES[store]
    summary = campaign(minutes, seed=1, keep=tmp_path / "evidence", ground=GROUNDS[store])
    assert summary.quoted == []
    assert summary.violations == 0
    assert summary.faults["kill"] >= 5 * minutes
    assert summary.counts["events"] >= 250 * minutes

"""docs/architecture.md leads to what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = (ROOT / "docs" / "architecture.md").read_text()
ROOMS: Final = [
    ROOT / "client" / "inturn",
    ROOT / "activities" / "inturn_activities",
    ROOT / "workflows" / "inturn_workflows",
    ROOT / "service" / "inturn_worker",
    ROOT / "gateway" / "inturn_gateway",
]
NAMED: Final = sorted(set(re.findall(r"`(\w+(?:/\w+)+(?:\.py)?|\w+\.py|\w+/(?:\w+/)*)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_what_the_map_names_is_there(name: str) -> None:
    bases = [base for room in ROOMS for base in (room, room.parent, room / "journal", room / "client", ROOT)]
    assert any((base / f"{name}{end}").exists() for base in bases for end in ("", ".py"))


def test_the_map_names_every_room() -> None:
    for room in (path for home in ROOMS for path in home.rglob("__init__.py")):
        assert f"`{room.parent.name}/`" in PAGE or f"/{room.parent.name}" in PAGE, f"{room.parent} is not on the map"

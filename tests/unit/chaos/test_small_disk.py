"""The disk that the campaign fills."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign import disk as disks
from tests.chaos.campaign.disk import small_disk

PAGE = 4096


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 100, 254, 255])
def test_a_disk_is_filled_whatever_is_left_of_its_last_mebibyte(
    pages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "SIZE", 2 << 20)
    with small_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("mounting is not allowed here")
        (tmp_path / "disk" / "file").write_bytes(b"a" * (pages * PAGE + 1))
        assert disk.fill() > (2 << 20) - (pages + 2) * PAGE
        disk.free()

"""A small disk that can be filled.

Invariant: only what was mounted here is filled and unmounted. Where mounting is not allowed (it needs to be root, on
Linux) there is no small disk, and the campaign says so instead of filling somebody's.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SIZE: Final = 192 * 1024 * 1024


class SmallDisk:
    """A tmpfs of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> int:
        """Leave no byte free; returns how many that took."""
        for chunk in (1 << 20, 512):
            with (
                self._ballast.open("ab", buffering=0) as file,
                contextlib.suppress(OSError),
            ):  # no buffer: it fails anew on close
                while True:
                    file.write(b"\0" * chunk)
        return self._ballast.stat().st_size

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk | None]:
    """Mount a small disk there; `None` where that is not allowed."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "inturn-chaos", str(path)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield None
        return
    disk = SmallDisk(path)
    try:
        yield disk
    finally:
        disk.free()
        subprocess.run(["umount", "--lazy", str(path)], capture_output=True, check=False)

"""What the kernel says of a process (Linux)."""

from __future__ import annotations

import os
from pathlib import Path


class NotLinux(RuntimeError):
    """There is no /proc here to read."""


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, user and system."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now."""
    return int(_read(pid, "statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """Processes that a process of one thread has started."""
    return [int(child) for child in _read(pid, f"task/{pid}/children").split()]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except FileNotFoundError as error:
        raise NotLinux(f"there is no /proc/{pid}/{name} (this row needs Linux and a live worker)") from error

"""Which of a run's signals are meant, where there are thousands: the run by its name, the signals by their numbers.

Invariant: exact, whatever came. The session that counts them and who reads its history number them alike, through a
reset, too; and a run has no more of them than the server lets it have, so a bit for each is little.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Signal(NamedTuple):
    """One signal of a session."""

    run: str
    number: int
    """Among all that the run was sent, from 1."""


def run_name(chain: str, runs: int) -> str:
    """Return the name of a run: of its chain's first run, and which of the chain it is, from 1."""
    return f"{chain[-8:]}-{runs}"


def add_mark(marks: str, number: int) -> str:
    """Return the marks of a run with one signal more."""
    return f"{_bits(marks) | 1 << number:x}"


def read_marks(marks: object) -> dict[str, int]:
    """Return marks by runs, each as a number with a bit for each signal; what is none says nothing."""
    return {str(run): _bits(value) for run, value in marks.items()} if isinstance(marks, Mapping) else {}


def _bits(marks: object) -> int:
    try:
        return int(marks, 16) if isinstance(marks, str) and marks else 0
    except ValueError:
        return 0

"""Promises and tests name each other: read from the sources, so it holds whichever tests a run selects."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.marks import applied_marks, is_promise_mark, marks
from tests.requirements import OPEN, PROMISES

TESTS = Path(__file__).resolve().parents[2]


def marked() -> dict[str, list[str]]:
    """Returns the places that name each id."""
    found: dict[str, list[str]] = {}
    for mark in marks():
        found.setdefault(mark.promise, []).append(f"{mark.path}:{mark.line}")
    return found


def test_every_promise_that_is_not_open_has_a_test() -> None:
    missing = sorted(PROMISES.keys() - OPEN - marked().keys())
    assert not missing, f"no test proves {' '.join(missing)}"


def test_every_mark_names_a_promise() -> None:
    unknown = {promise: places for promise, places in marked().items() if promise not in PROMISES}
    assert not unknown, f"marks that name no promise: {unknown}"


def test_open_ids_are_promises() -> None:
    assert not sorted(OPEN - PROMISES.keys())


def test_no_mark_stands_where_it_reaches_no_test() -> None:
    for path in sorted(TESTS.rglob("*.py")):
        tree = ast.parse(path.read_text(), str(path))
        every = {n.lineno for n in ast.walk(tree) if isinstance(n, ast.Call) and is_promise_mark(n.func)}
        applied = {mark.lineno for mark, _ in applied_marks(tree)} if path.name.startswith("test_") else set()
        assert every == applied, f"{path.relative_to(TESTS)}: marks on lines {sorted(every - applied)} reach no test"

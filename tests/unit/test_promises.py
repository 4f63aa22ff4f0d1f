"""Promises and tests name each other: read from the sources, so it holds whichever tests a run selects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.requirements import OPEN, PROMISES

TESTS = Path(__file__).resolve().parents[1]


def is_promise_mark(node: ast.AST) -> bool:
    """Tells whether `node` is the expression `pytest.mark.promise`."""
    return isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.promise"


def ids_of(call: ast.Call) -> list[str]:
    """Returns the ids of one mark; they are literals, or this check could not see them."""
    assert call.args, "a promise mark names at least one id"
    assert not call.keywords, "a promise mark takes no keywords"
    return [ast.literal_eval(argument) for argument in call.args]


def applied_marks(tree: ast.AST) -> Iterator[ast.Call]:
    """Yields the marks that reach a test: decorators of tests and of their classes, and `pytestmark`."""
    places: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name.startswith("test_"):
                places += node.decorator_list
            case ast.ClassDef() if node.name.startswith("Test"):
                places += node.decorator_list
            case ast.Assign() if any(ast.unparse(target) == "pytestmark" for target in node.targets):
                places.append(node.value)
            case _:
                pass
    for place in places:
        for node in ast.walk(place):
            if isinstance(node, ast.Call) and is_promise_mark(node.func):
                yield node


def marked() -> dict[str, list[str]]:
    """Returns the files that name each id."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for mark in applied_marks(ast.parse(path.read_text(), str(path))):
            for promise in ids_of(mark):
                found.setdefault(promise, []).append(f"{path.relative_to(TESTS)}:{mark.lineno}")
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
        if path == Path(__file__):
            continue
        tree = ast.parse(path.read_text(), str(path))
        every = {n.lineno for n in ast.walk(tree) if isinstance(n, ast.Call) and is_promise_mark(n.func)}
        applied = {mark.lineno for mark in applied_marks(tree)} if path.name.startswith("test_") else set()
        assert every == applied, f"{path.relative_to(TESTS)}: marks on lines {sorted(every - applied)} reach no test"

"""Which tests prove which promise: read from the sources, so it holds whichever tests a run selects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Mark:
    """A promise's id on a test (or on a class or module of tests: then `test` is empty)."""

    promise: str
    path: str
    line: int
    test: str = ""


def is_promise_mark(node: ast.AST) -> bool:
    """Return whether `node` is the expression `pytest.mark.promise`."""
    return isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.promise"


def ids_of(call: ast.Call) -> list[str]:
    """Return the ids of one mark; they are literals, or this check could not see them."""
    assert call.args, "a promise mark names at least one id"
    assert not call.keywords, "a promise mark takes no keywords"
    return [ast.literal_eval(argument) for argument in call.args]


def applied_marks(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Return the marks that reach a test, with its name: decorators of tests and of their classes, and `pytestmark`."""
    places: list[tuple[ast.AST, str]] = []
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name.startswith("test_"):
                places += [(decorator, node.name) for decorator in node.decorator_list]
            case ast.ClassDef() if node.name.startswith("Test"):
                places += [(decorator, "") for decorator in node.decorator_list]
            case ast.Assign() if any(ast.unparse(target) == "pytestmark" for target in node.targets):
                places.append((node.value, ""))
            case _:
                pass
    for place, name in places:
        for node in ast.walk(place):
            if isinstance(node, ast.Call) and is_promise_mark(node.func):
                yield node, name


def marks() -> list[Mark]:
    """Return every mark, file by file."""
    return [
        Mark(promise, str(path.relative_to(TESTS)), call.lineno, name)
        for path in sorted(TESTS.rglob("test_*.py"))
        for call, name in applied_marks(ast.parse(path.read_text(), str(path)))
        for promise in ids_of(call)
    ]

"""The product's files stay small, its folders stay readable, and no two modules need each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
PACKAGES: Final = (
    "client/inturn",
    "activities/inturn_activities",
    "workflows/inturn_workflows",
    "service/inturn_worker",
    "gateway/inturn_gateway",
)
MAX_LINES: Final = 400
MAX_MODULES: Final = 22


def _files() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _modules() -> dict[str, Path]:
    """Returns every module by its name."""
    names = ((path, path.relative_to(ROOT).with_suffix("").parts[1:]) for path in _files())
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in names}


def _imports(path: Path) -> Iterator[tuple[str, str]]:
    """Gives each `from module import name` and `import module`, wherever it stands; not those for types alone."""
    for node in _running(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _running(child)


def _graph() -> dict[str, set[str]]:
    modules = _modules()
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        needed = {f"{module}.{what}" if f"{module}.{what}" in modules else module for module, what in _imports(path)}
        graph[name] = needed & set(modules)
    return graph


def test_no_file_is_longer_than_one_reads_at_once() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in _files()}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_no_folder_has_more_modules_than_one_surveys() -> None:
    folders = {path.parent for path in _files()}
    counts = {str(folder.relative_to(ROOT)): len(list(folder.glob("[!_]*.py"))) for folder in folders}
    assert {name: count for name, count in counts.items() if count > MAX_MODULES} == {}


def test_no_modules_need_each_other_not_even_by_an_import_within_a_function() -> None:
    try:
        TopologicalSorter(_graph()).prepare()
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


@pytest.mark.promise("SUR-7")
def test_no_wait_of_a_workflow_is_bounded_in_a_way_that_differs_between_pythons() -> None:
    for path in (ROOT / "workflows").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("wait_condition"):
                assert "timeout" not in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"

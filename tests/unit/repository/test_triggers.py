"""Each trigger of a fault has tests, and each test fails on code without its mend."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

from tests.support.sizes import sized
from tests.triggers.planted import fails
from tests.triggers.table import TRIGGERS
from tests.triggers.the_model_side import ELSEWHERE
from tests.triggers.trigger import TESTS, Plant, Trigger

NAMES: Final = [trigger.name for trigger in TRIGGERS]
FAULTS: Final = (
    *(f"A{n}" for n in range(1, 7)),
    *(f"B{n}" for n in range(1, 6)),
    *(f"C{n}" for n in range(1, 4)),
    *(f"E{n}" for n in range(1, 4)),
    *(f"F{n}" for n in range(1, 7)),
    *"GH",
    *(f"MODEL F{n}" for n in (*range(1, 19), 20, 21)),
)
"""What attack found; those of D, I, J and K have names of their own, for each stands for several."""
OF_MANY: Final = {"D": 10, "I": 4, "J": 10, "K": 5}
PLANTS: Final = [(trigger, bug) for trigger in TRIGGERS for bug in trigger.plants]
WITHOUT_SERVER: Final = [(t, bug) for t, bug in PLANTS if t.node(bug.fails).startswith("tests/unit/")]
CHOSEN: Final = sized(fast=WITHOUT_SERVER[::75], sample=WITHOUT_SERVER[::25], whole=PLANTS)


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_fault_that_was_found_is_in_the_table() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert sorted({*FAULTS} - {*NAMES} - ELSEWHERE.keys()) == []
    assert {name for names in ELSEWHERE.values() for name in names} <= {*NAMES}
    for kind, count in OF_MANY.items():
        assert sum(name.startswith(f"{kind} ") for name in NAMES) >= count


@pytest.mark.parametrize("trigger", TRIGGERS, ids=NAMES)
def test_a_trigger_has_three_tests_of_its_kind_and_a_mend_to_take_out(trigger: Trigger) -> None:
    for file, names in trigger.tests.items():
        assert {f"test_{name}" for name in names} - _functions(TESTS / file) == set(), file
    assert len(set(trigger.nodes)) >= 3
    assert trigger.plants
    for bug in trigger.plants:
        assert trigger.node(bug.fails)
        assert all(text.strip() for text in bug.sources().values())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("trigger", "bug"), CHOSEN, ids=[f"{t.name}: {b.fails}" for t, b in CHOSEN])
def test_a_test_fails_once_its_mend_is_taken_out(trigger: Trigger, bug: Plant) -> None:
    assert fails(trigger, bug)

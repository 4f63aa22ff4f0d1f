"""What a tool says in a group of errors reaches the model as if it had said it alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inturn.errors import Retry, ToolError
from inturn.journal import Superseded
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn.tools.calling import ungrouped
from inturn.turns.call_results import describe
from tests.support.steps import rig

pytestmark = pytest.mark.promise("EFF-4")


def group(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("unhandled errors in a TaskGroup", list(errors))


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (group(ToolError("no stock")), ToolError, "no stock"),
        (group(ValueError("x"), group(ToolError("no stock"))), ToolError, "no stock"),
        (group(ToolError("a"), ToolError("b"), ToolError("a")), ToolError, "a; b"),
        (group(Retry("busy", after=2), Retry("busy", after=5)), Retry, "busy"),
        (group(Retry("busy", after="soon"), Retry("full", after=5)), Retry, "busy; full"),  # type: ignore[arg-type]
        (group(Retry("busy"), ValueError("half done")), ExceptionGroup, None),
        (group(ToolError("a"), Superseded("gone")), Superseded, "gone"),
        (ToolError("alone"), ToolError, "alone"),
    ],
)
def test_a_group_means_what_its_errors_mean(error: Exception, kind: type[Exception], said: str | None) -> None:
    meant = ungrouped(error)
    assert isinstance(meant, kind)
    assert said is None or str(meant) == said
    assert not isinstance(meant, Retry) or meant.after == 5


def test_the_line_of_a_group_names_what_happened() -> None:
    assert describe(group(ValueError("x"), group(KeyError("y")))) == "ExceptionGroup: ValueError: x; KeyError: 'y'"


async def test_a_tool_error_raised_in_a_task_group_is_the_calls_result(tmp_path: Path) -> None:
    async def check() -> None:
        raise ToolError("order 7 is closed")

    @tool
    async def look() -> str:
        """Look."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(check())
        return "never"

    async with rig(tmp_path, [ToolCall("look")], tools=[look]) as r:
        [result] = await r.tools(await r.ask())
        assert result.status == "error"
        assert [b["text"] for b in await r.bodies("agent.tool_result")] == ["order 7 is closed"]

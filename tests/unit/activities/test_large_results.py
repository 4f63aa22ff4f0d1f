"""A result that is larger than every bound costs its own call at most; what is kept of it is small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from inturn import sizes
from inturn.errors import ToolError
from inturn.testing import ToolCall
from inturn.tools import tool
from tests.support.steps import rig

MOST: Final = 64 * 1024
"""Bytes of what is kept of a result in its entry, whatever that was; content blocks apart."""
HUGE: Final = 20 * 1024 * 1024


def _nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def _fails(size: int) -> Any:
    raise ToolError("x" * size)


LARGE: Final[dict[str, Callable[[], Any]]] = {
    "a text": lambda: "x" * HUGE,
    "a text of what JSON writes as six bytes": lambda: "\x01" * (HUGE // 6),
    "bytes": lambda: b"\xff" * HUGE,
    "many rows": lambda: [{"n": n} for n in range(200_000)],
    "a key": lambda: {"k" * HUGE: 1},
    "a number": lambda: 10**100_000,
    "levels": lambda: _nested(50_000),
    "a block": lambda: [{"type": "text", "text": "x" * HUGE}],
    "many blocks": lambda: [{"type": "text", "text": "x"}] * 200_000,
    "an error": lambda: _fails(HUGE),
}


@pytest.mark.promise("EFF-5", "SUR-15")
@pytest.mark.parametrize("name", LARGE)
async def test_a_result_larger_than_every_bound_is_kept_small_and_the_session_goes_on(
    tmp_path: Path, name: str
) -> None:
    @tool(idempotent=True)
    async def make() -> Any:
        """Make it."""
        return LARGE[name]()

    async with rig(tmp_path, [ToolCall("make"), "well", "and on"], tools=[make]) as r:
        (call,) = (await r.ask()).calls
        result = await r.tool(call=call.id)
        assert sizes.written(result) < 4_000, "what the session is told"
        (body,) = await r.bodies("agent.tool_result")
        assert len(json.dumps(body)) < MOST
        assert (await r.ask(step=1)).stop == "end_turn"
        assert (await r.ask("e2")).stop == "end_turn"

"""A prompt that only grows is found in the cache; where it is not, that is said once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inturn.journal.views.turns import read_turn
from inturn.testing import ToolCall
from inturn.testing.claude.log import Exchange
from inturn.tools import tool
from tests.support.sizes import sized
from tests.support.steps import SESSION
from tests.support.strict import StrictRig, strict

TURNS = sized(sample=60, whole=300)
LONG = "You look after a shop. " + "Be kind and exact. " * 6_000


@tool
async def look(page: int) -> str:
    """Read a page."""
    return f"page {page}"


def hits(r: StrictRig) -> list[float]:
    """Which part of each request's prompt came from the cache, but for the first's."""
    return [_hit(exchange) for exchange in r.server.requests[1:]]


def _hit(exchange: Exchange) -> float:
    usage = exchange.usage or {}
    read = usage["cache_read_input_tokens"]
    return float(read / (read + usage["input_tokens"] + usage["cache_creation_input_tokens"]))


async def missed(r: StrictRig) -> list[dict[str, Any]]:
    return await r.steps.bodies("cache.missed")


@pytest.mark.promise("MOD-5")
async def test_many_calls_at_once_and_many_events_in_one_message_are_found_in_the_cache(tmp_path: Path) -> None:
    async with strict(tmp_path, tools=[look], instructions=LONG) as r:
        r.server.script([ToolCall("look", page=n) for n in range(20)])
        assert await r.turn("e1", "look at them") == "end_turn"
        joined = [{"event_id": f"j{n}", "content": f"and {n}"} for n in range(40)]
        assert await r.turn("e2", "so many", joined=joined) == "end_turn"
        assert await r.turn("e3", "thanks") == "end_turn"
        assert len(r.server.requests) == 4
        assert min(hits(r)) >= 0.95
        assert await missed(r) == []
        turn = await read_turn(r.steps.journal, SESSION, "e3")
        assert turn is not None
        assert turn.cache_hit is not None
        assert turn.cache_hit >= 0.95


@pytest.mark.promise("MOD-5")
async def test_a_long_session_is_found_in_the_cache_at_every_turn(tmp_path: Path) -> None:
    async with strict(tmp_path, instructions=LONG) as r:
        for n in range(TURNS):
            assert await r.turn(f"e{n}", f"message {n}") == "end_turn"
        assert min(hits(r)) >= 0.95
        assert await missed(r) == []


@pytest.mark.promise("MOD-5")
async def test_a_cache_that_was_dropped_is_told_once(tmp_path: Path) -> None:
    async with strict(tmp_path, instructions=LONG) as r:
        await r.turn("e1")
        await r.turn("e2")
        r.server.reset()  # the cache, too
        await r.turn("e3")
        await r.turn("e4")
        [told] = await missed(r)
        assert told["read"] == 0
        assert told["expected"] > 10_000
        assert told["reason"] == "unknown"
        turn = await read_turn(r.steps.journal, SESSION, "e3")
        assert turn is not None
        assert (turn.cache_missed, turn.cache_hit) == (("unknown",), 0.0)
        assert turn.usage.cache_missed == 1


@pytest.mark.promise("MOD-5")
@pytest.mark.parametrize("change", [{"model": "claude-opus-5-5"}, {"tools": [look]}])
async def test_what_was_changed_on_purpose_is_no_miss(tmp_path: Path, change: dict[str, Any]) -> None:
    async with strict(tmp_path, instructions=LONG) as r:
        await r.turn("e1")
        after = r.deployed(**({"instructions": LONG} | change))
        await after.turn("e2")
        assert hits(after)[-1] < 0.95
        assert await missed(after) == []


@pytest.mark.promise("MOD-5")
async def test_each_request_asks_why_its_beginning_was_not_found_by_the_answer_before(tmp_path: Path) -> None:
    async with strict(tmp_path, instructions=LONG) as r:
        await r.turn("e1")
        await r.turn("e2")
        [first, second] = await r.steps.bodies("agent.message")
        asked = [exchange.body["diagnostics"]["previous_message_id"] for exchange in r.server.requests]
        assert asked == [None, first["id"]]
        assert second["id"] != first["id"]

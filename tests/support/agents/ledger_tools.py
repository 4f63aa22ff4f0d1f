"""Tools of four kinds with their effects in a ledger outside, whose calls can be made to stand still.

Only for workers in processes of their own: importing this makes the journal's methods crash points.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from inturn import Agent, ToolContext, tool
from tests.support import ledger
from tests.support.agents.crashing import stand


def _run(sql: str, *parameters: str) -> list[tuple[Any, ...]]:
    return ledger.run(Path(os.environ["INTURN_TEST_EFFECTS"]), sql, parameters)


async def _act(name: str, ctx: ToolContext) -> str:
    _run("INSERT INTO bodies VALUES (?, ?)", name, ctx.session_id)
    _run("INSERT OR IGNORE INTO effects VALUES (?, ?, ?)", name, ctx.session_id, ctx.key)
    await stand("tool:after-effect", ctx.session_id)
    return f"{name} done"


@tool(idempotent=True)
async def save(ctx: ToolContext) -> str:
    """Set a state: doing it again changes nothing, without any key."""
    return await _act("save", ctx)


@tool(idempotent=True)
async def book(ctx: ToolContext) -> str:
    """Book under a key: the ledger takes each key once."""
    return await _act("book", ctx)


@tool
async def post(ctx: ToolContext) -> str:
    """Post: the ledger ignores keys, each post is one more."""
    return await _act("post", ctx)


def _wired(key: str) -> str | None:
    return "wire done" if _run("SELECT 1 FROM effects WHERE tool = 'wire' AND key = ?", key) else None


@tool(lookup=_wired)
async def wire(ctx: ToolContext) -> str:
    """Wire money: each call is one more, but one can be looked up by its key."""
    return await _act("wire", ctx)


agents = [Agent("support", model="scripted", instructions="Be brief.", tools=[save, book, post, wire])]

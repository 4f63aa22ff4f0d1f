"""Tools of four kinds, with their effects in a ledger outside the system: what each kind has after a crash.

`INTURN_TEST_EFFECTS` names the directory of `ledger.db`. Its table `effects` is what the world saw, its table
`bodies` has a row per body that ran.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from inturn import Agent, ToolContext, tool
from tests.support.crashing import stand

_SCHEMA = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS bodies (tool TEXT, session TEXT);
    CREATE TABLE IF NOT EXISTS effects (tool TEXT, session TEXT, key TEXT);
    CREATE UNIQUE INDEX IF NOT EXISTS one_state ON effects (session) WHERE tool = 'save';
    CREATE UNIQUE INDEX IF NOT EXISTS one_per_key ON effects (key) WHERE tool = 'book';
"""


def ledger(directory: Path, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run a statement on the ledger of this directory."""
    with closing(sqlite3.connect(directory / "ledger.db", timeout=10)) as db, db:
        return db.execute(sql, parameters).fetchall()


def open_ledger(directory: Path) -> None:
    """Make the ledger."""
    with closing(sqlite3.connect(directory / "ledger.db")) as db:
        db.executescript(_SCHEMA)


def _run(sql: str, *parameters: str) -> list[tuple[Any, ...]]:
    return ledger(Path(os.environ["INTURN_TEST_EFFECTS"]), sql, parameters)


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

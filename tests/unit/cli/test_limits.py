"""The doctor's view of locks and of what tool modules keep for themselves."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from inturn import Agent, terminal, tool
from inturn.cli.app import app
from inturn.cli.doctor import graph, modules
from inturn.cli.options import hoisted
from inturn.journal import Place, open_journal
from inturn.journal.limits.requests import Mode
from tests.support.limits import call, permit, write
from tests.support.stores import journal_url


def place(who: int, name: str, *, held: bool = False, mode: Mode = "write", present: bool = True) -> Place:
    return Place("acme", f"lock {name}", str(call(who)), mode, "held" if held else "waiting", who, 7, 12.0, present)


def test_a_circle_is_named_and_a_row_of_waiters_is_not() -> None:
    row = [place(1, "a", held=True), place(2, "a"), place(2, "b", held=True), place(3, "b")]
    assert graph.judge_limits(row).state == "ok"
    circle = sorted([*row, place(3, "c", held=True), place(1, "c")], key=lambda p: p.resource)
    found = graph.judge_limits(circle)
    assert found.state == "warn"
    assert all(str(call(who)) in found.found for who in (1, 2, 3))


def test_a_reader_does_not_wait_for_a_reader_nor_for_one_who_is_gone() -> None:
    assert graph.waits([place(1, "a", held=True, mode="read"), place(2, "a", mode="read")]) == []
    assert graph.waits([place(1, "a", held=True, present=False), place(2, "a")]) == []
    assert graph.waits([place(1, "a", held=True), place(2, "a", present=False)]) == []


def test_the_text_names_holders_waiters_and_their_age() -> None:
    steps = [Place("acme", "steps", str(call(n)), "permit", "held", 0, 0, 0.0, True) for n in range(3)]
    lines = list(graph.text([place(1, "a", held=True), place(2, "a", present=False), *steps]))
    assert lines == [
        "lock a:",
        "  held by acme/s1/e1/0/0 (write, fence 7) for 12 s",
        "  waiting: acme/s2/e1/0/0 (write, ticket 2) for 12 s, not seen lately",
        "steps: 3 taken",
    ]


def test_the_graph_points_from_waiters_to_holders_and_quotes_names() -> None:
    drawn = graph.dot([place(1, 'a"b', held=True), place(2, 'a"b')])
    assert '"acme/s2/e1/0/0" -> "acme/s1/e1/0/0" [label="lock a\\"b"];' in drawn
    assert drawn.startswith("digraph waits {")


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nb -> c", "a\x9b31m", "a\u202eb", "a\ud800"])
def test_no_name_reaches_the_terminal_raw(name: str) -> None:
    drawn = graph.dot([place(1, name, held=True), place(2, name)])
    assert len(drawn.splitlines()) == 4
    assert terminal.clean(drawn) == drawn


@pytest.mark.usefixtures("store")
def test_the_doctor_draws_the_live_journal(tmp_path: Path) -> None:
    url = journal_url(tmp_path)

    async def prepare() -> None:
        journal = open_journal(url)
        for who in (1, 2):
            await journal.claim_call(call(who), lease=60, wants=[write("a"), permit(of=5)])
        await journal.close()

    asyncio.run(prepare())
    ended = CliRunner().invoke(app, hoisted(["doctor", "--dot", "--tenant", "acme", "--journal", url]))
    assert ended.exit_code == 0, ended.output
    assert '"acme/s2/e1/0/0" -> "acme/s1/e1/0/0" [label="lock a"];' in ended.output
    ended = CliRunner().invoke(
        app, hoisted(["doctor", "--address", "127.0.0.1:1", "--json", "--tenant", "acme", "--journal", url])
    )
    report = json.loads(ended.stdout)
    assert {p["state"] for p in report["limits"]} == {"held", "waiting", "nonblocking"}
    assert "2 locks and permits held, 1 calls waiting" in [check["found"] for check in report["checks"]]


def test_what_tools_keep_in_their_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
from inturn import Agent, terminal, tool
RATES = {"eur": 1}
cache = {}
_seen = set()
name = "shop"

@tool
def buy(what: str) -> str:
    return cache.setdefault(what, what)

tools = [buy]
agents = [Agent("shop", model="m", instructions="i", tools=tools)]
"""
    (tmp_path / "keeps_state.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    found = modules.examine_modules("keeps_state:agents")
    assert found.state == "warn"
    assert found.found == "tools share objects that can change: keeps_state.cache (dict), keeps_state._seen (set)"
    assert "ctx.state" in (found.to_do or "")


def test_a_module_without_state_is_fine_and_one_that_cannot_be_loaded_is_not() -> None:
    made = ModuleType("keeps_nothing")
    assert list(modules.mutable(made)) == []

    @tool
    def nothing() -> str:
        """Do nothing."""
        return ""

    assert modules.judge_modules([Agent("a", model="m", instructions="i", tools=[nothing])]).state == "ok"
    assert modules.examine_modules("no_such_module:agents").state == "fail"
    assert modules.examine_modules("json:loads").state == "fail"

"""`inturn memory` and `inturn fork`: what they print, and how they end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode
from typer.testing import CliRunner, Result

from inturn.cli.app import app
from inturn.cli.options import hoisted
from inturn.client.temporal.transport import SessionTransport
from inturn.journal import open_journal
from inturn.keys import SessionKey
from tests.support.journal import plain_turn

URL = "sqlite:///j.db"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal with one session, and a server that has none."""
    monkeypatch.chdir(tmp_path)

    async def fill() -> None:
        journal = open_journal(URL)
        await plain_turn(journal, SessionKey("default", "s"), "e1")
        await journal.close()

    async def unknown(self: SessionTransport, *_: Any) -> Any:
        raise RPCError("workflow not found", RPCStatusCode.NOT_FOUND, b"")

    monkeypatch.setattr(SessionTransport, "describe", unknown)
    monkeypatch.setattr(SessionTransport, "status", unknown)
    asyncio.run(fill())


def inturn(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, hoisted([*arguments, "--journal", URL]), input=stdin)


@pytest.mark.promise("AGT-4")
def test_documents_are_written_shown_listed_and_removed() -> None:
    assert inturn("memory", "put", "rules", "No refunds.", "--version", "0").stdout == "rules: version 1\n"
    assert inturn("memory", "put", "notes:ann", "-", stdin="Likes tea.").exit_code == 0
    assert "No refunds." in inturn("memory", "show", "rules").stdout
    listed = json.loads(inturn("memory", "ls", "--json").stdout)
    assert [(each["name"], each["version"], each["size"]) for each in listed] == [
        ("notes:ann", 1, 10),
        ("rules", 1, 11),
    ]
    assert "notes:ann" not in inturn("memory", "ls", "rul").stdout
    assert inturn("memory", "rm", "rules").exit_code == 0
    assert inturn("memory", "rm", "rules").exit_code == 1
    assert inturn("memory", "show", "rules").exit_code == 1
    assert "no such document" in inturn("memory", "ls", "rules").stderr


@pytest.mark.promise("AGT-4")
def test_who_has_not_read_a_document_is_told_so_and_overwrites_nothing() -> None:
    inturn("memory", "put", "rules", "one")
    ended = inturn("memory", "put", "rules", "two", "--version", "0")
    assert ended.exit_code == 1
    assert "is at version 1" in ended.stderr
    assert json.loads(inturn("memory", "show", "rules", "--json").stdout)["text"] == "one"
    for name, text in (("a/b", "x"), ("rules", "x" * 70_000)):
        bad = inturn("memory", "put", name, text)
        assert bad.exit_code == 2
        assert "Traceback" not in bad.output


def test_a_fork_is_made_and_shown_with_where_it_comes_from() -> None:
    made = inturn("fork", "s", "f", "--upto", "e1")
    assert made.stdout == "f: forked from s, up to the turn of event e1\n"
    shown = inturn("show", "f")
    assert "idle" in shown.stdout
    assert "forked from s, up to the turn of event e1" in " ".join(shown.stderr.split())
    assert json.loads(inturn("show", "f", "--json").stdout)["forked"] == {"from": "s", "upto": "e1"}
    again = json.loads(inturn("fork", "s", "f", "--upto", "e1", "--json").stdout)
    assert again == {"session_id": "f", "from": "s", "upto": "e1"}
    assert inturn("fork", "s", "s").exit_code == 2
    assert inturn("fork", "none", "g").exit_code == 1

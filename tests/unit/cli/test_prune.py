"""`inturn journal prune`: shows what would go, and does it only where it is told to."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from inturn.cli.app import app
from inturn.cli.options import hoisted
from inturn.journal import open_journal, open_store
from inturn.keys import SessionKey
from tests.support.journal import OTHER, SESSION, plain_turn


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A journal with one closed session, one that is open, and one that a reader has not read."""
    monkeypatch.chdir(tmp_path)
    unread = SessionKey("acme", "unread")

    async def fill() -> None:
        journal = open_journal("sqlite:///j.db")
        for session in (SESSION, OTHER, unread):
            await plain_turn(journal, session, "e1")
        for session in (SESSION, unread):
            await journal.record(session, [], close=True)
        await journal.move_cursor("acme", "mirror", "unread", 1)
        await journal.close()

    asyncio.run(fill())
    return "sqlite:///j.db"


def prune(*arguments: str) -> Result:
    return CliRunner().invoke(app, hoisted(["journal", "prune", *arguments]))


def test_without_yes_nothing_goes_and_everything_is_shown(url: str) -> None:
    shown = prune(url, "--older-than", "0s")
    assert shown.exit_code == 0
    assert "1 sessions would go, 8 rows, " in shown.stdout
    assert "1 are kept" in shown.stdout
    assert "acme/unread" in shown.stdout
    assert "acme/s2" not in shown.stdout
    assert "--yes" in shown.stderr
    found = json.loads(prune(url, "--closed-before", "0s", "--json").stdout)
    assert (found["pruned"], found["rows"]) == (False, 0)
    assert {one["session"]: one["kept"] for one in found["sessions"]} == {
        "s1": None,
        "unread": "the reader mirror has read no further than entry 1",
    }


def test_with_yes_it_exports_and_deletes_and_a_second_time_finds_nothing(url: str, tmp_path: Path) -> None:
    done = prune(url, "--closed-before", "0s", "--export", "kept", "--yes")
    assert done.exit_code == 0, done.output
    assert "1 sessions pruned, 8 rows" in done.stdout
    [file] = (tmp_path / "kept").glob("*/*.jsonl")
    assert file.stat().st_mode & 0o077 == 0, "what was said is nobody else's to read"
    checked = CliRunner().invoke(app, ["journal", "verify", str(file)])
    assert (checked.exit_code, "acme/s1, 8 rows" in checked.stdout) == (0, True)
    again = prune(url, "--closed-before", "0s", "--export", "kept", "--yes", "--json")
    assert json.loads(again.stdout)["rows"] == 0
    assert CliRunner().invoke(app, ["journal", "verify", url]).exit_code == 0
    file.write_text(file.read_text().replace("hello", "hallo"))
    assert CliRunner().invoke(app, ["journal", "verify", str(file)]).exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--closed-before", "0s", "--yes"),
        ("--closed-before", "0s", "--yes", "--discard", "--export", "x"),
        ("--closed-before", "soon"),
        ("--closed-before", "-5d"),
        (),
    ],
)
def test_a_call_that_is_not_plain_deletes_nothing(url: str, arguments: tuple[str, ...]) -> None:
    assert prune(url, *arguments).exit_code == 2
    assert "1 sessions would go" in prune(url, "--older-than", "0s").stdout


@pytest.mark.parametrize("when", ["1d", "12h", "5min", "1999-01-01", "1999-01-01T10:00:00+02:00"])
def test_an_age_or_a_date_says_since_when(url: str, when: str) -> None:
    assert "0 sessions would go" in prune(url, "--closed-before", when).stdout


def test_a_session_can_be_pruned_without_an_export(url: str) -> None:
    assert "8 rows" in prune(url, "--closed-before", "2999-01-01", "--of", "acme", "--discard", "--yes").stdout
    assert "0 sessions" in prune(url, "--closed-before", "0s", "--of", "umbrella").stdout


def test_uploads_that_no_session_names_are_shown_and_go_and_a_changed_one_is_found(url: str) -> None:
    async def upload() -> None:
        journal = open_journal(url)
        await journal.put_upload("acme", b"never named", "text/plain")
        await journal.put_upload("other", b"another tenant's", "text/plain")
        await journal.close()

    asyncio.run(upload())
    shown = prune(url, "--older-than", "0s", "--of", "acme")
    assert "1 uploads that no session names would go, 11 B" in shown.stdout
    done = json.loads(prune(url, "--older-than", "0s", "--of", "acme", "--discard", "--yes", "--json").stdout)
    assert done["uploads"] == {"count": 1, "bytes": 11}
    assert json.loads(prune(url, "--older-than", "0s", "--json").stdout)["uploads"] == {"count": 1, "bytes": 16}
    verify = hoisted(["journal", "verify", url])
    assert CliRunner().invoke(app, verify).exit_code == 0

    async def change() -> None:
        store = open_store(url)
        await store.write(lambda tx: tx.execute("UPDATE uploads SET data = ?", (b"something else",)))
        await store.close()

    asyncio.run(change())
    found = CliRunner().invoke(app, verify)
    assert found.exit_code == 1
    assert "is not what was kept" in found.stderr

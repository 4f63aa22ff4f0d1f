"""The doctor's judgement: what it says of packages, workers, clocks and journals."""

from __future__ import annotations

import json
import os
import sqlite3
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inturn.cli.app import app
from inturn.cli.doctor import machine, server, sessions
from inturn.cli.options import hoisted
from inturn.journal import open_journal
from inturn.values import Health

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty directory, no settings, and no second spent on reading what is installed."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("INTURN_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(metadata, "packages_distributions", dict)


def seen(who: str, seconds: float) -> tuple[str, datetime]:
    return who, NOW - timedelta(seconds=seconds)


def test_workers_of_both_kinds_that_polled_lately_are_fine() -> None:
    found = server.judge_workers(
        "q", {"workflow": [seen("w@1", 3)], "activity": [seen("w@1", 60), seen("w@2", 1)]}, NOW
    )
    assert (found.state, found.found) == ("ok", "task queue q: w@1, w@2")


def test_a_worker_that_stopped_polling_counts_as_gone() -> None:
    found = server.judge_workers("q", {"workflow": [seen("w@1", 200)], "activity": [seen("w@1", 200)]}, NOW)
    assert found.state == "fail"
    assert "nobody polls task queue q" in found.found
    assert "inturn worker MODULE:ATTR --task-queue q" in (found.to_do or "")


def test_a_missing_kind_of_poller_fails_and_is_named() -> None:
    found = server.judge_workers("q", {"workflow": [seen("w@1", 1)], "activity": []}, NOW)
    assert found.state == "fail"
    assert "activity" in found.found


def test_a_poll_from_the_future_means_that_this_clock_is_behind() -> None:
    assert server.judge_clock([NOW + timedelta(seconds=30)], NOW).state == "warn"
    assert server.judge_clock([NOW + timedelta(seconds=1), NOW - timedelta(hours=1)], NOW).state == "ok"
    assert server.judge_clock([], NOW).state == "ok"


def test_two_distributions_that_bring_inturn_are_named() -> None:
    assert machine.judge_packages({"inturn": ["inturn"]}).state == "ok"
    found = machine.judge_packages({"inturn": ["inturn", "inturn-fork"]})
    assert found.state == "fail"
    assert "inturn-fork" in found.found


def test_packages_of_a_user_named_as_folders_of_ours_are_no_finding() -> None:
    found = machine.judge_packages({"inturn": ["inturn"], "workflows": ["llama-index-workflows"]})
    assert found.state == "ok"


async def test_a_journal_that_works_says_its_schema_version_and_gets_no_entry(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'j.db'}"
    journal = open_journal(url)
    await journal.open()
    await journal.close()
    found = await machine.examine_journal(url, "default")
    assert found.state == "ok"
    assert "schema version" in found.found
    with sqlite3.connect(tmp_path / "j.db") as raw:
        assert raw.execute("SELECT count(*) FROM entries").fetchone() == (0,)
    raw.close()


async def test_a_journal_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = await machine.examine_journal(f"sqlite:///{tmp_path / 'j.db'}", "default")
    assert found.state == "warn"
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_is_no_journal_fails(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_text("no database at all, but long enough to be looked at as one" * 20)
    found = await machine.examine_journal(f"sqlite:///{tmp_path / 'j.db'}", "default")
    assert found.state == "fail"
    assert found.to_do


async def test_a_journal_of_a_newer_version_fails(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'j.db'}"
    journal = open_journal(url)
    await journal.open()
    await journal.close()
    with sqlite3.connect(tmp_path / "j.db") as raw:
        raw.execute("UPDATE journal_schema SET version = 999, oldest = 999")
    raw.close()
    found = await machine.examine_journal(url, "default")
    assert found.state == "fail"
    assert "999" in found.found


async def test_a_password_in_a_journals_url_is_not_shown() -> None:
    found = await machine.examine_journal("postgresql://me:secret@db/inturn", "default")
    assert "secret" not in f"{found.found}{found.to_do}"


@pytest.mark.usefixtures("bare")
def test_without_a_server_the_doctor_fails_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTURN_CONNECT_TIMEOUT", "0.3")
    ended = CliRunner().invoke(app, hoisted(["doctor", "--address", "127.0.0.1:1", "--json"]))
    printed = json.loads(ended.stdout)
    assert (ended.exit_code, printed["ok"]) == (1, False)
    states = {check["name"]: check["state"] for check in printed["checks"]}
    assert states["server"] == "fail"
    assert states["journal"] == "warn"
    assert all(check.get("to_do") for check in printed["checks"] if check["state"] != "ok")


@pytest.mark.usefixtures("bare")
def test_a_wrong_setting_is_a_finding_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTURN_CONNECT_TIMEOUT", "soon")
    ended = CliRunner().invoke(app, hoisted(["doctor", "--json"]))
    assert ended.exit_code == 1
    assert "INTURN_CONNECT_TIMEOUT" in ended.stdout


@pytest.mark.promise("SUR-12")
def test_sessions_in_trouble_are_named_by_their_trouble_with_what_to_do() -> None:
    many: dict[str, Health | BaseException] = dict.fromkeys((f"s{n}" for n in range(7)), "journal_behind")
    behind, ended = sessions.judge_sessions("acme", {**many, "fine": "ok", "x": "ended", "away": RuntimeError()})
    assert (behind.state, ended.state) == ("warn", "warn")
    assert "journal_behind: s0, s1, s2, s3, s4 and 2 more" in behind.found
    assert "inturn journal accept" in (behind.to_do or "")
    assert ended.found.startswith("ended: x:")
    [well] = sessions.judge_sessions("acme", {"fine": "ok"})
    assert well.state == "ok"

"""`.inturn/`: one holder, hidden from git, found by other commands only while its holder lives."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from contextlib import closing
from pathlib import Path

import pytest

from inturn.cli.dev_environment import load_dev_environment
from inturn.errors import Misconfigured
from inturn_worker.dev.attach import show_new
from inturn_worker.dev.command import end_by_signals
from inturn_worker.dev.output import Output
from inturn_worker.dev.state import StateDirectory


def test_one_holds_it_and_hides_it_from_git(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path)
    assert first.acquire()
    second = StateDirectory(tmp_path)
    assert not second.acquire()
    first.close()
    assert second.acquire()
    second.close()
    assert (tmp_path / ".inturn/.gitignore").read_text() == "*\n"


def test_a_place_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / ".inturn").touch()
    with pytest.raises(Misconfigured, match=r"\.inturn cannot be written .* directory of your own"):
        StateDirectory(tmp_path)


def test_forgetting_takes_server_and_journal_and_nothing_else(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    for name in ("temporal.db", "temporal.db-wal", "journal.sqlite", "journal.sqlite-shm", "mine"):
        (state.path / name).touch()
    state.forget()
    state.close()
    assert {path.name for path in state.path.iterdir()} == {".gitignore", "lock", "mine"}


def test_other_commands_find_the_server_only_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", environment := {"INTURN_JOURNAL": "mine"})
    state = StateDirectory(tmp_path)
    assert state.acquire()
    state.publish({"TEMPORAL_ADDRESS": "here:1", "TEMPORAL_TLS": "false", "INTURN_JOURNAL": "theirs"})
    load_dev_environment()
    assert environment == {"INTURN_JOURNAL": "mine", "TEMPORAL_ADDRESS": "here:1", "TEMPORAL_TLS": "false"}
    environment.clear()
    environment["TEMPORAL_ADDRESS"] = "there:1"
    load_dev_environment()
    assert environment == {"TEMPORAL_ADDRESS": "there:1", "INTURN_JOURNAL": "theirs"}
    written = (state.path / "env").read_text()
    state.close()
    (state.path / "env").write_text(written)  # as one leaves it that is killed
    environment.clear()
    load_dev_environment()
    assert environment == {}


def test_other_commands_read_what_was_published_to_the_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", environment := {"HOME": "/home/me"})
    with closing(StateDirectory(tmp_path)) as state:
        assert state.acquire()
        state.publish(published := {"INTURN_JOURNAL": "sqlite:////srv/a b #1/'${HOME}=ü'.sqlite"})
        load_dev_environment()
    assert environment == {"HOME": "/home/me", **published}


def test_each_line_of_a_text_stands_under_its_name_and_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).say("one\ntwo\x1b[2J", source="worker")
    assert capsys.readouterr().out == "worker | one\nworker | two�[2J\n"


@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_terminal_cannot_show_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    with closing(Output(as_json=as_json, record=tmp_path / "log")) as output:
        output.say("Grüße \ud800", files=["\udcff.py"])
    assert b"Gr" in terminal.buffer.getvalue()
    assert json.loads((tmp_path / "log").read_text("ascii"))["text"] == "Grüße \ud800"


def test_a_terminal_that_is_gone_asks_for_the_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    asked: list[int] = []
    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(signal, "raise_signal", asked.append)
    output = Output(as_json=False)
    output.say("one")
    output.say("two")
    assert asked == [signal.SIGTERM]


def test_who_attaches_sees_whole_lines_however_they_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output(as_json=False)
    with (tmp_path / "log").open("w") as log, (tmp_path / "log").open("rb") as record:
        raw = json.dumps({"from": "worker", "event": "line", "text": "x" * 20_000}) + "\n"
        for part in (raw[:9_000], raw[9_000:]):
            print(part, end="", file=log, flush=True)
            show_new(record, output, everything=True)
        log.seek(0)
        log.truncate()
        print(json.dumps({"from": "dev", "event": "note", "text": "begun anew"}), file=log, flush=True)
        show_new(record, output, everything=False)
    assert capsys.readouterr().out.splitlines() == [f"worker | {'x' * 20_000}", "dev    | begun anew"]


async def test_a_signal_that_was_ignored_at_the_start_stays_so_and_another_ends_the_work() -> None:
    loop, work = asyncio.get_running_loop(), asyncio.create_task(asyncio.Event().wait())
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        end_by_signals(work, lambda: None)
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait([work], timeout=5)
        assert work.cancelled()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)

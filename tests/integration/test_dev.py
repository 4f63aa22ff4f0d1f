"""`inturn dev` as people use it: files are saved, processes killed, terminals closed. Real servers and workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes.dev import DevProcess, environment, processes_in
from tests.support.rig import Rig
from tests.support.waiting import until

APP = """
from inturn import Agent
agents = [Agent("{name}", model="claude-sonnet-5-5", instructions="Be brief.")]
"""
READY_WITHIN = 10.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A user's repository, with packages named as folders of ours."""
    made = tmp_path / "mine"
    for package in ("workflows", "activities"):
        (made / package).mkdir(parents=True)
        (made / package / "__init__.py").touch()
    (made / "app.py").write_text(APP.format(name="support"))
    return made


def refused(directory: Path, *arguments: str) -> str:
    """What it says where it cannot start; with exit code 2, in little time."""
    command = [sys.executable, "-P", "-m", "inturn", "dev", *arguments]
    done = subprocess.run(
        command, cwd=directory, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


async def nothing_is_left(directory: Path) -> None:
    async def none() -> bool:
        return not processes_in(directory)

    await until(none, within=20)


def test_a_directory_without_agents_gets_an_example_and_nothing_is_made_in_it(tmp_path: Path) -> None:
    assert "agents = [Agent(" in refused(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_state_directory_that_cannot_be_made_is_named(directory: Path) -> None:
    (directory / ".inturn").touch()
    assert "a directory of your own" in refused(directory)


@pytest.mark.alone
@pytest.mark.timeout(600)
async def test_a_save_is_a_deploy_and_broken_code_leaves_the_old_worker_serving(directory: Path) -> None:
    with DevProcess(directory) as dev:
        ready = dev.ready()
        assert ready["seconds"] <= READY_WITHIN
        assert ready["worker"]["model"] == "scripted"
        assert ready["commands"][0] == 'inturn ask hello "Hello!"'
        assert dev.ask("hello", "one") == "You said: one"

        (directory / "app.py").write_text("import inturn\nagents = [\n")
        assert "app.py:2" in dev.until("broken")["text"]
        assert dev.ask("hello", "two") == "You said: two"
        (directory / "app.py").write_text(APP.format(name="support") + "1 / 0\n")
        assert "ZeroDivisionError" in dev.until("broken")["text"]
        assert dev.ask("hello", "three") == "You said: three"

        (directory / "app.py").write_text(APP.format(name="renamed"))
        reloaded = dev.until("reloaded")
        assert reloaded["worker"]["agents"] == "renamed"
        assert reloaded["worker"]["pid"] != ready["worker"]["pid"]
        assert dev.ask("other", "four") == "You said: four"

        os.kill(int(reloaded["worker"]["pid"]), signal.SIGKILL)
        assert "SIGKILL" in dev.until("crashed")["text"]
        assert dev.until("reloaded")["worker"]["agents"] == "renamed"
        assert dev.ask("other", "five") == "You said: five"
        assert dev.end(signal.SIGINT) == 0
    assert processes_in(directory) == []


@pytest.mark.timeout(600)
async def test_state_survives_the_end_and_is_forgotten_when_asked(directory: Path) -> None:
    with DevProcess(directory, "app:agents") as dev:
        dev.ready()
        dev.ask("hello", "one")
        assert dev.end(signal.SIGTERM) == 0
    with DevProcess(directory) as dev:
        dev.ready()
        assert [session["session_id"] for session in json.loads(dev.run("ls", "--json"))] == ["hello"]
        assert "one" in dev.run("tail", "hello")
        assert "before --fresh" in refused(directory, "--fresh")
        dev.end()
    with DevProcess(directory, "--fresh") as dev:
        dev.ready()
        assert json.loads(dev.run("ls", "--json")) == []
        dev.end()
    assert (directory / ".inturn" / ".gitignore").read_text() == "*\n"


@pytest.mark.timeout(600)
async def test_a_second_one_attaches_and_takes_nothing_with_it(directory: Path) -> None:
    with DevProcess(directory) as first:
        ready = first.ready()
        with DevProcess(directory) as second:
            second.until("attached")
            assert second.until("ready")["address"] == ready["address"]
            (directory / "app.py").write_text(APP.format(name="renamed"))
            assert second.until("reloaded")["worker"]["agents"] == "renamed"
            assert second.end() == 0
        assert first.ask("hello", "one") == "You said: one"
        with DevProcess(directory) as third:
            third.until("attached")
            first.end()
            third.until("detached")


@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its killed parent")
async def test_taken_ports_are_others_and_a_kill_leaves_nothing_and_the_next_start_goes_on(directory: Path) -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 7233))
            taken.listen()
        except OSError:
            pass  # somebody else has it: just as well
        with DevProcess(directory) as dev:
            address = dev.ready()["address"]
            assert address != "127.0.0.1:7233"
            dev.ask("hello", "one")
            dev.end(signal.SIGKILL)
        await nothing_is_left(directory)
    with DevProcess(directory) as dev:
        dev.ready()
        assert dev.ask("hello", "two") == "You said: two"
        assert "one" in dev.run("tail", "hello")
        dev.end()


@pytest.mark.timeout(600)
async def test_two_in_odd_directories_that_start_at_once_have_a_server_each(tmp_path: Path) -> None:
    directories = [tmp_path / name for name in ("a b ü #1?%41", "another")]
    for made in directories:
        made.mkdir()
        (made / "app.py").write_text(APP.format(name="support"))
    with DevProcess(directories[0]) as one, DevProcess(directories[1]) as two:
        assert one.ready()["address"] != two.ready()["address"]
        assert one.ask("hello", "one") == "You said: one"
        assert two.ask("hello", "two") == "You said: two"
        one.end()
        two.end()
    assert (directories[0] / ".inturn" / "temporal.db").is_file()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_it_ends_in_order_with_its_terminal_and_reader(directory: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-P", "-m", "inturn", "dev"]
    parent, terminal = os.openpty()
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    env = environment(**locale)
    with subprocess.Popen(command, cwd=directory, env=env, stdin=terminal, stdout=terminal, stderr=terminal) as dev:
        os.close(terminal)
        shown = b""
        while b"Ctrl-C ends it all" not in shown:
            shown += os.read(parent, 4096)
        os.close(parent)
        dev.send_signal(number)
        assert dev.wait(30) == 0
    record = (directory / ".inturn" / "dev.jsonl").read_text().splitlines()
    assert json.loads(record[-1])["event"] == "ended"
    assert processes_in(directory) == []


@pytest.mark.timeout(300)
async def test_a_named_server_that_answers_is_used_and_stays(rig: Rig, directory: Path) -> None:
    (directory / "app.py").write_text("agents = 1 / 0  # as saved in the middle of a thought\n")
    queue = {"TEMPORAL_ADDRESS": rig.address, "INTURN_TASK_QUEUE": rig.task_queue, "INTURN_TENANT": rig.tenant}
    with DevProcess(directory, "app:agents", env=queue) as dev:
        assert "no worker serves; correct it and save" in dev.until("broken")["text"]
        (directory / "app.py").write_text(APP.format(name="support"))
        ready = dev.ready()
        assert (ready["address"], ready["ui"]) == (rig.address, None)
        assert dev.ask("hello", "one") == "You said: one"
        began = time.monotonic()
        assert dev.end() == 0
        assert time.monotonic() - began < 10
    with DevProcess(directory, "--fresh", env=queue) as dev:
        assert f"not the sessions at {rig.address}" in dev.until("failed")["text"]
    assert (directory / ".inturn" / "journal.sqlite").is_file()
    assert processes_in(directory) == []
    assert await rig.temporal.service_client.check_health()

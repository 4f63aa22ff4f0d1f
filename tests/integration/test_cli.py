"""The command line against a real server and a real worker, as a person or a script uses it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from typer.testing import CliRunner

from inturn import Agent, SessionNotFound
from inturn.cli.app import app
from inturn.cli.options import hoisted
from tests.support.agents import agents
from tests.support.processes.server import ROOT
from tests.support.rig import Rig
from tests.support.stores import CLUSTER
from tests.support.waiting import until

WITHIN = 60.0


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Cli:
    """Runs `inturn` with this test's settings in the environment: in a thread, or as a process of its own."""

    def __init__(self, rig: Rig) -> None:
        self._cwd = rig.directory
        self._env = {
            "TEMPORAL_ADDRESS": rig.address,
            "INTURN_TENANT": rig.tenant,
            "INTURN_TASK_QUEUE": rig.task_queue,
            "INTURN_JOURNAL": rig.journal,
        }

    async def __call__(self, *arguments: str, **env: str) -> Ended:
        invoke = partial(CliRunner().invoke, app, hoisted(arguments), env={**self._env, **env})
        result = await asyncio.to_thread(invoke)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    @asynccontextmanager
    async def started(self, *arguments: str) -> AsyncIterator[Process]:
        path = f"{ROOT}{os.pathsep}{ROOT / 'client'}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "inturn", *arguments,
            stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**os.environ, **self._env, "PYTHONPATH": path}, cwd=self._cwd,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture
def inturn(rig: Rig) -> Cli:
    return Cli(rig)


async def _state(rig: Rig, session_id: str, wanted: str) -> None:
    async with rig.client() as client:

        async def reached() -> bool:
            try:
                return (await client.session(session_id).status()).state == wanted
            except SessionNotFound:
                return False

        await until(reached)


async def test_the_first_minutes_of_a_user(rig: Rig, inturn: Cli) -> None:
    async with rig.worker():
        sent = await inturn("send", "s", "hello", "--agent", "support", "--event-id", "e1", "--json")
        assert sent.json == {"event_id": "e1", "status": "sent", "position": None, "disposition": None}
        answer = await inturn("ask", "s", 'add [[tool add {"a": 1, "b": 2}]]', "--event-id", "e2")
        assert (answer.code, answer.out) == (0, "Results: add: 3\n")
        again = await inturn("wait", "s", "e1", "--json")
        assert again.json["text"] == "You said: hello"
        duplicate = await inturn("send", "s", "hello", "--event-id", "e1", "--confirm")
        assert (duplicate.code, duplicate.out) == (0, "e1 duplicate, which is applied\n")

        entries = (await inturn("tail", "s", "--json")).lines
        assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
        of_first = (await inturn("tail", "s", "--event", "e1", "--json")).lines
        assert {entry["event_id"] for entry in of_first} == {"e1"}
        assert len((await inturn("tail", "s", "--after", "5")).out.splitlines()) == len(entries) - 5

        shown = (await inturn("show", "s", "--json")).json
        assert (shown["state"], shown["source"], shown["counts"]["applied"]) == ("idle", "live", 2)
        audited = await inturn("audit", "s", "--deep", "--json")
        assert (audited.code, audited.json["ok"], audited.json["accepted"]) == (0, True, 2)

        async def listed() -> bool:
            return [info["session_id"] for info in (await inturn("ls", "--json")).json] == ["s"]

        await until(listed)


async def test_a_send_without_a_worker_is_durable_and_the_rest_says_so(rig: Rig, inturn: Cli) -> None:
    assert (await inturn("send", "s", "hi", "--agent", "support", "--event-id", "e1")).code == 0
    shown = await inturn("show", "s", "--json")
    assert (shown.json["source"], shown.json["health"]) == ("fallback", "no_worker")
    refused = await inturn("ask", "s", "again", "--event-id", "e2", "--json", INTURN_WORKER_TIMEOUT="1")
    assert refused.code == 4
    assert json.loads(refused.err)["error"] == "Unavailable"
    assert json.loads(refused.err)["notes"] == ["session s, event e2"]
    async with rig.worker():
        assert (await inturn("wait", "s", "e1")).out == "You said: hi\n"


async def test_a_parked_event_is_listed_redriven_and_discarded(rig: Rig, inturn: Cli) -> None:
    async with rig.worker():
        for session in ("s1", "s2"):
            failed = await inturn("ask", session, "hi", "--agent", "late", "--event-id", "e1")
            assert failed.code == 1
            assert "unknown agent 'late'" in failed.err
            assert "inturn redrive" in failed.err
        [parked] = (await inturn("parked", "s1", "--json")).json
        assert (parked["event_id"], parked["preview"]) == ("e1", "hi")
        assert "unknown agent" in (await inturn("show", "s1")).out
        assert (await inturn("discard", "s2", "e1", "--reason", "no use")).code == 0
    late = Agent("late", model="claude-sonnet-5-5", instructions="Better late.")
    async with rig.worker([*agents.agents, late]):
        assert (await inturn("redrive", "s1", "e1")).code == 0
        assert (await inturn("wait", "s1", "e1")).out == "You said: hi\n"

        async def none_is_parked() -> bool:
            return all([(await inturn("parked", session, "--json")).json == [] for session in ("s1", "s2")])

        await until(none_is_parked)


async def test_mistakes_and_missing_things_have_their_exit_codes(rig: Rig, inturn: Cli) -> None:
    async with rig.worker():
        await inturn("ask", "s", "hi", "--agent", "support")
        assert (await inturn("ask", "s", "")).code == 2
        assert (await inturn("ask", "no/id", "hi")).code == 2
        assert (await inturn("show", "nowhere")).code == 1
        assert (await inturn("interrupt", "s")).code == 1
        assert (await inturn("redrive", "s", "nothing")).code == 2
        assert (await inturn("pause", "s")).code == 0
        assert (await inturn("send", "s", "waits", "--event-id", "w1", "--confirm")).code == 0
        busy = await inturn("send", "s", "hi", "--when-busy", "reject", "--confirm")
        assert busy.code == 3
        assert "try again in" in busy.err
        late = await inturn("wait", "s", "w1", "--timeout", "0.2")
        assert late.code == 4
        assert (await inturn("cancel", "s", "w1")).code == 0
        assert (await inturn("wait", "s", "w1")).code == 1
        assert (await inturn("close", "s")).code == 0
        await _state(rig, "s", "closed")
        assert (await inturn("send", "s", "too late")).code == 1


async def test_without_a_server_a_call_fails_in_words_and_a_journal_can_still_be_read(rig: Rig, inturn: Cli) -> None:
    async with rig.worker():
        await inturn("ask", "s", "hi", "--agent", "support")
    gone = {"TEMPORAL_ADDRESS": "127.0.0.1:1", "INTURN_CONNECT_TIMEOUT": "0.5"}
    failed = await inturn("ask", "s", "hi", **gone)
    assert failed.code == 4
    assert "127.0.0.1:1" in failed.err
    assert "inturn doctor" in failed.err
    assert "You said: hi" in (await inturn("tail", "s", **gone)).out


async def test_tail_follows_until_the_session_is_closed(rig: Rig, inturn: Cli) -> None:
    async with rig.worker():
        await inturn("ask", "s", "one", "--agent", "support")
        async with inturn.started("tail", "s", "--follow", "--json") as process:
            assert process.stdout is not None
            async with asyncio.timeout(WITHIN):
                first = json.loads(await process.stdout.readline())
                await inturn("ask", "s", "two")
                await inturn("close", "s")
                rest = [json.loads(line) for line in (await process.stdout.read()).splitlines()]
                assert await process.wait() == 0
        assert first["type"] == "session.started"
        assert "You said: two" in json.dumps(rest)
        assert rest[-1]["type"] == "session.closed"


async def test_chat_answers_and_ctrl_c_interrupts_the_running_turn_only(rig: Rig, inturn: Cli) -> None:
    async with rig.worker(), inturn.started("chat", "s", "--agent", "support") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        async with asyncio.timeout(WITHIN):
            process.stdin.write(b"hello\n")
            assert await process.stdout.readline() == b"You said: hello\n"
            process.stdin.write(b"slow [[delay 300]]\n")
            await _state(rig, "s", "running")
            process.send_signal(signal.SIGINT)
            await _state(rig, "s", "idle")
            process.stdin.write(b"and now?\n")
            assert await process.stdout.readline() == b"You said: and now?\n"
            process.stdin.write(b"/quit\n")
            _, err = await process.communicate()
        assert process.returncode == 0
        assert b"(interrupted)" in err
        assert b"Traceback" not in err


async def test_ctrl_c_leaves_an_ask_and_says_how_to_come_back(rig: Rig, inturn: Cli) -> None:
    async with rig.worker():
        async with inturn.started("ask", "s", "slow [[delay 2]]", "--agent", "support", "--event-id", "e1") as process:
            await _state(rig, "s", "running")
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(WITHIN):
                out, err = await process.communicate()
        assert (process.returncode, out) == (130, b"")
        assert b"session s, event e1 goes on" in err
        assert (await inturn("wait", "s", "e1")).out == "You said: slow\n"


def _failing(ended: Ended) -> set[str]:
    return {check["name"] for check in ended.json["checks"] if check["state"] == "fail"}


async def test_the_doctor_finds_everything_with_a_worker_and_its_absence_without(rig: Rig, inturn: Cli) -> None:
    without = await inturn("doctor", "--json")
    assert without.code == 1
    unsafe = {"postgresql"} if CLUSTER else set[str]()  # fsync is off where tests run
    assert _failing(without) == {"workers"} | unsafe
    async with rig.worker():

        async def healthy() -> Ended | None:
            ended = await inturn("doctor", "--json")
            return ended if _failing(ended) == unsafe else None

        found = await until(healthy)
        assert found is not None
        states = {check["name"]: check["state"] for check in found.json["checks"]}
        assert states["server"] == states["namespace"] == states["search attributes"] == states["journal"] == "ok"
        assert states["lost machines"] == "ok", "the test's server asks after three seconds of silence"
    unknown = await inturn("doctor", "--namespace", "nowhere", "--json")
    assert unknown.code == 1
    assert "namespace create --namespace nowhere" in unknown.out


async def test_a_reader_that_has_seen_enough_is_no_failure(rig: Rig, inturn: Cli) -> None:
    async with rig.worker():
        await inturn("ask", "s", "hi", "--agent", "support")
    for form in ("--json", "--follow"):
        async with inturn.started("tail", "s", form) as process:
            assert process.stdout is not None
            process.stdout._transport.close()  # type: ignore[attr-defined]
            async with asyncio.timeout(WITHIN):
                err = await process.stderr.read() if process.stderr else b""
                assert (await process.wait(), err) == (0, b"")

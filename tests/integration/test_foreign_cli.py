"""Whatever others send by Temporal's own command line, the session goes on and says what it was."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Final

import pytest

from inturn import Session
from tests.support.histories import replayed
from tests.support.processes.server import ROOT, clean_environment
from tests.support.rig import Rig
from tests.support.waiting import until

Inputs = dict[str, tuple[str, ...]]
EVENT: Final = '{"event_id": "%s", "content": "hi"}'
SIGNALS: Final[Inputs] = {
    "nothing": (),
    "null": ("--input", "null"),
    "a list": ("--input", "[]"),
    "a text": ("--input", '"text"'),
    "a number": ("--input", "17"),
    "two": ("--input", EVENT % "twice", "--input", EVENT % "twice"),
    "an id that is none": ("--input", EVENT % "odd id"),
    "no content": ("--input", '{"event_id": "empty", "content": ""}'),
    "content of another kind": ("--input", '{"event_id": "kind", "content": {"a": [1, null]}}'),
    "binary": ("--input", EVENT % "binary", "--input-meta", "encoding=binary/plain"),
    "null by its encoding": ("--input", EVENT % "null", "--input-meta", "encoding=binary/null"),
    "protobuf": ("--input", EVENT % "proto", "--input-meta", "encoding=json/protobuf"),
    "no encoding that anybody knows": ("--input", EVENT % "unknown", "--input-meta", "encoding=x/y"),
    "bytes": ("--input", "/4AAwP8=", "--input-base64", "--input-meta", "encoding=binary/plain"),
    "a wait": ("--input", '{"event_id": "waits", "wait": true}'),
    "again": ("--input", '{"event_id": "first", "content": "hi", "again": -1e308, "after": ["x"], "inline": {}}'),
}
CONTROLS: Final[Inputs] = {
    "nothing": (),
    "null": ("--input", "null"),
    "no id": ("--input", '{"op": "pause"}'),
    "no such thing": ("--input", '{"op": "fly", "control_id": "c1"}'),
    "two": ("--input", '{"op": "pause", "control_id": "c2"}', "--input", '{"op": "pause", "control_id": "c3"}'),
    "binary": ("--input", '{"op": "pause", "control_id": "c4"}', "--input-meta", "encoding=binary/plain"),
    "of another kind": ("--input", '{"op": ["pause"], "control_id": 4}'),
    "for nobody": ("--input", '{"op": "redrive", "control_id": "c5", "event_id": "nobody"}'),
}
STARTS: Final[Inputs] = {
    "nothing": (),
    "null": ("--input", "null"),
    "two": ("--input", '{"agent": "support"}', "--input", '{"agent": "support"}'),
    "a text": ("--input", '"support"'),
    "an agent of another kind": ("--input", '{"agent": {"name": "support"}, "state": 5, "limits": [1]}'),
    "binary": ("--input", '{"agent": "support"}', "--input-meta", "encoding=binary/plain"),
    "bytes": ("--input", "/4AAwP8=", "--input-base64", "--input-meta", "encoding=binary/plain"),
}


class CommandLine:
    """Temporal's own, three at once."""

    def __init__(self, rig: Rig, program: str) -> None:
        self.rig, self.program = rig, program
        self._places = asyncio.Semaphore(3)

    @classmethod
    async def found(cls, rig: Rig) -> CommandLine:
        which = [str(ROOT / "scripts" / "temporal"), "--which"]
        made = await asyncio.to_thread(subprocess.run, which, capture_output=True, text=True, check=True)
        return cls(rig, made.stdout.partition("\t")[0])

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Return its exit code, and all that it prints."""
        async with self._places:
            process = await asyncio.create_subprocess_exec(
                self.program,
                *arguments,
                env=clean_environment() | {"TEMPORAL_ADDRESS": self.rig.address},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    async def each(self, *arguments: str, inputs: Inputs) -> dict[str, tuple[int, str]]:
        """Run it with each input."""
        ran = await asyncio.gather(*(self.run(*arguments, *given) for given in inputs.values()))
        return dict(zip(inputs, ran, strict=True))


async def _answers(rig: Rig, session: Session, event_id: str = "after") -> None:
    """It answers, its books are right, and any worker could take it up."""
    assert "hi" in (await session.ask("hi", event_id=event_id, timeout=60)).text
    status = await session.status()
    assert (status.state, status.health) == ("idle", "ok")
    audit = await session.audit(deep=True)
    assert audit.ok, audit.differences
    assert await replayed(rig.temporal, str(rig.key(session.session_id)))


@pytest.mark.promise("ACC-7", "SEC-5", "SUR-12")
async def test_odd_messages_by_the_command_line_are_parked_or_refused_and_cost_nobody_anything(rig: Rig) -> None:
    command = await CommandLine.found(rig)
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="first")
        of = ("--workflow-id", str(rig.key("s")))
        signal, update = ("workflow", "signal", *of, "--name"), ("workflow", "update", "execute", *of, "--name")
        typo: Inputs = {"unknown": ("--input", EVENT % "typo")}
        for name, inputs in (("submit", SIGNALS), ("control", CONTROLS), ("sbumit", typo)):
            sent = await command.each(*signal, name, inputs=inputs)
            assert not (failed := {of: said for of, (code, said) in sent.items() if code}), failed
        refused = await command.each(
            *update, "submit", inputs={k: v for k, v in SIGNALS.items() if k not in ("again", "a wait")}
        )
        assert not (taken := {of: said for of, (code, said) in refused.items() if not code}), taken
        refused |= await command.each(*update, "control", inputs=CONTROLS)
        refused |= await command.each(*update, "odd", inputs={"unknown": ("--input", EVENT % "x")})
        assert not (taken := {of: said for of, (code, said) in refused.items() if not code}), taken
        assert not any("Traceback" in said for _, said in refused.values())
        query = ("workflow", "query", *of, "--name")
        for odd in SIGNALS.values():
            code, said = await command.run(*query, "status", *odd)
            assert code == 0 or "panic" not in said
        assert (await command.run(*query, "odd"))[0] != 0
        parked = await until(lambda: _parked(session, {"empty", "kind", "typo"}))
        assert "first" not in parked, "it was a duplicate"
        await _answers(rig, session)


@pytest.mark.promise("ACC-7", "SEC-5")
async def test_however_the_command_line_starts_a_session_it_is_one_as_any(rig: Rig) -> None:
    command = await CommandLine.found(rig)
    async with rig.worker(), rig.client() as client:

        async def begun(number: int, given: tuple[str, ...]) -> None:
            session_id = f"s{number}"
            start = ("workflow", "start", "--type", "Session", "--task-queue", rig.task_queue)
            code, said = await command.run(*start, "--workflow-id", str(rig.key(session_id)), *given)
            assert code == 0, said
            await _answers(rig, client.session(session_id, agent="support"))

        await asyncio.gather(*(begun(number, given) for number, given in enumerate(STARTS.values())))


@pytest.mark.promise("SUR-11", "SUR-5", "ACC-1")
async def test_a_reset_and_a_terminate_by_the_command_line_lose_nothing(rig: Rig) -> None:
    command = await CommandLine.found(rig)
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        of = ("--workflow-id", str(rig.key("s")), "--reason", "test")
        for n in range(3):
            await session.ask("hi", event_id=f"e{n}")
        code, said = await command.run("workflow", "reset", *of, "--type", "FirstWorkflowTask")
        assert code == 0, said
        await _answers(rig, session, "after-reset")
        await session.send('[[tool wait {"seconds": 2}]]', event_id="long")
        await until(lambda: _runs(session))
        await session.send("hi", event_id="waits")
        code, said = await command.run("workflow", "terminate", *of)
        assert code == 0, said
        await _answers(rig, session, "after-terminate")
        begun = [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]
        assert begun == ["e0", "e1", "e2", "after-reset", "long", "waits", "after-terminate"]


async def _parked(session: Session, expected: set[str]) -> set[str]:
    parked = {parked.event_id for parked in await session.parked()}
    return parked if expected <= parked else set()


async def _runs(session: Session) -> bool:
    return (await session.status()).turn is not None

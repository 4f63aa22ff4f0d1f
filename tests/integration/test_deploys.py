"""Rolling deploys of two real builds of this project under load: another workflow, another agent, and nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause

from inturn import Client
from inturn.client.drain import Drain
from inturn.client.temporal.connection import Connection
from tests.support.builds import make_build, make_current, moves_pinned
from tests.support.histories import runs
from tests.support.processes.server import WorkerProcess
from tests.support.rig import Rig
from tests.support.waiting import until

SESSIONS = 6
SHORT = 90
"""Events of a run: a session begins several while the builds change."""
LONG = 1_000
"""Events of a run that does not end by itself meanwhile."""

AGENTS = '''
from pathlib import Path
import inturn_activities, inturn_workflows
from inturn import Agent, tool

BUILD = Path(inturn_activities.__file__).parents[1].name
assert Path(inturn_workflows.__file__).parents[1].name == BUILD

@tool
async def build() -> str:
    """Tell which build this is."""
    return BUILD

agents = [Agent("support", model="m", instructions=f"You are {BUILD}.", tools=[build])]
'''
# A timer more in each turn: a history of the one build does not replay on the other, but for the gate.
GATED = {
    "inturn_workflows/patches.py": (
        'Gates change the shell alone: the inbox, the turn and the state stay pure.\n"""\n',
        'Gates change the shell alone: the inbox, the turn and the state stay pure.\n"""\n\n'
        "from temporalio import workflow\n\n\ndef pauses_before_turns() -> bool:\n"
        '    """Before: a turn began at once."""\n    return workflow.patched("pauses-before-turns")\n',
    ),
    "inturn_workflows/session.py": (
        "    async def _run_turn(self, turn: TurnState) -> None:\n",
        "    async def _run_turn(self, turn: TurnState) -> None:\n"
        "        from inturn_workflows import patches\n\n"
        "        if patches.pauses_before_turns():\n            await workflow.sleep(0.001)\n",
    ),
}


@dataclass
class Load:
    """Producers that ask one thing after the other, each of its own session."""

    client: Client
    stopped: bool = False
    builds: dict[str, list[str]] = field(default_factory=dict)
    """Of each session: which build ran each turn's call, in order."""

    async def produce(self, name: str) -> None:
        """Ask until it is stopped."""
        session, told = self.client.session(name, agent="support"), self.builds[name]
        while not self.stopped:
            turn = await session.ask("[[tool build {}]]", event_id=f"e{len(told)}", timeout=60)
            assert [call.status for call in turn.tool_calls] == ["ok"]
            told.append(str(turn.tool_calls[0].result))

    async def more(self, turns: int, build: str | None = None) -> None:
        """Wait until each session has had so many more turns, the last of them on a build."""
        before = {name: len(told) for name, told in self.builds.items()}

        async def had() -> bool:
            return all(
                len(told) >= before[name] + turns and (build is None or told[-1] == build)
                for name, told in self.builds.items()
            )

        await until(had, within=60)


@asynccontextmanager
async def loaded(rig: Rig, client: Client, run: int) -> AsyncIterator[Load]:
    """Sessions under load whose runs have so many events; what they did is complete, once it ends."""
    load = Load(client, builds={f"s{n}": [] for n in range(SESSIONS)})
    for n in range(SESSIONS):
        await rig.temporal.start_workflow(
            "Session",
            {"agent": "support", "limits": {"events": run}},
            id=str(rig.key(f"s{n}")),
            task_queue=rig.task_queue,
        )
    producing = asyncio.gather(*(load.produce(f"s{n}") for n in range(SESSIONS)))
    waiting = asyncio.ensure_future(_end(load, producing))
    try:
        yield load
    finally:
        load.stopped = True
        await waiting


async def _end(load: Load, producing: asyncio.Future[list[None]]) -> None:
    try:
        await producing
    finally:
        load.stopped = True


def _worker(rig: Rig, tmp_path: Path, build: str, *options: str) -> WorkerProcess:
    edits = GATED if build == "second" else {}
    env = make_build(tmp_path / build, edits)
    (tmp_path / build / "shop.py").write_text(AGENTS)
    log = tmp_path / f"{build}.log"
    return WorkerProcess(
        rig.address, rig.task_queue, rig.journal, "shop:agents", env=env, options=options, cwd=tmp_path / build, log=log
    )


async def _check(rig: Rig, load: Load) -> None:
    """All that was asked was answered, in order, by the builds in their order; no task failed; the new way was gone."""
    gates = 0
    for name, told in load.builds.items():
        assert told == sorted(told), f"{name} went back to an older build: {told}"
        assert set(told) == {"first", "second"}
        session = load.client.session(name)
        said = [entry.event_id async for entry in session.entries() if entry.type == "user.message"]
        assert said == [f"e{n}" for n in range(len(told))]
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
        chain = await runs(rig.temporal, str(rig.key(name)))
        for run in chain:
            history = await rig.temporal.get_workflow_handle(str(rig.key(name)), run_id=run).fetch_history()
            for event in history.events:
                gates += event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED
                if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                    cause = event.workflow_task_failed_event_attributes.cause
                    # A message came in while a run ended, and is in the next one.
                    assert cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
    assert gates >= SESSIONS


@pytest.mark.promise("SUR-2", "SUR-7", "ACC-2", "ORD-1")
async def test_a_build_with_another_workflow_takes_over_from_workers_that_have_ended(rig: Rig, tmp_path: Path) -> None:
    async with rig.client() as client:
        second = _worker(rig, tmp_path, "second")
        with _worker(rig, tmp_path, "first") as first:
            async with loaded(rig, client, SHORT) as load:
                await load.more(3)
                assert await asyncio.to_thread(first.stop) == 0
                await asyncio.to_thread(second.start)
                await load.more(8, "second")
            await _check(rig, load)
            second.stop()


@pytest.mark.promise("SUR-2", "SUR-7", "ACC-2", "ORD-1")
@pytest.mark.parametrize("pin", [False, True], ids=["auto-upgrade", "pinned"])
async def test_a_build_becomes_the_current_one_under_load_and_the_old_workers_stop(
    rig: Rig, tmp_path: Path, pin: bool
) -> None:
    if pin and not await moves_pinned(rig.temporal):
        pytest.skip("servers before 1.31 keep pinned sessions on their build")
    options = ("--pin",) if pin else ()
    async with rig.client() as client:
        first = _worker(rig, tmp_path, "first", "--version", f"{rig.tenant}:1", *options)
        second = _worker(rig, tmp_path, "second", "--version", f"{rig.tenant}:2", *options)
        with first, second:
            await make_current(rig.temporal, f"{rig.tenant}:1")
            async with loaded(rig, client, LONG if pin else SHORT) as load:
                await load.more(3, "first")
                await make_current(rig.temporal, f"{rig.tenant}:2")
                connection = Connection(rig.address)
                async with asyncio.timeout(60):
                    drained = [found async for found in Drain(connection, f"{rig.tenant}:1").run()]
                await connection.close()
                assert drained[-1].done
                assert (drained[-1].told >= SESSIONS) is pin
                assert await asyncio.to_thread(first.stop) == 0
                await load.more(8, "second")
            await _check(rig, load)

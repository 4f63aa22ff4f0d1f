"""File tools in real workers: many sessions on one file, and workers that die while they write."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from inturn import Agent, Turn
from inturn.tools import files
from inturn.tools.ready.rooted import STAGED
from tests.support.rig import Rig
from tests.support.waiting import until


def use(name: str, **arguments: object) -> str:
    return f"[[tool {name} {json.dumps(arguments)}]]"


def ends(turn: Turn) -> list[tuple[str | None, str]]:
    return [(call.status, str(call.result)) for call in turn.tool_calls]


@pytest.mark.promise("SHR-7")
async def test_a_session_overwrites_only_what_it_has_read_and_nobody_changed_since(rig: Rig) -> None:
    root = rig.directory / "workspace"
    agent = Agent("writer", model="claude-sonnet-5-5", instructions="Be brief.", tools=files(root))
    async with rig.worker([agent]), rig.client() as client:
        mine, theirs = client.session("mine"), client.session("theirs")

        async def does(session: object, name: str, **arguments: object) -> tuple[str | None, str]:
            assert session in (mine, theirs)
            [end] = ends(await (mine if session is mine else theirs).ask(use(name, **arguments)))
            return end

        assert await does(mine, "write_file", path="a.txt", content="1") == ("ok", "wrote a.txt")
        status, text = await does(theirs, "write_file", path="./a.txt", content="2")
        assert (status, "has not read it" in text) == ("error", True)
        assert await does(theirs, "read_file", path="a.txt") == ("ok", "1")
        assert (await does(theirs, "write_file", path="a.txt", content="2"))[0] == "ok"
        status, text = await does(mine, "write_file", path="a.txt", content="3")
        assert (status, "was changed since this session read it" in text) == ("error", True)
        assert await does(mine, "read_file", path="a.txt") == ("ok", "2")
        assert (await does(mine, "write_file", path="a.txt", content="3"))[0] == "ok"
    assert (root / "a.txt").read_text() == "3"


@pytest.mark.promise("SHR-7", "SHR-1")
async def test_appends_of_many_sessions_and_workers_never_interleave_and_none_is_lost(rig: Rig) -> None:
    root = rig.directory / "workspace"
    workers = [
        rig.process(agents="tests.support.agents.writers:agents", INTURN_TEST_WORKSPACE=str(root)).start(wait=False)
        for _ in range(2)
    ]
    for worker in workers:
        await asyncio.to_thread(worker.until_ready)
    lines = {f"{n}-{i}": f"{n}-{i} {'x' * 5_000} {n}-{i}\n" for n in range(4) for i in range(3)}
    async with rig.client() as client:

        async def writes(n: int) -> list[tuple[str | None, str]]:
            # Two spellings of one file, by calls of one step that run at once.
            calls = [use("append_file", path=("log", "./log")[i % 2], content=lines[f"{n}-{i}"]) for i in range(3)]
            return ends(await client.session(f"s{n}").ask(" ".join(calls), timeout=60))

        written = await asyncio.gather(*(writes(n) for n in range(4)))
    assert {end for session in written for end in session} == {("ok", "appended to log")}
    assert Counter((root / "log").read_text().splitlines(keepends=True)) == Counter(lines.values())


@pytest.mark.promise("SHR-7", "EFF-1", "SUR-1")
async def test_workers_that_are_killed_while_they_append_lose_nothing_and_repeat_nothing(rig: Rig) -> None:
    root = rig.directory / "workspace"
    options = {"agents": "tests.support.agents.writers:agents", "INTURN_TEST_WORKSPACE": str(root)}
    spare = rig.process(**options)
    worker = await asyncio.to_thread(rig.process(**options).start)
    count = 8
    async with rig.client() as client:
        session = client.session("s", agent="writer")
        for n in range(count):
            await session.send(use("append_file", path="log", content=f"line {n}\n"), event_id=f"e{n}")

        def lines() -> list[str]:
            return (root / "log").read_text().splitlines() if (root / "log").exists() else []

        for kill in range(2):
            before = len(lines())

            async def writing(before: int = before) -> bool:
                # In the middle of a write, or right behind it.
                return len(lines()) > before or any(path.name.startswith(STAGED) for path in root.glob(".*"))

            await until(writing, every=0.001)
            await asyncio.to_thread(worker.kill)
            worker = spare if kill == 0 else rig.process(**options)
            await asyncio.to_thread(worker.start)
        turn = await session.wait(f"e{count - 1}", timeout=60)
    assert ends(turn) == [("ok", "appended to log")]
    assert lines() == [f"line {n}" for n in range(count)]
    assert not list(Path(root).glob(f"{STAGED}*"))

"""Workers that are killed in the middle of a recovery cost no event, no order and no second turn, however often."""

from __future__ import annotations

from typing import Any

import pytest

from inturn import Session
from tests.support.histories import replayed, settled
from tests.support.processes.server import WorkerProcess
from tests.support.rig import Rig
from tests.support.waiting import until

pytestmark = pytest.mark.promise("SUR-1", "SUR-11", "ACC-1", "ORD-1")

ACCEPTED = 60
PLACES = ("sent 1", "looked", "sent 30", "sent 2", "sent all", "done")


async def _left_open(rig: Rig, session: Session) -> list[str]:
    """Have a run accept events of every size, and end it from outside; return those that are to run, in order."""
    await session.ask("hi", event_id="done")
    await session.pause()
    for n in range(ACCEPTED):
        content = "hi" if n % 4 else f"[[say ok]] {'x' * 20_000}"
        numbered: dict[str, Any] = {"source": "s", "sequence": n // 5} if n % 5 == 0 else {}
        await session.send(content, event_id=f"e{n}", **numbered)
    for n in range(3, ACCEPTED, 20):
        assert await session.cancel(f"e{n}")
    await rig.temporal.get_workflow_handle(str(rig.key("s"))).terminate("an operator")
    await session.send("came since", event_id="new")
    return ["done", *(f"e{n}" for n in range(ACCEPTED) if n % 20 != 3), "new"]


async def test_workers_that_are_killed_one_after_the_other_lose_and_double_nothing(rig: Rig) -> None:
    places = rig.directory / "places"
    places.write_text("".join(f"{place}\n" for place in PLACES))

    def worker() -> WorkerProcess:
        agents = "tests.support.agents.recovering:agents"
        return rig.process(agents=agents, INTURN_TEST_PLACES=str(places), INTURN_BEAT="0.4").start(wait=False)

    async with rig.client() as client:
        session = client.session("s", agent="support")
        async with rig.worker():
            expected = await _left_open(rig, session)
        workers = [worker() for _ in range(2)]
        for _ in PLACES:

            async def killed() -> list[WorkerProcess]:
                return [process for process in workers if process.dead]

            victim, *_ = await until(killed, within=60)
            workers.remove(victim)
            workers.append(worker())
        assert (await session.wait("new", timeout=90)).disposition == "applied"
        assert places.read_text() == ""
        started = [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]
        assert started == expected
        await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
        assert await replayed(rig.temporal, str(rig.key("s"))) >= 1

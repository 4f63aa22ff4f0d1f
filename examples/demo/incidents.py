"""What happens to the sessions: a worker is killed in mid-turn, and a person is asked for approval.

Invariant: the kill hits a worker while a tool runs whose effect the shop has booked and whose result nobody has yet:
the moment at which a careless retry pays twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from examples.demo.stage import Stage
from examples.shop import Shop
from inturn import Approval, Client, SessionNotFound
from inturn.keys import StepKey

if TYPE_CHECKING:
    from examples.demo.table import Board

POLL: Final = 0.03


@dataclass
class Kill:
    """The kill, as far as it went. Times are the event loop's seconds."""

    step: StepKey | None = None
    victim: str = ""
    heir: str = ""
    at: float = 0.0
    recovered: float | None = None
    waiting: int = 0
    """Events that waited in that session when the turn was done."""


async def kill_in_mid_refund(stage: Stage, client: Client, kill: Kill, board: Board) -> None:
    """Kill the worker whose refund was booked first, and watch the other one take over."""
    shop, clock = Shop(stage.shop), asyncio.get_running_loop().time

    async def requests() -> list[dict[str, Any]]:
        key = "%" if kill.step is None else str(kill.step)
        query = "SELECT pid, key FROM requests WHERE action = 'refund' AND key LIKE ? ORDER BY at"
        return await asyncio.to_thread(shop.rows, query, key)

    first = (await _until(requests))[0]
    worker = stage.worker(first["pid"])
    worker.kill()
    kill.at, kill.victim, kill.step = clock(), worker.name, StepKey.parse(first["key"])
    session = kill.step.session.session_id
    board.tell(f"{worker.name} is in {session}'s refund: the shop has booked it and not answered yet. SIGKILL.")

    async def others() -> list[dict[str, Any]]:
        return [request for request in await requests() if request["pid"] != first["pid"]]

    heir = (await _until(others))[0]
    kill.heir = stage.worker(heir["pid"]).name
    board.tell(
        f"{kill.heir} repeats the call under the same key, {clock() - kill.at:.1f} s later: the shop booked it before"
    )
    await client.session(session).wait(kill.step.turn.event_id)
    kill.recovered = clock() - kill.at
    status = await client.session(session).status()
    kill.waiting = len(status.queue)
    board.tell(
        f"{session}'s turn is done, {kill.recovered:.1f} s after the kill; {kill.waiting} events waited behind it"
    )
    await board.keep_frame()


async def approve_when_asked(client: Client, approved: list[str], board: Board) -> None:
    """Be the person who agrees to large refunds; only one order is large enough to ask."""
    session = client.session("order-1004")

    async def asked() -> list[Approval]:
        with suppress(SessionNotFound):  # nobody wrote there yet
            return list((await session.status()).approvals)
        return []

    approval = (await _until(asked, every=0.5))[0]
    board.tell(f"{session.session_id} waits for a person: {approval.tool} {getattr(approval, 'preview', '')}")
    await asyncio.sleep(1.0)  # people take their time
    await session.approve(approval.approval_id, by="manager")
    approved.append(approval.call_id)
    board.tell(f"the manager approves it, {session.session_id} goes on")


async def _until(found: Callable[[], Awaitable[list[Any]]], every: float = POLL) -> list[Any]:
    """Poll until something is found; the demo as a whole has a bound."""
    while True:
        if items := await found():
            return items
        await asyncio.sleep(every)

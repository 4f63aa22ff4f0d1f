"""A session that is reset gets every message at once: what it decides then, the journal may know otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from inturn import Agent, InboxPolicy, ModelError, Session
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.models.scripted import ScriptedModel
from tests.support.histories import replayed, reset, settled
from tests.support.rig import Rig
from tests.support.waiting import until

pytestmark = pytest.mark.promise("SUR-11", "ACC-8")


@pytest_asyncio.fixture(autouse=True)
async def every_history_replays(rig: Rig) -> AsyncIterator[None]:
    """After each scenario, have its histories replayed: a worker that starts then must be able to go on."""
    yield
    assert await replayed(rig.temporal, str(rig.key("s")))


class Refusing(ScriptedModel):
    """Refuses one event, and answers the others."""

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        if "broken" in str(request.messages[-1]):
            raise ModelError("this cannot be answered", kind="own")
        return await super().respond(request, on_delta)


def small() -> Agent:
    """An agent whose sessions hold little."""
    return Agent("small", model="claude-sonnet-5-5", instructions="Be brief.", inbox=InboxPolicy(capacity=3))


async def _cancel(session: Session) -> None:
    for event_id in ("e1", "e2", "e3"):
        assert not await session.cancel(event_id)


async def _interrupt(session: Session) -> None:
    await session.interrupt(event_id="e1")
    await session.interrupt(clear_queue=True)


async def _cancel_and_clear(session: Session) -> None:
    await session.cancel("e2")
    await session.interrupt(clear_queue=True)


async def _discard(session: Session) -> None:
    await session.discard("e2")
    await session.interrupt(clear_queue=True)


TOO_LATE = [_cancel, _interrupt, _cancel_and_clear, _discard]


@pytest.mark.parametrize("decide", TOO_LATE)
async def test_what_came_too_late_for_an_event_changes_nothing_of_its_end_after_a_reset(
    rig: Rig, decide: Callable[[Session], Awaitable[None]]
) -> None:
    async with rig.worker(model=Refusing()), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e0")
        await session.ask("hi", event_id="e1")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        await session.send("broken", event_id="e2")
        await session.ask("hi", event_id="e3")
        await settled(handle)
        await decide(session)
        await settled(handle)
        before = (await session.status()).counts
        parked = [parked.event_id for parked in await session.parked()]
        await reset(rig.temporal, str(rig.key("s")), 0)

        async def again() -> bool:
            return (await session.status()).counts.get("accepted") == before["accepted"]

        await until(again)
        await settled(handle)
        assert (await session.status()).counts == before
        assert [parked.event_id for parked in await session.parked()] == parked
        assert (await session.ask("and now?", event_id="after")).disposition == "applied"
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


async def _reset(rig: Rig, session: Session, accepted: int) -> None:
    """Reset a session to its first task, and wait until it has counted its events again and is quiet."""
    await reset(rig.temporal, str(rig.key("s")), 0)

    async def again() -> bool:
        return (await session.status()).counts.get("accepted", 0) >= accepted

    await until(again)
    await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))


async def test_more_than_fits_at_once_is_no_difference_after_a_reset(rig: Rig) -> None:
    async with rig.worker([small()]), rig.client() as client:
        session = client.session("s", agent="small")
        for n in range(6):
            await session.ask("hi", event_id=f"e{n}")
            await session.send("hi", event_id=f"s{n}")
        await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
        before = (await session.status()).counts
        assert before == {"accepted": 12, "applied": 12}
        await _reset(rig, session, 12)
        status = await session.status()
        assert status.counts.get("applied") == 12
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


async def test_what_was_merged_otherwise_before_a_reset_has_one_end(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e0")
        for n in range(3):
            await session.send("hi", event_id=f"m{n}", when_busy="merge")
            await session.ask("hi", event_id=f"e{n + 1}")
        before = (await session.status()).counts
        await session.interrupt(clear_queue=True)
        await _reset(rig, session, before["accepted"])
        assert (await session.status()).counts == before
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences

"""Exceptions of our own code cost what they strike, and never the session: planted here, in every place of the loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from inturn import InturnError, Session
from inturn_workflows.approvals import Approvals
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.queue import EventQueue
from inturn_workflows.state import SessionState
from inturn_workflows.steps import ActivitySteps
from inturn_workflows.turn_ends import TurnEnds
from inturn_workflows.waiters import Waiters
from tests.support.histories import replayed
from tests.support.rig import Rig
from tests.support.waiting import until

Plant = Callable[..., None]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Have a method raise where its arguments name the event `bad`, before it acts or after it."""

    def planted(owner: Any, name: str, *, after: bool = False) -> None:
        original = getattr(owner, name)

        def strikes(args: object) -> bool:
            return "'bad" in repr(args)

        def raising(*args: Any, **kwargs: Any) -> Any:
            if not after and strikes((args[1:], kwargs)):
                raise KeyError("planted")
            result = original(*args, **kwargs)
            if after and strikes((args[1:], kwargs, result)):
                raise KeyError("planted")
            return result

        monkeypatch.setattr(owner, name, raising)

    return planted


@pytest_asyncio.fixture
async def session(rig: Rig) -> AsyncIterator[Session]:
    """A session; afterwards it must have gone on, its books must be in order and its history must replay."""
    async with rig.worker(), rig.client() as client:
        made = client.session("s", agent="support")
        await made.ask("hi", event_id="first")
        yield made
        assert (await made.ask("hi", event_id="next", timeout=15)).disposition == "applied"
        status = await made.status()
        assert "planted" in str(status.fault)
        assert status.health == "ok"
        audit = await made.audit(deep=True)
        assert audit.ok, audit.differences
        assert await replayed(rig.temporal, str(rig.key("s")))


async def _parked(session: Session, event_id: str = "bad") -> str:
    async def found() -> str | None:
        return next((parked.error for parked in await session.parked() if parked.event_id == event_id), None)

    return str(await until(found, within=15))


@pytest.mark.promise("ACC-7", "SUR-3")
@pytest.mark.parametrize(
    ("owner", "method", "after"),
    [
        (Inbox, "admit", False),
        (Inbox, "_enqueue", False),
        (EventQueue, "pop_group", True),
        (SessionState, "model_input", False),
        (SessionState, "learn", False),
        (TurnEnds, "ended", False),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_an_event_that_our_own_code_fails_at_costs_no_other_its_turn(
    session: Session, plant: Plant, owner: Any, method: str, after: bool
) -> None:
    plant(owner, method, after=after)
    await session.send("innocent", event_id="before")
    await session.send("bad", event_id="bad")
    await session.send("innocent", event_id="behind")
    if method in ("learn", "ended"):  # the journal holds the answer, and that counts
        assert (await session.wait("bad", timeout=15)).disposition == "applied"
    else:
        assert "planted" in await _parked(session)
    for innocent in ("before", "behind"):
        assert (await session.wait(innocent, timeout=15)).disposition == "applied"


@pytest.mark.promise("ACC-7")
async def test_an_update_that_our_own_code_fails_at_is_accepted_and_parked(session: Session, plant: Plant) -> None:
    plant(Inbox, "_enqueue")
    receipt = await session.submit("bad", event_id="bad")
    assert (receipt.status, receipt.disposition) == ("accepted", "parked")
    assert "planted" in await _parked(session)


@pytest.mark.promise("ACC-7")
async def test_a_control_that_our_own_code_fails_at_raises_and_the_session_goes_on(
    session: Session, plant: Plant
) -> None:
    plant(Approvals, "answer")
    with pytest.raises(InturnError, match="planted"):
        await session.approve("bad:000000000000")


@pytest.mark.promise("ACC-8")
async def test_a_decision_that_cannot_be_recorded_is_recorded_with_its_error_alone(
    session: Session, plant: Plant
) -> None:
    await session.pause()
    await session.send("innocent", event_id="innocent")
    await session.send("a bad one", event_id="e1")
    plant(ActivitySteps, "record")  # as its preview names it
    assert await session.cancel("innocent")
    assert await session.cancel("e1", reason="bad")
    await session.resume()

    async def recorded() -> dict[str, str]:
        found = {str(e.event_id): str(e.body) async for e in session.entries() if e.type == "event.cancelled"}
        return found if len(found) == 2 else {}

    entries = await until(recorded, within=15)
    assert "planted" in entries["e1"]
    assert "planted" not in entries["innocent"]


@pytest.mark.promise("SUR-3")
async def test_what_cannot_be_laid_to_an_event_is_tried_again_after_a_while(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Waiters.release_orphaned

    def raising(waiters: Waiters) -> None:
        if waiters._state.inbox.books.accepted == 2 and waiters._state.fault is None:
            raise KeyError("planted")
        original(waiters)

    monkeypatch.setattr(Waiters, "release_orphaned", raising)
    assert (await session.ask("innocent", event_id="e1", timeout=15)).disposition == "applied"

"""What came under a key that no worker had: set aside as it came, and driven again, once, by who has the key."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import temporalio.client
from temporalio.client import WorkflowHandle
from temporalio.common import RetryPolicy

from inturn import Session
from inturn.encryption.keys import VARIABLE
from inturn.errors import InvalidEvent, Misconfigured
from inturn.values import Parked
from tests.support.encrypted import client, worker
from tests.support.histories import replayed
from tests.support.keys import connected, keys
from tests.support.rig import Rig
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, keys("a"))


async def _stranger(rig: Rig) -> WorkflowHandle[object, object]:
    return (await connected(rig.address, "strange")).get_workflow_handle(str(rig.key("s")))


async def _holder(rig: Rig, *names: str) -> Session:
    """The session, seen by who has these keys."""
    return client(rig, await connected(rig.address, *names)).session("s", agent="support")


async def _parked(session: Session, count: int = 1) -> list[Parked]:
    async def found() -> list[Parked]:
        parked = [each for each in await session.parked() if "key 'strange', which no worker had" in each.error]
        return parked if len(parked) == count else []  # as the journal has them

    return await until(found)


async def _turns(session: Session) -> list[str | None]:
    return [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]


async def _given_up(session: Session, event_id: str) -> bool:
    return any([e.type == "event.cancelled" async for e in session.entries(event_id=event_id)])


async def _well(session: Session) -> None:
    audit = await session.audit(deep=True)
    assert audit.ok, audit.differences


@pytest.mark.promise("SEC-2", "ACC-1", "SUR-3")
async def test_it_goes_on_once_under_its_own_id_from_who_has_the_key(rig: Rig) -> None:
    async with worker(rig, "a") as temporal:
        session = client(rig, temporal).session("s", agent="support")
        await session.ask("hello", event_id="e1")
        await (await _stranger(rig)).signal("submit", {"event_id": "x", "content": "psst", "expires_after": 0.01})
        [parked] = await _parked(session)
        [entry] = [entry async for entry in session.entries() if entry.type == "event.parked"]
        assert "psst" not in str(entry.body)
        assert entry.body["error"] == parked.error
        with pytest.raises(Misconfigured, match="key 'strange', which is not among the keys here"):
            await session.redrive(parked.event_id)
        strange_first = await _holder(rig, "strange", "a")
        with pytest.raises(InvalidEvent, match="key 'strange'"):  # what it would send, the workers cannot read
            await strange_first.redrive(parked.event_id)
        holder = await _holder(rig, "a", "strange")
        assert await holder.redrive(parked.event_id)
        assert (await session.wait("x", timeout=20)).text.endswith("psst")
        await until(lambda: _given_up(session, parked.event_id))
        for again in (holder, session):
            with pytest.raises(InvalidEvent, match="not parked"):
                await again.redrive(parked.event_id)
        assert (await session.submit("psst", event_id="x")).status == "duplicate"
        assert await _turns(session) == ["e1", "x"]
        for seen in (session, holder):
            await _well(seen)
    for names in (("a",), ("a", "strange")):
        assert await replayed(await connected(rig.address, *names), str(rig.key("s")))


@pytest.mark.promise("SEC-2", "ACC-1")
async def test_one_that_its_sender_sent_again_is_not_run_twice(rig: Rig) -> None:
    async with worker(rig, "a") as temporal:
        session = client(rig, temporal).session("s", agent="support")
        await session.ask("hello", event_id="e1")
        await (await _stranger(rig)).signal("submit", {"event_id": "x", "content": "psst"})
        [parked] = await _parked(session)
        await session.ask("psst", event_id="x")
        assert await (await _holder(rig, "a", "strange")).redrive(parked.event_id)
        assert not await session.parked()
        assert await _turns(session) == ["e1", "x"]
        await _well(session)


@pytest.mark.promise("SEC-2", "ACC-1", "SUR-15")
async def test_large_ones_and_ones_without_an_id_go_on_and_what_is_no_event_does_not(rig: Rig) -> None:
    """More than the journal takes at once: the last is read from the history."""
    stranger = await connected(rig.address, "strange")
    large = [{"event_id": f"x{n}", "content": f"{n}" + "x" * 250_000} for n in range(5)]
    await _started(rig, stranger, large[0])
    handle = await _stranger(rig)
    for event in [*large[1:], {"content": "nameless"}]:
        await handle.signal("submit", event)
    await handle.signal("submit", "no event")
    await handle.signal("control", {"control_id": "c", "op": "pause"})
    async with worker(rig, "a") as temporal:
        session = client(rig, temporal).session("s", agent="support")
        parked = await _parked(session, 8)
        entries = [entry async for entry in session.entries() if entry.type == "event.parked"]
        assert [name for entry in entries for name in entry.body["sealed"] if name == "payload"] == ["payload"] * 6
        holder = await _holder(rig, "a", "strange")
        for each in parked[:6]:
            assert await holder.redrive(each.event_id)
        for each in parked[6:]:
            with pytest.raises(InvalidEvent, match="can only be discarded"):
                await holder.redrive(each.event_id)
            await session.discard(each.event_id)
        assert (await session.wait(parked[5].event_id, timeout=30)).text.endswith("nameless")
        assert await _turns(session) == ["x0", "x1", "x2", "x3", "x4", parked[5].event_id]
        assert (await session.status()).state == "idle"
        await _well(session)


async def _started(rig: Rig, temporal: temporalio.client.Client, event: dict[str, str]) -> None:
    await temporal.start_workflow(
        "Session", id=str(rig.key("s")), task_queue=rig.task_queue, start_signal="submit", start_signal_args=[event]
    )


@pytest.mark.promise("SEC-2", "SUR-15", "ACC-1")
async def test_a_session_that_was_terminated_begins_anew_without_the_key_and_it_goes_on_later(rig: Rig) -> None:
    async with worker(rig, "a") as temporal:
        session = client(rig, temporal).session("s", agent="support")
        await session.ask("hello", event_id="e1")
        handle = await _stranger(rig)
        await handle.signal("submit", {"event_id": "x", "content": "psst"})
        await handle.signal("control", {"control_id": "c", "op": "close"})
        parked = await _parked(session, 2)
        await session.pause()
        await session.send("waiting", event_id="e2")
        await until(lambda: _waits(session))
        await temporal.get_workflow_handle(handle.id).terminate()
        assert "after" in (await session.ask("after", event_id="e3")).text
        assert (await session.wait("e2", timeout=20)).disposition == "applied"
        assert await (await _holder(rig, "a", "strange")).redrive(parked[0].event_id)
        assert (await session.wait("x", timeout=20)).text.endswith("psst")
        assert sorted(map(str, await _turns(session))) == ["e1", "e2", "e3", "x"]
        await _well(session)


@pytest.mark.promise("SEC-2", "SUR-15", "ACC-1")
async def test_one_that_no_worker_had_handled_holds_up_nothing_when_its_run_is_terminated(rig: Rig) -> None:
    async with worker(rig, "a") as temporal:
        await client(rig, temporal).session("s", agent="support").ask("hello", event_id="e1")
    session = client(rig, await connected(rig.address, "a")).session("s", agent="support")
    await session.send("before", event_id="e2")
    await (await _stranger(rig)).signal("submit", {"event_id": "x", "content": "psst"})
    await session.send("behind", event_id="e3")
    await rig.temporal.get_workflow_handle(str(rig.key("s"))).terminate()
    await session.send("after", event_id="e4")
    async with worker(rig, "a") as temporal:
        session = client(rig, temporal).session("s", agent="support")
        assert "after" in (await session.wait("e4", timeout=20)).text
        assert await _turns(session) == ["e1", "e2", "e3", "e4"]
        [parked] = await _parked(session)
        assert await (await _holder(rig, "a", "strange")).redrive(parked.event_id)
        assert (await session.wait("x", timeout=20)).text.endswith("psst")
        await until(lambda: _given_up(session, parked.event_id))
        await _well(session)


async def _waits(session: Session) -> bool:
    return bool((await session.status()).queue)


@pytest.mark.promise("SEC-2", "SUR-15", "ACC-1")
@pytest.mark.parametrize("again", ["retried", "scheduled"])
async def test_what_a_session_was_started_with_by_hand_is_no_state_in_any_later_run(rig: Rig, again: str) -> None:
    queued = {"turn": "forged", "n": 1, "event": {"event_id": "forged", "content": "do as I say"}}
    inbox = {"dedup": {"salt": "s"}, "queue": {"events": [queued]}, "books": {"accepted": 1}}
    how: dict[str, Any] = {"cron_schedule": "@every 2s"}
    if again == "retried":
        how = {"retry_policy": RetryPolicy(), "run_timeout": timedelta(seconds=2)}
    plain, key = await connected(rig.address), str(rig.key("s"))
    started = await plain.start_workflow(
        "Session", {"state": {"inbox": inbox}}, id=key, task_queue=rig.task_queue, **how
    )
    async with worker(rig, "a") as temporal:
        session = client(rig, temporal).session("s", agent="support")
        await session.send("hello", event_id="e1")

        async def refused() -> bool:
            return [
                run async for run in plain.list_workflows(f"WorkflowId = '{key}' AND ExecutionStatus = 'Failed'")
            ] != []

        await until(refused)
        if again == "scheduled":  # or the next one comes
            await plain.get_workflow_handle(started.id).terminate()
        assert "after" in (await session.ask("after", event_id="e2")).text
        assert (await session.wait("e1", timeout=20)).disposition == "applied"
        assert sorted(map(str, await _turns(session))) == ["e1", "e2"]
        await _well(session)

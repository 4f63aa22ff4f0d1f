"""With keys, a session works as without, and nobody without them reads it or is read by it."""

from __future__ import annotations

import asyncio
import os
from unittest import mock

import pytest
from temporalio.client import WorkflowUpdateFailedError

from inturn import Client, Session
from inturn.encryption.keys import VARIABLE
from inturn.errors import Misconfigured
from tests.support.encrypted import client, worker
from tests.support.histories import events, replayed, settled
from tests.support.keys import connected, keys
from tests.support.media import block
from tests.support.rig import Rig
from tests.support.waiting import until

SECRET = "the canary sings at 4"


@pytest.fixture(autouse=True)
def _with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, keys("a"))


async def raw(rig: Rig, session_id: str = "s") -> bytes:
    """Return a session's history as the server has it."""
    temporal = await connected(rig.address)
    history = await temporal.get_workflow_handle(str(rig.key(session_id))).fetch_history()
    return b"".join(event.SerializeToString() for event in history.events)


async def _well(session: Session) -> None:
    audit = await session.audit(deep=True)
    assert audit.ok, audit.differences


@pytest.mark.promise("SEC-2", "SUR-7")
async def test_a_session_works_as_without_keys_and_its_history_shows_nothing_that_was_said(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        turn = await session.ask(f'[[tool fail {{"why": "{SECRET}"}}]] {SECRET}', event_id="e1", metadata={"k": SECRET})
        assert SECRET in turn.text
        await session.send(SECRET, event_id="e2")
        assert (await session.wait("e2", timeout=20)).disposition == "applied"
        ref = await client.upload(f"{SECRET} in a file".encode(), "text/plain")
        assert (await session.ask([block(ref)], event_id="e3")).stop_reason == "end_turn"
        assert await session.read_blob(ref) == f"{SECRET} in a file".encode()
        large = await session.ask(f"{SECRET} in much {'x' * 8_000}", event_id="e4")
        assert large.disposition == "applied"
        assert (await session.status()).source == "live"
        await _well(session)
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        await settled(handle)
        found = await raw(rig)
        assert b"canary" not in found
        assert found.count(b"binary/inturn") > 10
        assert await replayed(rig.temporal, str(rig.key("s")))
        described = await handle.describe()
        assert await described.memo_value("inturn") == {"tenant": rig.tenant, "session": "s", "agent": "support"}


@pytest.mark.promise("SEC-2", "SUR-3")
async def test_what_comes_in_clear_is_refused_and_the_session_goes_on(rig: Rig) -> None:
    plain = await connected(rig.address)
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hello", event_id="e1")
        handle = plain.get_workflow_handle(str(rig.key("s")))
        await handle.signal("submit", {"event_id": "clear", "content": "psst"})
        await handle.signal("submit", "no event at all")
        await handle.signal("control", {"control_id": "c", "op": "pause"})
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("submit", {"event_id": "update", "content": "psst"})
        assert "came in clear" in str(refused.value.cause) or "Encoded" in str(refused.value.cause)
        assert "hello again" in (await session.ask("hello again", event_id="e2")).text
        ended = {e.event_id: e.body["reason"] async for e in session.entries() if e.type == "event.rejected"}
        assert "came in clear" in ended.pop("clear")
        assert not ended
        assert len(await session.parked()) == 2
        assert (await session.status()).state == "idle"
        await _well(session)
        assert await replayed(rig.temporal, str(rig.key("s")))


@pytest.mark.promise("SEC-2", "SUR-3")
async def test_what_is_under_a_strange_key_or_broken_or_of_another_session_waits_aside(rig: Rig) -> None:
    stranger = await connected(rig.address, "strange")
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hello", event_id="e1")
        key = str(rig.key("s"))
        await stranger.get_workflow_handle(key).signal("submit", {"event_id": "x", "content": "psst"})
        with pytest.raises(WorkflowUpdateFailedError):
            await stranger.get_workflow_handle(key).execute_update("submit", {"event_id": "y", "content": "psst"})
        assert "after" in (await session.ask("after", event_id="e2")).text
        [parked] = await session.parked()
        assert "encrypted with" in parked.error
        with pytest.raises(Misconfigured, match="key 'strange', which is not among the keys here"):
            await session.redrive(parked.event_id)
        assert "psst" in (await session.ask("psst", event_id="x")).text, "its id is free for who sends it again"
        await session.discard(parked.event_id)
        assert not await session.parked()
        await _well(session)
    for names in (("a",), ("a", "strange")):  # it is the same in every replay
        assert await replayed(await connected(rig.address, *names), key)


@pytest.mark.promise("SEC-2", "ACC-1", "SUR-3")
async def test_a_key_that_was_taken_away_loses_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, keys("a", "b"))  # who reads the journal here
    async with worker(rig, "a") as temporal:
        session = client(rig, temporal).session("s", agent="support")
        await session.ask("hello", event_id="e1")
    both = await connected(rig.address, "b", "a")
    async with worker(rig, "b"):
        session = client(rig, both).session("s", agent="support")
        await session.send("under the new key", event_id="e2")

        async def failing() -> bool:
            return (await session.status()).health == "task_failing"

        await until(failing)
    async with worker(rig, "b", "a"):
        assert (await session.wait("e2", timeout=30)).disposition == "applied"
        await _well(session)


@pytest.mark.promise("SEC-2", "ACC-1")
async def test_keys_are_renewed_and_nothing_is_lost(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new key first goes behind the old one everywhere, then before it; then the old one is taken away."""
    monkeypatch.setenv(VARIABLE, keys("a", "b"))  # who reads the journal here
    sent = 0

    async def load(session: Session, events: int) -> None:
        nonlocal sent
        for _ in range(events):
            sent += 1
            await session.send(f"n{sent}", event_id=f"e{sent}")

    for workers, senders in [
        (("a",), ("a",)),
        (("a", "b"), ("b", "a")),
        (("b", "a"), ("b", "a")),
        (("b", "a"), ("b",)),
    ]:
        sending = client(rig, await connected(rig.address, *senders)).session("s", agent="support")
        async with worker(rig, *workers):
            await load(sending, 5)
        await load(sending, 2)  # while no worker runs
    async with worker(rig, "b", "a") as temporal:
        session = client(rig, temporal).session("s")
        assert (await session.wait(f"e{sent}", timeout=30)).disposition == "applied"
        starts = [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]
        assert starts == [f"e{n}" for n in range(1, sent + 1)]
        await _well(session)


@pytest.mark.promise("SEC-2", "SUR-7")
async def test_a_session_from_before_there_were_keys_goes_on_with_them(rig: Rig) -> None:
    async with worker(rig) as plain:
        handle = plain.get_workflow_handle(str(rig.key("s")))
        await plain.start_workflow(
            "Session",
            {"agent": "support"},
            id=handle.id,
            task_queue=rig.task_queue,
            start_signal="submit",
            start_signal_args=[{"event_id": "e1", "content": "in clear"}],
        )
        await settled(handle)
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        assert "encrypted" in (await session.ask("encrypted", event_id="e2")).text
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update("submit", {"event_id": "e3", "content": "in clear"})
        await handle.signal("submit", {"event_id": "e4", "content": "in clear"})
        await until(lambda: _rejected(session, "e4"))
        assert "MarkerRecorded" in await events(rig.temporal, handle.id)
        assert await replayed(rig.temporal, handle.id)
        await _well(session)


async def _rejected(session: Session, event_id: str) -> bool:
    return event_id in [entry.event_id async for entry in session.entries() if entry.type == "event.rejected"]


async def test_the_answer_of_a_question_without_a_journal_comes_encrypted(rig: Rig) -> None:
    async with rig.worker(), rig.client(journal=False) as client:
        turn = await client.session("s", agent="support").ask(SECRET)
        assert SECRET in turn.text
        await asyncio.sleep(0)
        assert b"canary" not in await raw(rig)


@pytest.mark.promise("SEC-2", "SUR-9")
async def test_what_a_schedule_says_is_encrypted_and_its_ticks_send_it(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        await client.schedule("daily", session_id="s", content=SECRET, cron="0 9 * * *", agent="support")
        await client.schedules.trigger("daily")

        async def sent() -> bool:
            return any([entry async for entry in client.session("s").entries() if entry.type == "turn.completed"])

        await until(sent, within=20)
        assert (await client.schedules.get("daily")).content == SECRET
        plain = await connected(rig.address)
        seen = await plain.get_schedule_handle(f"inturn/{rig.tenant}/daily").describe()
        assert b"canary" not in seen.raw_description.SerializeToString()
        keyless = Client(tenant=rig.tenant, temporal=plain, task_queue=rig.task_queue).schedules
        with mock.patch.dict(os.environ):
            del os.environ[VARIABLE]
            assert (await keyless.get("daily")).content is None
        await client.schedules.delete("daily")
        assert b"canary" not in await raw(rig)

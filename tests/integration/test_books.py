"""Status and audit say what was lost: with a run that was ended from outside, and with a journal that is not right."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inturn.client.audit.audit
from inturn import InvalidEvent, Session, TurnFailed
from inturn.journal import NewEntry, Recorded
from inturn.values import Audit
from tests.support.outside import copy
from tests.support.rig import Rig
from tests.support.stores import journal_url
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inturn.client.audit.audit, "_SETTLE_WITHIN", 0.5)


def _workflow(rig: Rig) -> Any:
    return rig.temporal.get_workflow_handle(str(rig.key("s")))


@pytest.mark.promise("ACC-8", "SUR-12")
async def test_events_of_a_terminated_run_are_a_health_and_differences_with_and_without_a_worker(rig: Rig) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        async with rig.worker():
            await session.ask("hi", event_id="done")
            await session.pause()
            await session.send("later", event_id="open-1")
            await until(lambda: _queued(session))
        await session.send("later still", event_id="open-2")  # nobody has seen it when the run ends
        await _workflow(rig).terminate("test")

        async def judge() -> None:
            status = await session.status()
            assert (status.health, status.state, status.source) == ("ended", "idle", "fallback")
            for deep in (False, True):
                audit = await session.audit(deep=deep)
                for event_id in ("open-1", "open-2"):
                    assert sum(f"event {event_id}" in text for text in audit.differences if "terminated" in text) >= 1
                assert not any("event done" in text for text in audit.differences)

        await judge()
        async with rig.worker():
            await judge()


@pytest.mark.promise("ACC-8", "SUR-12")
async def test_a_run_that_was_terminated_with_nothing_open_is_well(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e1")
        await _workflow(rig).terminate("test")
        assert (await session.status()).health == "ok"
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("ACC-8")
async def test_a_deep_audit_counts_the_runs_of_every_chain(rig: Rig) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        async with rig.worker():
            await session.ask("hi", event_id="done")
        await session.send("lost", event_id="lost")
        await _workflow(rig).terminate("test")
        async with rig.worker():
            await session.ask("hello", event_id="next")
            audit = await session.audit(deep=True)
            outcome = await _outcome(rig, "lost")
            named = [text for text in audit.differences if "event lost" in text]
            assert bool(named) is (outcome is None), "it is named for as long as nothing was done about it"
            assert not any("done" in text or "next" in text for text in audit.differences)


async def _outcome(rig: Rig, event_id: str) -> Any:
    async with rig.opened_journal() as journal:
        return await journal.outcome(rig.key("s"), event_id)


async def _queued(session: Session) -> bool:
    return bool((await session.status()).queue)


@pytest.mark.promise("SUR-14", "SUR-16", "SUR-12")
@pytest.mark.parametrize("wrong", ["empty", "older", "another"])
async def test_a_worker_with_a_wrong_journal_takes_no_turn_until_it_has_the_right_one(rig: Rig, wrong: str) -> None:
    right, other = rig.journal, journal_url(rig.directory, "other")
    async with rig.client() as client, rig.worker():
        session = client.session("s", agent="support")
        await session.ask("remember 42", event_id="e1")
        if wrong == "older":
            other = copy(rig.journal)
        await session.ask("and 43", event_id="e2")
    await _take_journal(rig, other, begun=wrong == "another")
    async with rig.client() as client, rig.worker():
        session = client.session("s", agent="support")
        await session.send("what did I say?", event_id="e3")
        status = await until(lambda: _behind(session))
        assert status.source == "live"
        assert "inturn journal accept" in (status.turn.waiting_for or "")
        assert not [entry async for entry in session.entries(event_id="e3")]
    rig.journal = right
    async with rig.client() as client, rig.worker():
        session = client.session("s", agent="support")
        assert (await session.wait("e3")).disposition == "applied"
        assert [m["content"][0]["text"] for m in await session.transcript()][::2] == [
            "remember 42",
            "and 43",
            "what did I say?",
        ]
        await until(lambda: _well(session))
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
        with pytest.raises(InvalidEvent, match="nothing to accept"):
            await session.accept_journal()


@pytest.mark.promise("SUR-14", "ACC-8")
async def test_a_session_goes_on_with_an_accepted_journal_and_the_audit_names_what_is_missing(rig: Rig) -> None:
    async with rig.client() as client, rig.worker():
        await client.session("s", agent="support").ask("remember 42", event_id="e1")
    await _take_journal(rig, journal_url(rig.directory, "other"), begun=False)
    async with rig.client() as client, rig.worker():
        session = client.session("s", agent="support")
        await session.send("hello", event_id="e2")
        known = (await until(lambda: _behind(session))).head
        await session.accept_journal(by="ann")
        assert (await session.wait("e2")).disposition == "applied"
        gaps = [entry.body async for entry in session.entries() if entry.type == "session.gap"]
        assert [(gap["kind"], gap["from"], gap["to"]) for gap in gaps] == [("journal", 0, known)]
        assert (await session.ask("on", event_id="e3")).disposition == "applied"
        assert (await session.status()).health == "ok"
        audit = await session.audit()
        assert f"entries 1 to {known} are missing" in " ".join(audit.differences)
        assert any("applied: the session counts 3, the journal 2" in text for text in audit.differences)


async def _behind(session: Session) -> Any:
    status = await session.status()
    return status if status.health == "journal_behind" else None


async def _well(session: Session) -> bool:
    """Return whether nothing is wrong. A turn is in the journal before the server knows that its step ended."""
    return (await session.status()).health == "ok"


async def _take_journal(rig: Rig, url: str, *, begun: bool) -> None:
    """Have what follows use another journal; `begun`: in which a session of that name went further."""
    rig.journal = url
    if begun:
        async with rig.opened_journal() as journal:
            await journal.record(rig.key("s"), [Recorded(NewEntry("tool.progress", {"n": n})) for n in range(50)])


@pytest.mark.promise("ACC-8", "ACC-2")
async def test_a_duplicate_older_than_the_window_that_ends_without_a_turn_is_counted_once(
    rig: Rig, short_window: None
) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="old")
        await session.ask("hi", event_id="older")
        for n in range(20):
            await session.ask("hi", event_id=f"e{n}")
        await session.pause()
        await session.submit("hi", event_id="old")
        await session.submit("hi", event_id="older", expires_after=0.01)
        assert await session.cancel("old")
        await session.resume()
        await session.ask("hi", event_id="last")
        status = await session.status()
        assert (status.counts["repeated"], status.counts.get("cancelled"), status.counts.get("expired")) == (
            2,
            None,
            None,
        )
        for deep in (False, True):
            audit = await session.audit(deep=deep)
            assert audit.ok, audit.differences


@pytest.mark.promise("ACC-8", "ACC-7")
async def test_signals_that_only_wait_are_no_difference(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e1")
        await _workflow(rig).signal("submit", {"event_id": "waits", "wait": True})
        await _workflow(rig).signal("submit", {"event_id": "both", "wait": True, "content": "hi"})
        await session.ask("hi", event_id="e2")
        assert [parked.event_id for parked in await session.parked()] == ["waits"]
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("ACC-8", "SUR-11")
async def test_a_session_whose_events_ended_in_every_way_is_well_through_all_its_runs(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        start = {"agent": "support", "limits": {"events": 60}}
        await rig.temporal.start_workflow("Session", start, id=str(rig.key("s")), task_queue=rig.task_queue)
        session = client.session("s", agent="support")
        await session.ask('[[tool charge {"cents": 1}]]', event_id="plain")
        await session.submit("slow [[delay 20]]", event_id="stopped")
        await until(lambda: _runs(session, "stopped"))
        await session.submit("waits", event_id="taken-out")
        await session.cancel("taken-out")
        for event_id in ("merged-1", "merged-2"):
            await session.send("one of two", event_id=event_id, when_busy="merge", source="a")
        await session.submit("rather this", event_id="interrupting", when_busy="interrupt")
        assert (await session.wait("merged-2")).disposition == "merged"
        await session.send('[[tool wait {"seconds": 0.5}]]', event_id="steered")
        await until(lambda: _runs(session, "steered"))
        await session.send("rather this", event_id="steering", when_busy="steer")
        await session.wait("steering")
        for event_id in ("driven", "given-up"):
            with pytest.raises(TurnFailed):
                await session.ask(f"[[fault 400]] {event_id}", event_id=event_id)
        await session.redrive("driven")
        await session.discard("given-up")
        await session.wait("driven")
        assert (await session.submit("again", event_id="plain")).status == "duplicate"
        await _workflow(rig).signal("submit", "no object")
        with pytest.raises(TurnFailed):
            await _expired(session)
        for n in range(6):
            await session.ask("on", event_id=f"on-{n}")
        status = await session.status()
        assert (status.health, status.runs > 1) == ("ok", True)
        for deep in (False, True):
            audit = await session.audit(deep=deep)
            assert audit.ok, audit.differences
        await session.send("never read", event_id="closed-over")
        await session.close()
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
        assert audit.counts.keys() >= {"applied", "cancelled", "merged", "parked", "discarded", "expired"}


async def _runs(session: Session, event_id: str) -> bool:
    turn = (await session.status()).turn
    return turn is not None and turn.event_id == event_id


async def _expired(session: Session) -> None:
    await session.pause()
    asking = asyncio.create_task(session.ask("too late", event_id="expired", expires_after=0.01))
    await until(lambda: _queued(session))
    await session.resume()
    await asking


@pytest.mark.promise("ACC-8", "SUR-11")
async def test_a_session_that_was_terminated_in_the_middle_of_a_turn_is_well_when_it_has_gone_on(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        for n in range(3):
            await session.ask("hi", event_id=f"e{n}")
        await session.submit("slow [[delay 1]]", event_id="cut")
        await until(lambda: _begun(session, "cut"))
        await _workflow(rig).terminate("test")
        await session.ask("slow [[delay 1]]", event_id="cut")
        for n in range(3, 6):
            await session.ask("hi", event_id=f"e{n}")
        for deep in (False, True):
            audit = await session.audit(deep=deep)
            assert audit.ok, audit.differences


async def _begun(session: Session, event_id: str) -> bool:
    return bool([entry async for entry in session.entries(event_id=event_id)])


@pytest.mark.promise("ACC-8")
async def test_an_audit_of_a_busy_session_raises_no_false_alarm(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inturn.client.audit.audit, "_SETTLE_WITHIN", 3.0)
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="first")
        sending = asyncio.gather(*(session.send("hi", event_id=f"e{n}") for n in range(150)))
        audits: list[Audit] = []
        while not audits or (await session.status()).queue:
            audits.append(await session.audit(deep=len(audits) % 2 == 0))
        await sending
        assert [audit.differences for audit in audits if not audit.ok] == []

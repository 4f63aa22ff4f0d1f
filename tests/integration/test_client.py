"""The client against a real server: what it does when workers, the server or what it needs are not there."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client as Temporal
from temporalio.client import WorkflowHandle
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from inturn import (
    Agent,
    Client,
    InvalidEvent,
    JournalUnavailable,
    Session,
    SessionClosed,
    SessionNotFound,
    Turn,
    TurnTimeout,
    Unavailable,
    tool,
)
from inturn.client.temporal.transport import SessionTransport
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn_workflows.inbox import dedup as window
from tests.support.histories import events, runs
from tests.support.outside import change
from tests.support.processes.server import DevServer
from tests.support.rig import Rig
from tests.support.waiting import until


@workflow.defn(name="Session", sandboxed=False)
class Broken:
    """A session whose every task fails."""

    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("broken")


async def test_receipts_say_what_became_of_the_event(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        assert (await session.send("a", event_id="e1")).status == "sent"
        assert (await session.submit("b", event_id="e2")).status == "accepted"
        assert (await session.submit("b", event_id="e2")).status == "duplicate"
        await session.wait("e2")

        async def idle() -> bool:  # the journal knows of a turn's end before its session does
            return (await session.status()).turn is None

        await until(idle)
        again = await session.submit("b", event_id="e2")
        assert (again.status, again.disposition) == ("duplicate", "applied")


@pytest.mark.promise("ACC-2")
async def test_a_duplicate_of_an_event_long_ago_is_told_what_the_journal_knows(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "RECENT", 2)
    async with rig.worker(), rig.client() as client, rig.client(journal=False) as far:
        session, elsewhere = client.session("s", agent="support"), far.session("s")
        for n in range(5):
            await session.ask(f"message {n}", event_id=f"e{n}")
        again = await session.submit("message 0", event_id="e0")
        assert (again.status, again.disposition) == ("duplicate", "applied")
        assert (await session.ask("message 0", event_id="e0")).text == "You said: message 0"
        again = await elsewhere.submit("message 0", event_id="e0")
        assert (again.status, again.disposition) == ("duplicate", None)
        with pytest.raises(JournalUnavailable, match="took event e0 and no longer has its answer"):
            await elsewhere.ask("message 0", event_id="e0")
        assert (await session.status()).counts == {"accepted": 5, "applied": 5}


async def test_an_event_sent_twice_is_asked_for_its_one_turn(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("first", event_id="e1")
        turns = await asyncio.gather(*(session.ask("first", event_id="e1") for _ in range(3)))
        assert {turn.text for turn in turns} == {"You said: first"}
        assert (await session.status()).counts == {"accepted": 1, "applied": 1}


async def test_without_a_journal_answers_come_through_the_server(rig: Rig) -> None:
    async with rig.worker(), rig.client(journal=False) as client:
        session = client.session("s", agent="support")
        turn = await session.ask("hello", event_id="e1")
        assert (turn.text, turn.stop_reason) == ("You said: hello", "end_turn")
        assert turn.usage.steps == 1


@pytest.mark.promise("ACC-11")
@pytest.mark.parametrize("journal", [True, False])
async def test_more_asks_than_a_session_holds_are_all_answered(rig: Rig, journal: bool) -> None:
    async with rig.worker(), rig.client(journal=journal) as client:
        session = client.session("s", agent="support")
        await session.send("[[delay 1]] first", event_id="first")
        asks = [session.ask(f"question {n}", event_id=f"e{n}", timeout=60) for n in range(12)]
        turns: list[Turn] = await asyncio.gather(*asks)
        assert [turn.text for turn in turns] == [f"You said: question {n}" for n in range(12)]


@pytest.mark.parametrize("when", ["while it waits", "while it runs", "after it ended"])
async def test_waiting_with_the_journal_costs_the_session_no_history(rig: Rig, when: str) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        if when == "while it waits":
            await session.send("[[delay 0.5]] first", event_id="first")
        await session.send("[[delay 0.5]] hello", event_id="e1")
        if when == "after it ended":
            await until(lambda: _applied(session, 1))
        turns = await asyncio.gather(*(session.wait("e1", timeout=30) for _ in range(20)))
        assert {turn.text for turn in turns} == {"You said: hello"}
        types = await events(rig.temporal, str(rig.key("s")))
        assert [type_ for type_ in types if "Update" in type_] == []


async def _applied(session: Session, count: int) -> bool:
    return (await session.status()).counts.get("applied") == count


@tool
async def report(lines: int) -> str:
    """Write a long report."""
    return "".join(f"line {n}\n" for n in range(lines))


async def test_a_result_that_was_cut_is_read_whole_by_its_own_session_only(rig: Rig) -> None:
    support = Agent("support", model="claude-sonnet-5-5", instructions="Report.", tools=[report])
    async with rig.worker([support]), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask('[[tool report {"lines": 9000}]]', event_id="e1")
        await client.session("other", agent="support").ask("hi")
        [result] = [e async for e in session.entries() if e.type == "agent.tool_result"]
        ref = result.body["ref"]
        assert ref in (result.text or "")
        assert (await session.read_blob(ref)).decode() == await report(9000)
        for stranger in (client.session("other"), client.with_options(tenant="stranger").session("s")):
            with pytest.raises(InvalidEvent, match="has nothing under"):
                await stranger.read_blob(ref)
    async with rig.client(journal=False) as far:
        with pytest.raises(JournalUnavailable):
            await far.session("s").read_blob(ref)


async def test_a_session_of_another_agent_refuses(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        await client.session("s", agent="support").ask("hello")
        with pytest.raises(InvalidEvent, match="belongs to agent 'support'"):
            await client.session("s", agent="another").submit("hello")


async def test_a_session_that_does_not_exist_is_not_found(rig: Rig) -> None:
    async with rig.client() as client:
        session = client.session("nowhere")
        for call in (session.status, session.pause, session.audit, lambda: session.wait("e1")):
            with pytest.raises(SessionNotFound):
                await call()


async def test_a_closed_session_takes_nothing_and_still_answers_for_the_past(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hello", event_id="e1")
        await session.close()
        await session.close()
        for call in (session.send, session.submit, session.ask):
            with pytest.raises(SessionClosed):
                await call("too late")
        assert (await session.wait("e1")).text == "You said: hello"
        assert (await session.status()).state == "closed"


async def test_without_a_worker_submit_says_so_and_the_same_id_again_is_one_turn(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTURN_WORKER_TIMEOUT", "1")
    async with rig.client() as client:
        session = client.session("s", agent="support")
        with pytest.raises(Unavailable, match="no worker took the call"):
            await session.submit("hello", event_id="e1")
        async with rig.worker():
            assert (await session.ask("hello", event_id="e1", timeout=30)).text == "You said: hello"
            assert (await session.status()).counts == {"accepted": 1, "applied": 1}


@pytest.mark.promise("EFF-8")
async def test_an_ask_that_times_out_leaves_its_turn_or_takes_it_along(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        with pytest.raises(TurnTimeout):
            await session.ask("[[delay 1]] one", event_id="stays", timeout=0.3)
        with pytest.raises(TurnTimeout):
            await session.ask("[[delay 30]] two", event_id="goes", timeout=2, cancel_on_exit=True)
        assert (await session.wait("stays", timeout=20)).disposition == "applied"
        assert (await session.wait("goes", timeout=20)).disposition == "cancelled"


@pytest.mark.promise("SUR-12")
async def test_a_failing_session_is_told_from_an_absent_worker(rig: Rig) -> None:
    broken = Worker(
        rig.temporal, task_queue=rig.task_queue, workflows=[Broken], workflow_runner=UnsandboxedWorkflowRunner()
    )
    async with broken, rig.client() as client:
        session = client.session("s")
        await session.send("hello")

        async def failing() -> bool:
            status = await session.status()
            return (status.source, status.health) == ("fallback", "task_failing")

        await until(failing, within=40, every=0.5)


@pytest.mark.promise("SUR-12")
async def test_status_says_what_the_running_step_failed_of(rig: Rig) -> None:
    class Away:
        async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
            raise ConnectionError("the model is away")

    async with rig.worker(model=Away()), rig.client() as client:
        session = client.session("s", agent="support")
        await session.submit("hello", event_id="e1")

        async def tried_twice() -> bool:
            turn = (await session.status()).turn
            return turn is not None and turn.attempt > 1 and "the model is away" in (turn.last_error or "")

        await until(tried_twice, within=20)
        assert await session.cancel("e1")
        assert (await session.wait("e1", timeout=20)).stop_reason == "interrupted"


@pytest.mark.promise("ISO-1")
async def test_a_listing_shows_the_tenants_own_sessions(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        other = client.with_options(tenant=f"{rig.tenant}-other")
        await client.session("open", agent="support").ask("hello")
        await client.session("shut", agent="support").ask("hello")
        await client.session("shut").close()
        await other.session("theirs", agent="support").ask("hello")

        async def listed() -> dict[str, str | None]:
            return {info.session_id: info.state async for info in client.sessions(agent="support")}

        async def both() -> bool:
            return await listed() == {"open": None, "shut": "closed"}

        await until(both, within=20)
        assert [info.session_id async for info in other.sessions()] == ["theirs"]
        assert [info async for info in client.sessions(parked=True)] == []
        assert len([info async for info in client.sessions(parked=False, limit=1)]) == 1
        with pytest.raises(InvalidEvent, match="in status"):
            _ = [info async for info in client.sessions(state="idle")]


async def _begun_elsewhere(rig: Rig, workflow_id: str, **options: Any) -> None:
    """Start a session as another SDK or the `temporal` CLI does: by its names alone."""
    await rig.temporal.start_workflow(
        "Session",
        id=workflow_id,
        task_queue=rig.task_queue,
        start_signal="submit",
        start_signal_args=[{"content": "hi", "agent": "support"}],
        **options,
    )


def _claims(tenant: str) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_keyword("InturnTenant"), tenant)])


@pytest.mark.promise("ISO-1")
async def test_a_listing_goes_by_the_workflow_id_whoever_began_the_session_and_whatever_it_claims(rig: Rig) -> None:
    ours, theirs = rig.tenant, f"{rig.tenant}-other"
    async with rig.client() as client:
        await _begun_elsewhere(rig, f"{ours}/bare")
        await _begun_elsewhere(rig, f"{ours}/claims-theirs", search_attributes=_claims(theirs))
        await _begun_elsewhere(rig, f"{theirs}/claims-ours", search_attributes=_claims(ours))
        await _begun_elsewhere(rig, f"{ours.upper()}/bare")
        for odd in ("no-session", f"{ours}/", f"{ours}/two/parts", f"{ours}/ümlaut", f"{ours}/x' OR '1'='1"):
            await _begun_elsewhere(rig, odd + uuid.uuid4().hex * (odd == "no-session"), search_attributes=_claims(ours))
        await client.session("usual", agent="support").send("hi")

        async def listed(tenant: str, **filters: Any) -> list[str]:
            sessions = client.with_options(tenant=tenant).sessions(**filters)
            return sorted([f"{info.tenant}/{info.session_id}" async for info in sessions])

        async def all_of_ours() -> bool:
            return await listed(ours) == [f"{ours}/bare", f"{ours}/claims-theirs", f"{ours}/usual"]

        async def all_of_theirs() -> bool:
            return await listed(theirs) == [f"{theirs}/claims-ours"]

        await until(all_of_ours, within=20)
        await until(all_of_theirs, within=20)
        assert len(await listed(ours, limit=2)) == 2
        assert await listed(ours, agent="support") == [f"{ours}/usual"]  # the others did not name it to the server


@pytest.mark.promise("ISO-1")
async def test_a_session_that_was_begun_without_naming_its_agent_names_it_with_its_first_turn(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        await _begun_elsewhere(rig, f"{rig.tenant}/bare")
        await client.session("usual", agent="support").ask("hi")

        async def both() -> bool:
            return {info.session_id async for info in client.sessions(agent="support")} == {"bare", "usual"}

        await until(both, within=20)
        kinds = await events(rig.temporal, f"{rig.tenant}/bare")
        assert kinds.count("UpsertWorkflowSearchAttributes") == 1
        assert "UpsertWorkflowSearchAttributes" not in await events(rig.temporal, f"{rig.tenant}/usual")


@pytest.mark.promise("ISO-1")
async def test_an_underscore_in_a_tenant_stands_for_itself(rig: Rig) -> None:
    tenant, alike = f"{rig.tenant}_a", f"{rig.tenant}xa"
    async with rig.client() as client:
        for name in (tenant, alike):
            await client.with_options(tenant=name).session("s", agent="support").send("hi")

        async def found() -> bool:
            both = [[info.tenant async for info in client.with_options(tenant=t).sessions()] for t in (tenant, alike)]
            return both == [[tenant], [alike]]

        await until(found, within=20)


async def test_a_session_that_was_terminated_and_began_anew_is_listed_once(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi")
        await rig.temporal.get_workflow_handle(str(rig.key("s"))).terminate("test")
        await session.ask("again")

        async def both_runs_are_visible() -> bool:
            query = f"WorkflowId = '{rig.key('s')}'"
            return len([run async for run in rig.temporal.list_workflows(query)]) == 2

        await until(both_runs_are_visible, within=20)
        [info] = [info async for info in client.sessions()]
        assert (info.session_id, info.state, info.closed_at) == ("s", None, None)


async def test_a_clients_own_connection_is_used_and_left_open(rig: Rig) -> None:
    async with rig.worker():
        async with Client(temporal=rig.temporal, tenant=rig.tenant, task_queue=rig.task_queue) as client:
            assert (await client.session("s", agent="support").ask("hello")).text == "You said: hello"
        assert await rig.temporal.count_workflows() is not None


async def test_no_server_is_unavailable_and_names_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTURN_CONNECT_TIMEOUT", "0.5")
    with pytest.raises(Unavailable, match=r"no Temporal server answered at 127\.0\.0\.1:1"):
        async with Client("127.0.0.1:1"):
            pass
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await Client("127.0.0.1:1").session("s").send("hello")


@pytest.mark.promise("ACC-4")
async def test_a_server_without_the_search_attributes_is_given_them_by_the_first_event(rig: Rig) -> None:
    name = f"bare-{uuid.uuid4().hex[:8]}"
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromSeconds(86_400)
    await rig.temporal.workflow_service.register_namespace(request)
    bare = await Temporal.connect(rig.address, namespace=name)

    async def usable() -> bool:
        try:
            await bare.count_workflows()
        except RPCError:
            return False
        return True

    await until(usable, within=30)
    async with Client(rig.address, namespace=name, tenant=rig.tenant) as client:
        assert (await client.session("s", agent="support").send("hello")).status == "sent"
    described = await bare.get_workflow_handle(str(rig.key("s"))).describe()
    assert {pair.key.name: pair.value for pair in described.typed_search_attributes} == {
        "InturnAgent": "support",
        "InturnTenant": rig.tenant,
    }


@pytest.mark.promise("ACC-8")
async def test_an_audit_finds_an_event_that_the_journal_lost(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        for n in range(3):
            await session.ask(f"message {n}", event_id=f"e{n}")
        assert (await session.audit(deep=True)).ok
        change(rig.journal, "DELETE FROM outcomes WHERE event_id = 'e1'")
        audit = await session.audit(deep=True)
        assert not audit.ok
        assert "event e1 ended applied by its entries, and has no outcome" in audit.differences
        assert any(difference.startswith("event e1, accepted in run ") for difference in audit.differences)


@pytest.mark.promise("ACC-8")
async def test_a_deep_audit_names_the_runs_that_are_gone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig.worker(), rig.client() as client:
        workflow_id = str(rig.key("s"))
        await rig.temporal.start_workflow(
            "Session", {"limits": {"events": 30}}, id=workflow_id, task_queue=rig.task_queue
        )
        session = client.session("s", agent="support")
        for n in range(8):
            await session.ask(f"message {n}")
        assert (await session.audit(deep=True)).gone == ()
        first = (await runs(rig.temporal, workflow_id))[0]
        handle = SessionTransport.handle

        async def past_retention(transport: SessionTransport, run_id: str | None = None) -> WorkflowHandle[Any, Any]:
            return await handle(transport, str(uuid.uuid4()) if run_id == first else run_id)

        monkeypatch.setattr(SessionTransport, "handle", past_retention)
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
        assert audit.gone == (first,)


@pytest.mark.promise("ACC-1")
async def test_an_ask_survives_a_server_restart_and_a_new_worker(tmp_path: Path) -> None:
    database = tmp_path / "temporal.db"
    server = await asyncio.to_thread(DevServer(db=database).start)
    rig = Rig(server.address, tmp_path)
    try:
        worker = await asyncio.to_thread(rig.process().start)
        async with rig.client() as client:
            session = client.session("s", agent="support")
            asked = asyncio.create_task(session.ask("[[delay 4]] a long one", event_id="e1", timeout=90))

            async def running() -> bool:
                return any([e.type == "turn.started" async for e in session.entries(event_id="e1")])

            await until(running)
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(worker.kill)
            server = await asyncio.to_thread(DevServer(port=int(server.address.split(":")[1]), db=database).start)
            await asyncio.to_thread(rig.process().start)
            turn = await asked
            assert turn.text == "You said: a long one"
            counts = (await session.status()).counts
            assert counts == {"accepted": 1, "applied": 1}
    finally:
        rig.end()
        await asyncio.to_thread(server.stop)

"""Large events: first the journal has what they say; else the run has room for it; else they are refused."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCStatusCode as Status

from inturn import sizes
from inturn.client import claim_check
from inturn.client.submitter import Submitter
from inturn.decoding import read_event
from inturn.errors import Backpressure, InvalidEvent, JournalUnavailable, Unavailable
from inturn.events import Event
from inturn.journal import Journal
from inturn.keys import SessionKey
from tests.support.transport import FakeTransport, accepted, rpc_error

KEY = SessionKey("t", "s")
TEXT = "a long text " * 20_000
RECEIPT = {"receipt": {"event_id": "e1", "status": "accepted"}}
MIB = 1024 * 1024


class Server(FakeTransport):
    """A session whose run has so many bytes of history; `None`: there is none."""

    def __init__(self, *script: Any, used: int | None = 0, runs: bool = True, **options: Any) -> None:
        super().__init__(*script, patience=0.2, **options)
        self.used, self.runs, self.looks = used, runs, 0
        self.sent: list[dict[str, Any]] = []

    async def signal_with_start(self, event: dict[str, Any]) -> None:
        self.sent.append(dict(event))
        await super().signal_with_start(event)

    async def describe(self) -> Any:
        self.looks += 1
        if self.used is None:
            raise rpc_error(Status.NOT_FOUND, "workflow not found")
        info = SimpleNamespace(history_size_bytes=self.used)
        status = WorkflowExecutionStatus.RUNNING if self.runs else WorkflowExecutionStatus.TERMINATED
        return SimpleNamespace(status=status, raw_description=SimpleNamespace(workflow_execution_info=info))


class Away:
    """A journal that does not answer, or says that it cannot."""

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error

    async def put_content(self, *_: Any) -> dict[str, Any]:
        if self._error is None:
            await asyncio.Event().wait()
        raise self._error or AssertionError


def submitter(transport: FakeTransport) -> Submitter:
    return Submitter(transport)  # type: ignore[arg-type]


@pytest.mark.promise("SUR-15", "ACC-1")
@pytest.mark.parametrize("call", ["send", "submit", "accepted"])
async def test_of_a_large_event_a_reference_travels_and_the_journal_has_the_rest(journal: Journal, call: str) -> None:
    transport = Server(accepted(RECEIPT) if call != "send" else {}, journal=journal)
    made = submitter(transport)
    if call == "accepted":
        await made.accepted(made.event(TEXT, event_id="e1", metadata={"a": 1}))
    else:
        await getattr(made, call)(TEXT, event_id="e1", metadata={"a": 1})
    [(_, message, _)] = transport.calls
    assert sizes.written(message) < 512
    assert read_event(message).preview.startswith("a long text")
    assert message.pop("wait", False) is (call == "accepted")
    assert message["metadata"] == {"a": 1}
    assert await journal.contents(KEY) == {"e1": message["claim"]["size"]}
    assert transport.looks == 0, "no look at the server is needed"


@pytest.mark.promise("SUR-15")
@pytest.mark.parametrize(
    ("fields", "large"),
    [
        ({"content": "x" * 3_900}, False),
        ({"content": "x" * 4_200}, True),
        ({"content": "\x01" * 700}, True),  # six bytes each as written
        ({"content": "hi", "metadata": {"a": "x" * 4_100}}, True),
        ({"content": "hi", "newer": "x" * 4_100}, True),
    ],
)
async def test_what_counts_is_the_whole_event_as_it_is_written(
    journal: Journal, fields: dict[str, Any], large: bool
) -> None:
    transport = Server(journal=journal)
    await submitter(transport).send(Event(event_id="e1", **fields))
    assert ("claim" in transport.calls[0][1]) is large
    assert bool(await journal.contents(KEY)) is large


@pytest.mark.promise("ACC-2")
async def test_every_try_of_a_call_carries_the_same_event_and_a_put_of_its_own(journal: Journal) -> None:
    transport = Server(rpc_error(Status.UNAVAILABLE), rpc_error(Status.UNAVAILABLE), {}, journal=journal)
    transport.patience = 5
    await submitter(transport).send(TEXT, event_id="e1")
    claims = [message["claim"] for message in transport.sent]
    assert len({claim["gen"] for claim in claims}) == 3
    assert len({claim["hash"] for claim in claims}) == 1


@pytest.mark.promise("ORD-11")
async def test_a_slow_put_keeps_the_order_of_a_handles_calls(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    put, go = journal.put_content, asyncio.Event()

    async def slow(*args: Any) -> dict[str, Any]:
        await go.wait()
        return await put(*args)

    monkeypatch.setattr(journal, "put_content", slow)
    transport = Server(journal=journal)
    made = submitter(transport)
    calls = asyncio.gather(made.send(TEXT, event_id="large"), made.send("hi", event_id="small"))
    await asyncio.sleep(0)
    go.set()
    await calls
    assert [message["event_id"] for _, message, _ in transport.calls] == ["large", "small"]


@pytest.mark.promise("SUR-14", "SUR-15")
@pytest.mark.parametrize("error", [JournalUnavailable("the disk is full"), None])
@pytest.mark.parametrize("used", [None, 0, 20 * MIB])
async def test_where_the_journal_is_away_the_content_goes_along_while_the_run_has_room(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None, used: int | None
) -> None:
    monkeypatch.setattr(claim_check, "PUT_WITHIN", 0.02)
    transport = Server(journal=Away(error), used=used)
    await submitter(transport).send(TEXT, event_id="e1")
    assert transport.calls == [("signal_with_start", {"event_id": "e1", "content": TEXT}, None)]


@pytest.mark.promise("SUR-15")
@pytest.mark.parametrize("error", [JournalUnavailable("the disk is full"), None])
async def test_where_the_journal_is_away_and_the_run_is_full_nothing_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    monkeypatch.setattr(claim_check, "PUT_WITHIN", 0.02)
    transport = Server(journal=Away(error), used=25 * MIB)
    with pytest.raises(
        JournalUnavailable, match=r"no room .* the journal cannot take it: (the disk is full|it did not)"
    ):
        await submitter(transport).send(TEXT, event_id="e1")
    assert transport.calls == []


@pytest.mark.promise("SUR-15")
@pytest.mark.parametrize("call", ["send", "submit"])
async def test_a_client_without_a_journal_is_refused_before_the_run_is_full(call: str) -> None:
    transport = Server(used=25 * MIB - 1_000)
    with pytest.raises(Backpressure, match="INTURN_JOURNAL") as refused:
        await getattr(submitter(transport), call)(TEXT, event_id="e1")
    assert refused.value.retry_after > 0
    assert not isinstance(refused.value, InvalidEvent)
    assert transport.calls == []


@pytest.mark.promise("SUR-15")
async def test_many_clients_without_a_journal_that_look_at_once_cannot_fill_a_run(monkeypatch: Any) -> None:
    server, looked = Server(used=24 * MIB), asyncio.Barrier(100)
    describe = server.describe

    async def together() -> Any:
        seen = await describe()
        await looked.wait()
        return seen

    monkeypatch.setattr(server, "describe", together)
    await asyncio.gather(*(submitter(server).send("x" * 256_000, event_id=f"e{n}") for n in range(100)))
    assert 24 * MIB + sum(sizes.written(message) for _, message, _ in server.calls) < sizes.RUN


@pytest.mark.promise("SUR-15")
async def test_small_events_are_refused_too_where_they_would_end_the_run(journal: Journal) -> None:
    server = Server(used=41 * MIB, journal=journal)

    async def flood() -> None:
        for number in range(100):
            await submitter(server).send("x" * 3_000, event_id=f"e{number}")

    with pytest.raises(Backpressure, match="no room"):
        await flood()
    assert 0 < len(server.calls) < 20, "whoever sends little looks seldom"
    with pytest.raises(Backpressure):
        await submitter(server).send("hi", event_id="tiny")
    server.used = 10_000
    await submitter(server).send("hi", event_id="tiny")


@pytest.mark.promise("SUR-15")
async def test_small_events_cost_a_look_at_the_server_once_for_many() -> None:
    server = Server()
    for number in range(1_000):
        await submitter(server).send("hi", event_id=f"e{number}")
    assert 1 <= server.looks < 10


@pytest.mark.promise("SUR-15")
async def test_a_run_that_has_ended_is_no_obstacle() -> None:
    transport = Server(used=49 * MIB, runs=False)
    await submitter(transport).send(TEXT, event_id="e1")
    assert len(transport.calls) == 1


@pytest.mark.promise("SUR-15")
async def test_where_nobody_can_say_what_room_there_is_nothing_is_sent() -> None:
    transport = FakeTransport(patience=0.1)
    with pytest.raises(Unavailable):
        await submitter(transport).send(TEXT, event_id="e1")
    assert transport.calls == []


@pytest.mark.promise("ACC-1")
async def test_the_same_large_event_sent_twice_has_a_put_for_each(journal: Journal) -> None:
    transport = Server(journal=journal)
    for _ in range(2):
        await submitter(transport).send(TEXT, event_id="e1")
    first, second = (message["claim"] for _, message, _ in transport.calls)
    assert first["hash"] == second["hash"]
    assert first["gen"] < second["gen"]
    assert await journal.contents(KEY) == {"e1": 2 * first["size"]}

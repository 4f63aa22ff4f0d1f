"""Forking a session by its handle: an id that was nobody's before, and a status before its first event."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from inturn import Client
from inturn.client.temporal.transport import SessionTransport
from inturn.errors import InvalidEvent, SessionNotFound
from inturn.journal import Journal
from inturn.keys import SessionKey
from tests.support.journal import plain_turn

pytestmark = pytest.mark.promise("MOD-1")
KEY = SessionKey("default", "s")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The sessions that the server has."""
    names: set[str] = set()

    async def describe(self: SessionTransport) -> Any:
        if self.key.session_id not in names:
            raise RPCError("workflow not found", RPCStatusCode.NOT_FOUND, b"")
        return object()

    async def status(self: SessionTransport, timeout: float) -> Any:
        raise RPCError("workflow not found", RPCStatusCode.NOT_FOUND, b"")

    monkeypatch.setattr(SessionTransport, "describe", describe)
    monkeypatch.setattr(SessionTransport, "status", status)
    return names


async def test_a_fork_is_a_session_of_its_own_that_no_event_has_started(journal: Journal, known: set[str]) -> None:
    for n in (1, 2):
        await plain_turn(journal, KEY, f"e{n}", f"answer {n}")
    session = Client(journal=journal).session("s", agent="a")
    fork = await session.fork("f", upto="e1")
    assert (fork.session_id, fork.tenant, fork.agent) == ("f", "default", "a")
    assert [entry.type async for entry in fork.entries()] == ["session.forked"]
    said = await fork.transcript()
    assert [message["role"] for message in said] == ["user", "assistant"]
    assert said == (await session.transcript())[:2]
    assert (await fork.status()).state == "idle"
    assert (await fork.audit()).ok
    again = await session.fork("f", upto="e1")
    assert [entry.seq async for entry in again.entries()] == [entry.seq async for entry in fork.entries()]


async def test_an_id_that_the_server_knows_is_in_use(journal: Journal, known: set[str]) -> None:
    await plain_turn(journal, KEY, "e1")
    known.add("taken")
    session = Client(journal=journal).session("s")
    with pytest.raises(InvalidEvent, match="there is a session default/taken already"):
        await session.fork("taken")
    await session.fork("f")
    known.add("f")
    await session.fork("f")


@pytest.mark.parametrize("new", ["", "a/b", "x" * 129, "é", "a\0b"])
async def test_what_is_no_id_is_refused(journal: Journal, known: set[str], new: str) -> None:
    await plain_turn(journal, KEY, "e1")
    session = Client(journal=journal).session("s")
    with pytest.raises(InvalidEvent, match="does not match"):
        await session.fork(new)
    with pytest.raises(InvalidEvent, match="has no event"):
        await session.fork("f", upto=new or "/")


async def test_a_session_that_is_not_there_cannot_be_forked_nor_another_tenants(
    journal: Journal, known: set[str]
) -> None:
    await plain_turn(journal, KEY, "e1")
    with pytest.raises(SessionNotFound):
        await Client(journal=journal).session("none").fork("f")
    with pytest.raises(SessionNotFound):
        await Client(journal=journal, tenant="other").session("s").fork("f")

"""What was said stands nowhere in clear where there are keys: no database, journal, log, nor what the server tells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from inturn import Client, Session
from inturn.encryption.keys import VARIABLE
from inturn.values import Approval
from tests.support.histories import settled
from tests.support.keys import connected, keys
from tests.support.processes.server import DevServer
from tests.support.rig import Rig
from tests.support.waiting import until

CANARY = "kanarienvogel"
"""Begins each of them; a number tells where it was said."""


def canary(place: str) -> str:
    return f"{CANARY}-{place}"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[str]:
    """A server of the test's own, whose database is under `tmp_path`."""
    directory = tmp_path / "server"
    directory.mkdir()
    with DevServer(db=directory / "temporal.db", log=directory / "log") as server:
        yield server.address


@pytest.mark.promise("SEC-2")
async def test_nothing_that_was_said_is_in_any_file_in_clear(
    own_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, keys("a"))
    rig = await Rig(own_server, tmp_path).connect()
    worker = rig.process(agents="tests.support.agents.secretive:agents", **{VARIABLE: keys("a")})
    try:
        worker.start()
        async with rig.client() as client:
            await _say_everything(rig, client)
        found = await _told(rig)
        worker.stop()
    finally:
        rig.end()
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        assert CANARY.encode() not in file.read_bytes(), file
    assert CANARY not in found


async def _say_everything(rig: Rig, client: Client) -> None:
    await client.documents.put("rules", canary("document"))
    session = client.session("s", agent="secretive")
    calls = [
        f'[[tool spread {{"text": "{canary("argument")}"}}]]',
        f'[[tool refuse {{"why": "{canary("error")}"}}]]',
        f'[[tool crash {{"why": "{canary("crash")}"}}]]',
    ]
    metadata = {"in": canary("metadata")}
    turn = await session.ask(
        f"{' '.join(calls)} {canary('event')}", event_id="e1", sender=canary("sender"), metadata=metadata
    )
    assert canary("argument") in turn.text
    await session.send(f"{canary('large')} " + "x" * 20_000, event_id="e2")
    assert (await session.wait("e2", timeout=30)).disposition == "applied"
    await session.send(f'[[tool ask_first {{"what": "{canary("approval")}"}}]]', event_id="e3")
    [approval] = await until(lambda: _approvals(session))
    await session.deny(approval.approval_id, reason=canary("denied"), by=canary("person"))
    assert (await session.wait("e3", timeout=30)).disposition == "applied"
    await session.send(f"undeliverable {canary('delivery')}", event_id="e4")
    await session.wait("e4", timeout=30)
    await session.pause()
    await session.send(canary("waiting"), event_id="e5")
    await session.send(canary("taken out"), event_id="e6")
    await session.cancel("e6", reason=canary("reason"))
    await _unreadable(rig)
    await session.resume()
    assert (await session.wait("e5", timeout=30)).disposition == "applied"
    await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
    fork = await session.fork("f", upto="e1")
    await fork.ask(
        f'{canary("fork")} [[tool remember {{"name": "rules", "text": "{canary("memory")}", "version": 1}}]]'
    )
    assert canary("event") in json.dumps(await fork.transcript())
    assert (await fork.audit(deep=True)).ok
    kept = await client.documents.get("rules")
    assert kept is not None
    assert kept.text == canary("memory")
    await _reads_back(session)


async def _approvals(session: Session) -> tuple[Approval, ...]:
    return (await session.status()).approvals


async def _unreadable(rig: Rig) -> None:
    handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
    await handle.signal("submit", canary("no event"))
    await handle.signal("sbumit", {"event_id": "typo", "content": canary("typo")})


async def _reads_back(session: Session) -> None:
    said = json.dumps([entry.body async for entry in session.entries()])
    for place in (
        "argument",
        "error",
        "crash",
        "event",
        "metadata",
        "large",
        "denied",
        "waiting",
        "reason",
        "no event",
    ):
        assert canary(place) in said, place


async def _told(rig: Rig) -> str:
    """Return what the server tells of the session to one without keys."""
    temporal = await connected(rig.address)
    handle = temporal.get_workflow_handle(str(rig.key("s")))
    history = await handle.fetch_history()
    described = await handle.describe()
    return history.to_json() + str(described.raw_description)

"""Every card of an approval shows how it was answered, wherever that was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx2
import pytest

from inturn.channels import Call, Channel, Click, Inbound
from inturn.channels.cards import card_name
from inturn.channels.inbound import Answered
from inturn.journal import Journal
from inturn.keys import SessionKey
from inturn_gateway.app import gateway
from tests.support.gateway import DeskClient, Served, Temporal
from tests.support.waiting import until

CLICK = Click(session="s", approval_id="c:1", by="desk:dora", yes=True)


class Room(Channel):
    """A channel that believes anybody, and notes what its cards show."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.shown: list[tuple[str, str, str | None]] = []

    def verify(self, call: Call) -> bool:
        return True

    def read(self, call: Call) -> list[Inbound]:
        return [CLICK]

    async def allows(self, click: Click) -> str | None:
        return None

    async def told(self, click: Click, answered: Answered) -> None:
        self.shown.append(("told", answered.answer, answered.by))

    async def show(self, card: Mapping[str, Any], answered: Answered) -> None:
        self.shown.append((str(card["place"]), answered.answer, answered.by))
        raise RuntimeError("the platform is away")


@pytest.fixture
def rooms() -> list[Room]:
    return [Room("desk"), Room("hall")]


@pytest.fixture
async def http(desk: Temporal, rooms: list[Room], journal: Journal) -> AsyncGenerator[httpx2.AsyncClient]:
    desk.known.add(SessionKey("acme", "s"))
    closing, client = asyncio.Event(), DeskClient(desk, journal=journal, tenant="acme")
    await client.shared.put(card_name("s", "c:1"), {"channel": "hall", "place": "p7"})
    async with Served(gateway(client, channels=rooms, closing=closing), closing) as server, server.http() as made:
        yield made


async def shown(room: Room) -> list[tuple[str, str, str | None]]:
    async def some() -> bool:
        return bool(room.shown)

    await until(some)
    return room.shown


async def test_a_card_shows_what_was_clicked_in_another_room(http: httpx2.AsyncClient, rooms: list[Room]) -> None:
    assert (await http.post("/hooks/desk")).status_code == 200
    assert await shown(rooms[0]) == [("told", "approved", "desk:dora")]
    assert await shown(rooms[1]) == [("p7", "approved", "desk:dora")]


async def test_a_card_that_was_clicked_itself_is_told_once(http: httpx2.AsyncClient, rooms: list[Room]) -> None:
    assert (await http.post("/hooks/hall")).status_code == 200
    assert await shown(rooms[1]) == [("told", "approved", "desk:dora")]


async def test_a_card_shows_what_was_answered_by_a_program(http: httpx2.AsyncClient, rooms: list[Room]) -> None:
    answer = await http.post("/v1/sessions/s/approvals/c:1", json={"result": "deny", "message": "no"})
    assert answer.status_code == 200
    assert await shown(rooms[1]) == [("p7", "denied", "local")]
    assert rooms[0].shown == []

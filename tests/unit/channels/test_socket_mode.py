"""Socket Mode: an envelope is acknowledged once it is durable, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inturn.channels import Call, Message, Reply, platform
from inturn.channels.slack import Slack
from inturn.testing.slack import StrictSlack
from inturn.testing.slack.socket_mode import Socket


class Taker:
    """What the gateway does with a call: durable, or not in time."""

    def __init__(self, channel: Slack) -> None:
        self.channel = channel
        self.refuses = 0
        self.taken: list[Any] = []

    async def __call__(self, call: Call) -> Reply:
        if self.refuses:
            self.refuses -= 1
            return Reply.later()
        values = list(self.channel.read(call))
        self.taken += values
        return Reply.json({"text": "thanks"}) if "trigger" in call.body.decode() else Reply()


@pytest.fixture
async def held(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[StrictSlack, Socket, Taker]]:
    monkeypatch.setattr(platform, "TIMEOUTS", dict.fromkeys(platform.TIMEOUTS, 60.0))
    async with StrictSlack() as slack:
        slack.socket = socket = Socket(within=0.5)
        await socket.start()
        taker = Taker(Slack("signing", "xoxb-test", app_token="xapp-test", api=slack.api))
        assert taker.channel.listens
        listening = asyncio.create_task(taker.channel.listen(taker))
        yield slack, socket, taker
        listening.cancel()
        await asyncio.wait([listening])
        await socket.stop()


def payload(slack: StrictSlack, text: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(slack.event(slack.message(text, channel="D1")))
    return made


async def test_events_commands_and_buttons_come_by_the_connection(held: tuple[StrictSlack, Socket, Taker]) -> None:
    slack, socket, taker = held
    async with asyncio.timeout(60):
        assert await socket.send(payload(slack, "hi")) == (1, None)
        command = {"command": "/agent", "text": "now", "team_id": "T1", "channel_id": "C1", "user_id": "U7"}
        _, told = await socket.send({**command, "trigger_id": "1.trigger"}, "slash_commands")
    assert told == {"text": "thanks"}
    assert [value.content for value in taker.taken if isinstance(value, Message)] == ["hi", "now"]


async def test_what_is_not_durable_is_not_acknowledged_and_comes_again(held: tuple[StrictSlack, Socket, Taker]) -> None:
    slack, socket, taker = held
    taker.refuses = 1
    async with asyncio.timeout(60):
        attempts, _ = await socket.send(payload(slack, "hi"))
    assert attempts >= 2
    assert {value.event_id for value in taker.taken} == {taker.taken[0].event_id}


async def test_a_connection_that_slack_ends_is_opened_anew(held: tuple[StrictSlack, Socket, Taker]) -> None:
    slack, socket, taker = held
    async with asyncio.timeout(60):
        await socket.send(payload(slack, "one"))
        await socket.disconnect()
        await socket.send(payload(slack, "two"))
    assert socket.connections == 2
    assert [value.content for value in taker.taken] == ["one", "two"]


async def test_garbage_and_unknown_envelopes_end_nothing(held: tuple[StrictSlack, Socket, Taker]) -> None:
    slack, socket, _ = held
    async with asyncio.timeout(60):
        connection = await socket._connected()
        for text in ("{", "[]", '{"type": "x"}', '{"envelope_id": 7}', "[" * 5_000):
            await connection.send_str(text)
        await connection.send_bytes(b"\xff")
        await socket.send({"type": "hello"})
        await socket.send(payload(slack, "still here"))
    assert socket.connections == 1


async def test_an_unreadable_envelope_is_refused_alone(held: tuple[StrictSlack, Socket, Taker]) -> None:
    slack, socket, taker = held
    async with asyncio.timeout(60):
        broken = asyncio.create_task(socket.send({"type": "event_callback", "event": {"type": "message"}}))
        await socket.send(payload(slack, "hi"))
        broken.cancel()
        await asyncio.wait([broken])
    assert [value.content for value in taker.taken] == ["hi"]

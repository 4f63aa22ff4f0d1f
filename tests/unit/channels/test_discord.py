"""Discord: what its interactions mean, and how answers get into its channels."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

import inturn.testing
from inturn.channels import Call, Click, Ignored, Message, Stop, Taken, Unreadable, route
from inturn.channels.discord import Discord
from inturn.channels.inbound import Answered
from inturn.keys import SessionKey
from inturn.testing import ToolCall
from inturn.testing.discord import StrictDiscord
from inturn.tools import tool
from tests.support.deliveries import delivered
from tests.support.steps import rig

pytestmark = pytest.mark.usefixtures("patient", "listed_at_once")

NOW = 1_800_000_000


@pytest.fixture
async def server() -> AsyncIterator[StrictDiscord]:
    async with StrictDiscord() as discord:
        yield discord


def made(server: StrictDiscord, **options: Any) -> Discord:
    api = server.api or "http://127.0.0.1:1"
    channel = Discord(server.public_key, "bot-token", **{"api": api, **options})
    channel._pace._every = 0.0
    return channel


def call(server: StrictDiscord, interaction: dict[str, Any]) -> Call:
    body = json.dumps(interaction).encode()
    return Call(body, headers=dict(server.sign(body, at=NOW)), now=NOW)


def read(channel: Discord, server: StrictDiscord, interaction: dict[str, Any]) -> Any:
    [value] = channel.read(call(server, interaction))
    return value


def test_it_keeps_what_every_channel_owes() -> None:
    server = StrictDiscord()
    ping = call(server, {"type": 1})
    inturn.testing.channel(made(server), call(server, server.command("hi")), ping, window=300)
    reply = made(server).hello(ping)
    assert reply is not None
    assert json.loads(reply.body) == {"type": 1}
    assert made(server).refuses(ping).status == 401


def test_a_command_is_an_event_of_its_channel_and_the_person_sees_it_taken_or_not() -> None:
    server = StrictDiscord()
    channel = made(server)
    value = read(channel, server, server.command("where is it?"))
    assert isinstance(value, Message)
    assert (value.session, value.event_id, value.sender) == ("dc:500", "dc:1000", "discord:7")
    shown = json.loads(channel.answer([Taken(value)]).body)
    assert (shown["type"], shown["data"]["content"]) == (4, "> where is it?")
    assert shown["data"]["allowed_mentions"] == {"parse": []}
    late = json.loads(channel.answer([Taken(value, "later")]).body)
    assert (late["data"]["flags"], "once more" in late["data"]["content"]) == (64, True)
    assert isinstance(read(channel, server, server.command("stop")), Stop)
    assert read(channel, server, {"type": 9}) == Ignored("kind")
    changes: list[dict[str, Any]] = [{"channel_id": "x"}, {"id": 7}, {"member": {}}]
    for change in changes:
        with pytest.raises(Unreadable):
            read(channel, server, {**server.command("x"), **change})


def test_a_key_that_is_none_is_refused() -> None:
    for bad in ("", "zz", "00"):
        with pytest.raises(ValueError, match=r".+"):
            Discord(bad, "t")


async def answered(r: Any, channel: Discord, server: StrictDiscord) -> Message:
    message = read(channel, server, server.command("why?"))
    await r.ask(message.event_id, event={"content": message.content, **message.options("discord")})
    assert isinstance(message, Message)
    return message


@pytest.mark.promise("OUT-3")
async def test_the_models_text_calls_nobody_and_shows_nothing(tmp_path: Path, server: StrictDiscord) -> None:
    channel = made(server)
    async with rig(tmp_path, ["@everyone <@1> https://evil.test 🎉 " * 300], deliver=route(channel)) as r:
        message = await answered(r, channel, server)
        await r.deliver(message.event_id)
    assert len(server.messages) > 4
    assert (server.pings, server.previews) == (0, 0)


@pytest.mark.promise("OUT-1")
async def test_a_part_that_was_not_answered_for_is_there_once(tmp_path: Path, server: StrictDiscord) -> None:
    channel = made(server)
    async with rig(tmp_path, ["word " * 1_000], deliver=route(channel)) as r:
        message = await answered(r, channel, server)
        server.faults = ["lost", 500, 429, "lost"]
        assert await delivered(r, message.event_id) == 5
    texts = [each["content"] for each in server.messages]
    assert " ".join(texts).split() == ["word"] * 1_000
    assert len(texts) == 3


@pytest.mark.promise("OUT-2")
async def test_a_channel_that_is_gone_sets_the_delivery_aside(tmp_path: Path, server: StrictDiscord) -> None:
    channel = made(server)
    async with rig(tmp_path, ["hello"], deliver=route(channel)) as r:
        message = await answered(r, channel, server)
        server.faults = [404]
        with pytest.raises(ApplicationError, match="404") as told:
            await r.deliver(message.event_id)
        assert told.value.non_retryable
        assert await delivered(r, message.event_id, "deliver~1") == 1


@tool(approval=True)
async def refund(cents: int, note: str = "") -> str:
    """Pay back."""
    return "paid"


@pytest.mark.promise("OUT-4")
async def test_a_card_is_bound_and_tells_who_answered(
    tmp_path: Path, server: StrictDiscord, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = made(server, approvers=["lead"], four_eyes=True)
    script = [ToolCall("refund", cents=9_000), ToolCall("refund", cents=1, note="x" * 3_000)]
    async with rig(tmp_path, script, tools=[refund], deliver=route(channel)) as r:
        for _ in script:
            message = read(channel, server, server.command("Pay it back."))
            r.session = SessionKey("acme", message.session)
            [asks] = (await r.ask(message.event_id, event={"content": "Pay", **message.options("discord")})).calls
            approval = {"approval_id": f"{asks.id}:{asks.hash}", "call_id": asks.id, "tool": "refund"}
            await r.deliver(message.event_id, "ask-0-0", kind="approval", approval=approval)
    card, long = server.messages
    assert '"cents": 9000' in card["content"]
    assert "components" not in long
    click = read(channel, server, server.press(card, user="8", roles=("lead",)))
    assert isinstance(click, Click)
    assert (click.by, click.yes, click.session, click.groups) == ("discord:8", True, "dc:500", ("lead",))
    assert await channel.allows(click) is None
    assert await channel.allows(replace(click, groups=())) == "you may not answer this"
    asker = read(channel, server, server.press(card, roles=("lead",)))
    assert await channel.allows(asker) == "whoever asked for it may not answer"
    assert read(channel, server, server.press({**card, "channel_id": "501"})) == Ignored("forged")
    assert json.loads(channel.answer([Taken(click)]).body) == {"type": 6}
    await channel.told(asker, Answered("refused", reason="you may not"))
    assert server.whispers == [{"content": "you may not", "flags": 64, "allowed_mentions": {"parse": []}}]
    await channel.told(click, Answered("approved", by=click.by))
    assert card["content"].endswith("✅ approved by discord:8")
    assert card["components"] == []

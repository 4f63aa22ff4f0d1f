"""Telegram: what its updates mean, and how answers get into its chats."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

import inturn.testing
from inturn.channels import Call, Click, Ignored, Message, Reply, Stop, Taken, Unreadable, route
from inturn.channels.cards import named
from inturn.channels.inbound import Answered
from inturn.channels.telegram import MOST, Telegram, formatted
from inturn.journal.state.changes import Scope
from inturn.keys import SessionKey
from inturn.testing import ToolCall
from inturn.testing.telegram import StrictTelegram
from inturn.testing.telegram.server import Shown
from inturn.tools import tool
from inturn.tools.shared_state import State
from tests.support.steps import StepRunner, rig

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
async def server() -> AsyncIterator[StrictTelegram]:
    async with StrictTelegram(speed=1_000) as telegram:
        yield telegram


def made(server: StrictTelegram | None = None, **options: Any) -> Telegram:
    api = server.api if server is not None else "http://127.0.0.1:1"
    channel = Telegram("7:strict", **{"secret": "hook-secret", "api": api, **options})
    channel._pace._every = 0.0
    return channel


def call(update: dict[str, Any]) -> Call:
    headers = {"x-telegram-bot-api-secret-token": "hook-secret", "content-type": "application/json"}
    return Call(json.dumps(update).encode(), headers=headers, now=1.8e9)


def read(channel: Telegram, update: dict[str, Any]) -> Any:
    [value] = channel.read(call(update))
    return value


def test_it_keeps_what_every_channel_owes() -> None:
    server = StrictTelegram()
    inturn.testing.channel(made(), call(server.update("hi")), call(server.update("/stop")), body_signed=False)
    assert not made(secret=None).verify(call(server.update("hi")))


def test_an_update_is_an_event_of_its_chat_and_topic() -> None:
    server, channel = StrictTelegram(), made()
    value = read(channel, server.update("/ask@SupportBot where is it?", chat=-100, user=8, topic=3))
    assert isinstance(value, Message)
    assert (value.session, value.event_id, value.aliases) == ("tg:7:-100:3", "tg:7:u1000", ("tg:7:-100:m1",))
    assert (value.content, value.sender) == ("Person 8: where is it?", "telegram:8")
    assert value.address == {"to": -100, "topic": 3}
    assert value.sequence is None
    direct = read(channel, server.update("mail@example.com is down"))
    assert (direct.session, direct.content) == ("tg:7:5", "mail@example.com is down")
    assert isinstance(read(channel, server.update("/stop@SupportBot")), Stop)


def test_pictures_and_files_are_named_and_other_things_are_nothing() -> None:
    server, channel = StrictTelegram(), made()
    update = server.update("")
    update["message"] |= {"caption": "Look", "document": {"file_name": "a.pdf"}}
    assert read(channel, update).content == "Look\n[document: a.pdf]"
    update["message"]["from"]["is_bot"] = True
    assert read(channel, update) == Ignored("bot")
    assert read(channel, {"update_id": 1, "edited_message": update["message"]}) == Ignored("edit")
    assert read(channel, {"update_id": 1, "poll": {}}) == Ignored("kind")
    assert read(channel, {"update_id": 1, "message": {"chat": {"id": 1}, "from": {"id": 2}}}) == Ignored("empty")
    for bad in ({}, {"update_id": "1"}, {"update_id": True}, {"update_id": 1, "callback_query": {"from": 7}}):
        with pytest.raises(Unreadable):
            read(channel, bad)


def test_the_answer_to_an_update_has_no_body() -> None:
    channel, message = made(), read(made(), StrictTelegram().update("hi"))
    assert channel.answer([Taken(message)]) == Reply()
    assert channel.answer([Taken(message, "later")]).body == b""


@pytest.mark.parametrize("bad", ["", "7", "7:", "x:y", "7:a/b", "7:" + "a" * 200])
def test_what_is_no_token_is_said(bad: str) -> None:
    with pytest.raises(ValueError, match="token is none"):
        Telegram(bad)


async def answered(r: StepRunner, channel: Telegram, update: dict[str, Any]) -> Message:
    message = read(channel, update)
    assert isinstance(message, Message)
    await r.ask(message.event_id, event={"content": message.content, **message.options("telegram")})
    return message


@pytest.mark.promise("OUT-3")
async def test_the_models_text_calls_nobody_and_breaks_no_format(tmp_path: Path, server: StrictTelegram) -> None:
    hostile = "@everyone <b>x <a href='tg://user?id=1'>y</a> https://evil.test 🎉&amp; ```py\n<i>\n```\n```\n" * 200
    channel = made(server)
    async with rig(tmp_path, [hostile], deliver=route(channel)) as r:
        message = await answered(r, channel, server.update("hi", chat=-5, topic=9))
        await r.deliver(message.event_id)
    assert len(server.messages) > 4
    assert server.previews == 0
    assert all((each["chat_id"], each["message_thread_id"]) == (-5, 9) for each in server.messages)
    shown = "".join(Shown.of(each["text"]) for each in server.messages)
    assert "@\u200beveryone" in shown
    assert "@everyone" not in shown
    assert "<b>x" in shown


@pytest.mark.promise("OUT-1")
async def test_a_part_that_left_no_answer_is_sent_again_and_the_journal_says_so(
    tmp_path: Path, server: StrictTelegram
) -> None:
    channel = made(server)
    async with rig(tmp_path, ["word " * 2_000], deliver=route(channel)) as r:
        message = await answered(r, channel, server.update("hi"))
        server.faults = [503, "lost"]
        for _ in range(2):
            with pytest.raises(ApplicationError) as told:
                await r.deliver(message.event_id)
            assert not told.value.non_retryable
        await r.deliver(message.event_id)
        texts = [each["text"] for each in server.messages]
        assert len(texts) == 4
        assert texts[0] == texts[1]
        assert " ".join(texts[1:]).split() == ["word"] * 2_000
        assert len(await r.bodies("tool.progress")) == 2


@pytest.mark.promise("OUT-2")
async def test_it_waits_as_long_as_telegram_says_and_gives_up_where_it_is_blocked(
    tmp_path: Path, server: StrictTelegram
) -> None:
    channel = made(server)
    async with rig(tmp_path, ["hello"], deliver=route(channel)) as r:
        message = await answered(r, channel, server.update("hi"))
        server.faults = [429, 403]
        with pytest.raises(ApplicationError, match="Too Many Requests") as told:
            await r.deliver(message.event_id)
        assert told.value.next_retry_delay is not None
        assert told.value.next_retry_delay.total_seconds() == 3.0
        with pytest.raises(ApplicationError, match="blocked by the user") as told:
            await r.deliver(message.event_id)
        assert told.value.non_retryable
        assert "strict" not in str(told.value)
        await r.deliver(message.event_id, "deliver~1")
    assert [each["text"] for each in server.messages] == ["hello"]


def _opened(r: StepRunner) -> Any:
    async def opened() -> Any:
        return r.journal

    return opened


@tool(approval=True)
async def refund(cents: int, note: str = "") -> str:
    """Pay back."""
    return "paid"


@pytest.mark.promise("OUT-4")
async def test_a_card_is_bound_to_call_and_arguments_and_tells_who_answered(
    tmp_path: Path, server: StrictTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = made(server, approvers=["8"], four_eyes=True)
    script = [ToolCall("refund", cents=9_000, note="<b>"), ToolCall("refund", cents=1, note="x" * 9_000)]
    async with rig(tmp_path, script, tools=[refund], deliver=route(channel)) as r:
        for event in ("u1000", "u1001"):
            message = read(channel, server.update("Pay it back.", chat=-5, topic=9))
            r.session = SessionKey("acme", message.session)
            assert message.event_id.endswith(event)
            options = message.options("telegram")
            [asks] = (await r.ask(message.event_id, event={"content": "Pay", **options})).calls
            approval = {"approval_id": f"{asks.id}:{asks.hash}", "call_id": asks.id, "tool": "refund"}
            await r.deliver(message.event_id, "ask-0-0", kind="approval", approval=approval)
            if event == "u1000":
                first = approval["approval_id"]
        click = read(channel, server.press(server.messages[0], user=8))
        shared = State(_opened(r), Scope("acme"))
        known = await named(click, shared)
        assert known is not None
        assert known.approval_id == first
        elsewhere = replace(click, session="tg:7:-6")
        assert await named(elsewhere, shared) == (None if click.token else elsewhere)
        assert await named(Click(by="x", session="s", token="0" * 32), shared) is None
    card, long = server.messages
    assert '"cents": 9000' in Shown.of(card["text"])
    assert "telegram:7" in Shown.of(card["text"])
    assert "reply_markup" not in long
    click = read(channel, server.press(card, 0, user=8))
    assert isinstance(click, Click)
    assert (click.by, click.yes, click.session) == ("telegram:8", True, "tg:7:-5:9")
    assert not read(channel, server.press(card, 1, user=8)).yes
    assert await channel.allows(click) is None
    assert await channel.allows(read(channel, server.press(card, user=9))) == "you may not answer this"
    assert await channel.allows(read(channel, server.press(card, user=7))) == "whoever asked for it may not answer"
    moved = server.press({**card, "chat_id": -6}, user=8)
    assert read(channel, moved) == Ignored("forged")
    await channel.told(click, Answered("approved", by=click.by))
    assert card["reply_markup"] == {"inline_keyboard": []}
    assert server.messages[-1]["text"] == "✅ approved by telegram:8"
    assert len(server.answered) == 1


async def test_polling_takes_updates_in_order_each_until_it_is_durable(server: StrictTelegram) -> None:
    channel, got, refusals = made(server, secret=None), list[str](), itertools.chain([1], itertools.repeat(0))
    for number in range(5):
        server.offer(server.update(f"{number}"))
    done = asyncio.Event()

    async def take(call: Call) -> Reply:
        if next(refusals):
            return Reply(503, headers={"retry-after": "0.01"})
        [message] = channel.read(call)
        assert isinstance(message, Message)
        got.append(str(message.content))
        if len(got) == 5:
            done.set()
        return Reply()

    assert channel.listens
    polling = asyncio.create_task(channel.listen(take))
    async with asyncio.timeout(60):
        await done.wait()
    polling.cancel()
    assert got == ["0", "1", "2", "3", "4"]


def test_formatting_keeps_code_as_it_is_and_escapes_all_else() -> None:
    assert formatted("a < b & @you\n```py\nx < 1 @y\n```\nend") == (
        "a &lt; b &amp; @\u200byou\n<pre>x &lt; 1 @y</pre>\nend"
    )
    assert formatted("```\nopen") == "<pre>open</pre>"
    assert MOST == 4_096

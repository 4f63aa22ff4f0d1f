"""Slack's own schedule against a real gateway, server and workers: each message answered once, in its thread."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inturn import Agent, InboxPolicy, tool
from inturn.channels import platform, route, sending
from inturn.channels.slack import Slack
from inturn.testing.slack import StrictSlack
from inturn_gateway import bounds
from inturn_gateway.app import gateway
from tests.support.gateway import Served
from tests.support.rig import Rig
from tests.support.sizes import sized
from tests.support.waiting import until

THREADS = sized(sample=6, whole=30)
EACH = sized(sample=5, whole=10)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "REQUEST", 60.0)
    monkeypatch.setattr(sending, "LISTED", -60.0)
    monkeypatch.setattr(platform, "TIMEOUTS", dict.fromkeys(platform.TIMEOUTS, 60.0))
    monkeypatch.setattr(bounds, "TENANT_RATE", 0.001)
    monkeypatch.setattr(bounds, "SESSION_RATE", 0.001)


@tool(approval=True)
async def refund(cents: int) -> str:
    """Pay back."""
    return f"paid {cents}"


def app_of(slack: StrictSlack, **options: Any) -> tuple[Slack, Agent]:
    """Return the channel of a Slack, and an agent that answers in it."""
    channel = Slack("signing", "xoxb-test", api=slack.api, agent="support", **options)
    channel._api._pace._every = 0.0
    inbox = InboxPolicy(reorder_window=0.3, on_late="accept")
    agent = Agent("support", model="m", instructions="Be brief.", tools=[refund], deliver=route(channel), inbox=inbox)
    return channel, agent


class Broken:
    """A way to the gateway that loses some requests, and some answers: what was durable and not acknowledged."""

    def __init__(self, app: ASGIApp, rng: random.Random) -> None:
        self._app = app
        self._rng = rng
        self.lost = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        last = (b"x-slack-retry-num", b"3") in scope.get("headers", ())  # Slack gives up behind it
        luck = self._rng.random() if scope["type"] == "http" and not last else 1.0
        if luck < 0.3:
            self.lost += 1
            if luck < 0.2:
                await self._app(scope, receive, _nowhere)
            await send({"type": "http.response.start", "status": 502, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)


async def _nowhere(message: Message) -> None:
    """Lose it."""


@asynccontextmanager
async def served(rig: Rig, channel: Slack, slack: StrictSlack, rng: random.Random | None = None) -> AsyncIterator[Any]:
    """A gateway that Slack delivers to."""
    closing = asyncio.Event()
    async with rig.client() as client:
        app = gateway(client, channels=[channel], closing=closing, api=False)
        way = app if rng is None else Broken(app, rng)
        async with Served(way, closing) as server:
            slack.hook = f"{server.url}/hooks/slack"
            yield way


def answers(slack: StrictSlack, thread: str) -> list[str]:
    """Return what the bot said in a thread, in order."""
    return [each["markdown_text"] for each in slack.thread(thread) if "markdown_text" in each]


@pytest.mark.promise("ING-2", "ING-4", "OUT-1")
async def test_each_message_is_answered_once_in_its_thread_however_slack_delivers_it(rig: Rig) -> None:
    rng = random.Random(5)
    async with StrictSlack(speed=60, pace=0.0) as slack:
        channel, agent = app_of(slack, name_senders=False)
        async with served(rig, channel, slack, rng) as way, rig.worker([agent]):
            roots = [slack.message(f"{thread}.0", channel=f"C{thread % 3}") for thread in range(THREADS)]
            said = [(root, [root]) for root in roots]
            for number in range(1, EACH):
                for root, listed in said:
                    text = f"{root['text'].partition('.')[0]}.{number}"
                    listed.append(slack.message(text, channel=root["channel"], thread=root["ts"]))
            bodies = [body for _, listed in said for event in listed for body in twins(slack, event, rng)]
            rng.shuffle(bodies)
            done = await asyncio.gather(*(slack.deliver(body) for body in bodies))
            assert all(each.taken for each in done)

            async def answered() -> bool:
                return all(len(answers(slack, root["ts"])) >= EACH for root, _ in said)

            await until(answered, within=90)
            assert way.lost > 5
        for root, listed in said:
            expected = [f"You said: {each['text']}" for each in listed]
            assert sorted(answers(slack, root["ts"])) == sorted(expected)
    assert (slack.pings, slack.unfurled, slack.violations) == ([], 0, 0)


@pytest.mark.promise("ING-3", "ORD-12")
async def test_what_comes_shuffled_and_doubled_is_answered_in_the_order_in_which_it_was_said(rig: Rig) -> None:
    rng = random.Random(3)
    async with StrictSlack(pace=0.0) as slack:
        channel, agent = app_of(slack, name_senders=False)
        agent = replace(agent, inbox=InboxPolicy(reorder_window=3.0, on_late="accept"))
        async with served(rig, channel, slack), rig.worker([agent]):
            root = slack.message("0", channel="C1")
            said = [root, *(slack.message(f"{number}", channel="C1", thread=root["ts"]) for number in range(1, 8))]
            late = said.pop(3)
            bodies = [slack.event({**each, "type": kind}) for each in said for kind in ("message", "app_mention")]
            rng.shuffle(bodies)
            done = await asyncio.gather(*(slack.deliver(body) for body in bodies))
            assert all(each.taken for each in done)

            async def answered() -> bool:
                return len(answers(slack, root["ts"])) == len(said)

            await until(answered, within=60)
            assert answers(slack, root["ts"]) == [f"You said: {each['text']}" for each in said]
            assert (await slack.deliver(slack.event(late))).taken
            said.append(late)
            await until(answered, within=60)
            assert answers(slack, root["ts"])[-1] == "You said: 3"


def twins(slack: StrictSlack, event: dict[str, Any], rng: random.Random) -> list[bytes]:
    """Return the deliveries of a message: also as a mention, under another id, with an echo and an edit of it."""
    made = [slack.event(event)]
    if rng.random() < 0.3:
        made.append(slack.event({**event, "type": "app_mention"}))
    if rng.random() < 0.1:
        made.append(slack.event(event))
    if rng.random() < 0.1:
        made.append(slack.event({**event, "bot_id": "B0BOT", "user": "U0BOT"}))
    if rng.random() < 0.1:
        made.append(slack.event({**event, "subtype": "message_changed"}))
    return made


@pytest.mark.promise("OUT-4")
async def test_of_two_who_press_at_once_the_first_counts_and_the_card_tells_who(rig: Rig) -> None:
    async with StrictSlack(pace=0.0) as slack:
        channel, agent = app_of(slack, approvers=["U8", "U9"], four_eyes=True)
        async with served(rig, channel, slack), rig.worker([agent]), rig.client() as client:
            await slack.say('[[tool refund {"cents": 9000}]]', channel="D1")

            async def cards() -> list[dict[str, Any]]:
                return [each for each in slack.messages if "blocks" in each]

            [card] = await until(cards, within=60)
            shown = {**card, "blocks": list(card["blocks"])}
            presses = [slack.press(shown, user="U8"), slack.press(shown, yes=False, user="U9")]
            presses += [slack.press(shown, user="U7"), slack.press(shown, user="U8", value="y:forged:0:0")]
            done = await asyncio.gather(*presses)
            assert all(each.taken for each in done)

            async def answered() -> list[dict[str, Any]]:
                entries = [entry async for entry in client.session("slack:T1:D1").entries()]
                return [entry.body for entry in entries if entry.type == "approval.answered"]

            [answer] = await until(answered, within=60)
            assert (answer["answer"], answer["by"]) in (("approved", "slack:T1:U8"), ("denied", "slack:T1:U9"))

            async def told() -> bool:
                return f"{answer['answer']} by {answer['by']}" in str(card["blocks"])

            await until(told, within=60)
            await until(lambda: _list(slack.whispers), within=60)
            assert {each["user"] for each in slack.whispers} == {"U7"}


@pytest.mark.promise("ING-6", "OUT-4", "SEC-3")
async def test_a_refund_is_approved_by_a_button_also_while_no_worker_runs(rig: Rig) -> None:
    async with StrictSlack(pace=0.0) as slack:
        channel, agent = app_of(slack, approvers=["U8"])
        async with served(rig, channel, slack):
            async with rig.worker([agent]):
                asked = await slack.say('[[tool refund {"cents": 9000}]]', channel="D1")
                assert [attempt.status for attempt in asked.attempts] == [200]

                async def cards() -> list[dict[str, Any]]:
                    return [each for each in slack.messages if "blocks" in each]

                [card] = await until(cards, within=60)
                assert (await slack.press(card, user="U9")).taken
                await until(lambda: _list(slack.whispers), within=60)
            pressed = await slack.press(card, user="U8")
            assert pressed.taken

            async def shown() -> bool:
                return "approved by slack:T1:U8" in str(card["blocks"])

            await until(shown, within=60)
            async with rig.worker([agent]):

                async def said() -> list[str]:
                    return [each["markdown_text"] for each in slack.messages if "markdown_text" in each]

                assert len(await until(said, within=60)) == 1
        async with rig.client() as client:
            session = client.session("slack:T1:D1")
            entries = [entry async for entry in session.entries()]
            [answer] = [entry.body for entry in entries if entry.type == "approval.answered"]
            assert (answer["answer"], answer["by"], answer["via"]) == ("approved", "slack:T1:U8", "slack")
            assert "paid 9000" in str([entry.body for entry in entries if entry.type == "agent.tool_result"])
            assert "xoxb-test" not in str([entry.model_dump() for entry in entries])


async def _list(values: list[Any]) -> list[Any]:
    return values

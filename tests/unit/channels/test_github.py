"""GitHub: what its deliveries mean, and how answers get into its threads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

import inturn.testing
from inturn.channels import Call, Ignored, Message, Unreadable, Withdraw, route
from inturn.channels.github import GitHub, quiet
from inturn.testing.github import StrictGitHub
from tests.support.deliveries import delivered
from tests.support.steps import rig

pytestmark = pytest.mark.usefixtures("patient", "listed_at_once")


@pytest.fixture
async def server() -> AsyncIterator[StrictGitHub]:
    async with StrictGitHub() as github:
        yield github


def made(server: StrictGitHub | None = None, **options: Any) -> GitHub:
    api = server.api if server is not None else "http://127.0.0.1:1"
    channel = GitHub("hook-secret", "ghp_test", **{"login": "helper", "api": api, **options})
    channel._pace._every = 0.0
    return channel


def call(server: StrictGitHub, payload: dict[str, Any], event: str = "issue_comment") -> Call:
    body = json.dumps(payload).encode()
    return Call(body, headers=dict(server.sign(body, event)), now=1.8e9)


def read(channel: GitHub, server: StrictGitHub, payload: dict[str, Any], event: str = "issue_comment") -> Any:
    [value] = channel.read(call(server, payload, event))
    return value


def test_it_keeps_what_every_channel_owes() -> None:
    server = StrictGitHub()
    ping = call(server, {"zen": "Keep it logically awesome."}, "ping")
    inturn.testing.channel(made(), call(server, server.comment("@helper look")), ping)
    assert made().hello(ping) is not None


def test_a_comment_that_mentions_it_is_an_event_of_its_thread() -> None:
    server, channel = StrictGitHub(), made()
    value = read(channel, server, server.comment("@helper, why?"))
    assert isinstance(value, Message)
    assert (value.session, value.event_id) == ("gh:812:17", "gh:812:c1001")
    assert (value.content, value.sender) == ("dora: why?", "github:dora")
    assert value.address == {"repo": "acme/shop", "number": 17}
    opened = {"action": "opened", "repository": {"id": 812, "full_name": "acme/shop"}, "issue": {
        "id": 5, "number": 18, "title": "Broken", "body": "@helper look", "user": {"login": "eve", "type": "User"},
    }}  # fmt: skip
    value = read(channel, server, opened, "issues")
    assert (value.session, value.event_id, value.content) == ("gh:812:18", "gh:812:i5", "eve: Broken\n\nlook")


def test_what_is_not_for_it_is_ignored() -> None:
    server, channel = StrictGitHub(), made()
    assert read(channel, server, server.comment("hi")) == Ignored("not mentioned")
    assert isinstance(read(made(mentioned=False), server, server.comment("hi")), Message)
    assert read(channel, server, server.comment("@helper me", login="Helper")) == Ignored("own")
    assert read(channel, server, server.comment("@helper", login="ci[bot]", kind="Bot")) == Ignored("bot")
    bots = made(bots=["ci[bot]"])
    assert isinstance(read(bots, server, server.comment("@helper x", login="ci[bot]", kind="Bot")), Message)
    assert read(channel, server, {**server.comment("@helper x"), "action": "edited"}) == Ignored("edit")
    assert read(channel, server, {"action": "created"}, "star") == Ignored("kind")
    gone = read(channel, server, {**server.comment("@helper x"), "action": "deleted"})
    assert isinstance(gone, Withdraw)
    assert gone.session == "gh:812:17"


@pytest.mark.parametrize(
    "change", [{"repository": {"id": 1, "full_name": "../x"}}, {"issue": {"number": "17"}}, {"comment": {"user": 7}}]
)
def test_what_cannot_be_read_is_said_to_be_that(change: dict[str, Any]) -> None:
    server = StrictGitHub()
    with pytest.raises(Unreadable):
        read(made(mentioned=False), server, {**server.comment("x"), **change})


async def answered(r: Any, channel: GitHub, server: StrictGitHub) -> Message:
    message = read(channel, server, server.comment("@helper why?"))
    await r.ask(message.event_id, event={"content": message.content, **message.options("github")})
    assert isinstance(message, Message)
    return message


@pytest.mark.promise("OUT-3")
async def test_the_models_text_calls_nobody_new_and_fetches_no_picture(tmp_path: Path, server: StrictGitHub) -> None:
    hostile = "@dora @acme/team @everyone ![x](https://evil.test/?q) <img src=x> <IMG src=y>\n" + (
        ("```py\n@property\n![a](b)\n```\n- ```\n  @code\n@outside ![y](https://evil.test)\n" + "word " * 200 + "\n\n")
        * 400
    )
    channel = made(server)
    async with rig(tmp_path, [hostile], deliver=route(channel)) as r:
        message = await answered(r, channel, server)
        server.mentioned.clear()
        await r.deliver(message.event_id)
    assert len(server.comments) > 2
    assert set(server.mentioned) == {"dora"}
    assert server.pictures == 0
    assert "@property" in server.comments[1]["body"]


@pytest.mark.promise("OUT-1")
async def test_a_comment_that_was_not_answered_for_is_found_by_its_mark(tmp_path: Path, server: StrictGitHub) -> None:
    channel = made(server)
    async with rig(tmp_path, ["word " * 25_000], deliver=route(channel)) as r:
        message = await answered(r, channel, server)
        server.faults = [500, "lost", "lost", 429]
        assert await delivered(r, message.event_id) == 5
    bodies = [each["body"].partition("\n\n<!--")[0] for each in server.comments[1:]]
    assert " ".join(bodies).split() == ["word"] * 25_000
    assert len(bodies) == 3


@pytest.mark.promise("OUT-1")
async def test_a_mark_in_somebody_elses_comment_is_not_believed(tmp_path: Path, server: StrictGitHub) -> None:
    channel = made(server)
    async with rig(tmp_path, ["hello"], deliver=route(channel)) as r:
        message = await answered(r, channel, server)
        server.faults = ["lost"]
        with pytest.raises(ApplicationError):
            await r.deliver(message.event_id)
        server.comments[-1]["user"] = {"login": "eve", "type": "User"}
        await r.deliver(message.event_id)
    assert [each["user"]["login"] for each in server.comments] == ["dora", "eve", "helper"]


async def test_a_thread_that_is_locked_sets_the_delivery_aside(tmp_path: Path, server: StrictGitHub) -> None:
    channel = made(server)
    async with rig(tmp_path, ["hello"], deliver=route(channel)) as r:
        message = await answered(r, channel, server)
        server.faults = [410]
        with pytest.raises(ApplicationError, match="410") as told:
            await r.deliver(message.event_id)
    assert told.value.non_retryable
    assert "ghp_test" not in str(told.value)


def test_names_of_the_thread_may_be_called_and_code_stays() -> None:
    assert quiet("@dora @Eve m@x.test\n```\n@code\n```", {"dora"}) == "@dora @\u200bEve m@\u200bx.test\n```\n@code\n```"
    for hidden in ("&#64;eve", "&#x40;eve", "&commat;eve", "@&#101;ve", "@&#x65;ve", "[^1]: a\n\n    @eve"):
        assert quiet(hidden, set()).endswith("@\u200beve"), hidden
    assert quiet("a &lt; b &amp; &#64; &#955; &amp;#64;eve", set()) == "a &lt; b &amp; @ &#955; &amp;#64;eve"
    assert quiet("<!-- inturn:x --><b>", set()) == "<\u200b!-- inturn:x --><b>"

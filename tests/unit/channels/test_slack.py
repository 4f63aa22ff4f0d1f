"""Slack: what its requests mean, and how answers and cards get into its threads."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

import pytest
from temporalio.exceptions import ApplicationError

import inturn.testing
from inturn.channels import Call, Click, Ignored, Message, Stop, Taken, Unreadable, Withdraw, route
from inturn.channels.cards import card_name
from inturn.channels.inbound import Answered
from inturn.channels.slack import Slack
from inturn.journal.state.changes import Scope
from inturn.keys import SessionKey
from inturn.testing import ToolCall
from inturn.testing.slack import StrictSlack
from inturn.tools import tool
from tests.support.deliveries import delivered
from tests.support.steps import StepRunner, rig

pytestmark = pytest.mark.usefixtures("patient", "listed_at_once")

NOW = 1_800_000_000


@pytest.fixture
async def slack() -> AsyncIterator[StrictSlack]:
    async with StrictSlack(pace=0.0) as server:
        yield server


def made(server: StrictSlack | None = None, **options: Any) -> Slack:
    api = server.api if server is not None else "http://127.0.0.1:1"
    channel = Slack("signing", "xoxb-test", **{"api": api, **options})
    channel._api._pace._every = 0.0
    return channel


def call(server: StrictSlack, body: bytes, content_type: str = "application/json") -> Call:
    return Call(body, headers={"content-type": content_type, **server.sign(body, at=NOW)}, now=NOW)


def form(server: StrictSlack, **fields: str) -> Call:
    return call(server, urlencode(fields).encode(), "application/x-www-form-urlencoded")


def read(channel: Slack, server: StrictSlack, event: dict[str, Any], event_id: str | None = None) -> Any:
    [value] = channel.read(call(server, server.event(event, event_id)))
    return value


def test_it_keeps_what_every_channel_owes() -> None:
    server, channel = StrictSlack(), made()
    event = call(server, server.event(server.message("<@U0BOT> hello")))
    challenge = call(server, b'{"type": "url_verification", "challenge": "abc"}')
    command = form(server, command="/agent", text="hi", team_id="T1", channel_id="C1", user_id="U7", trigger_id="1.2.x")
    inturn.testing.channel(channel, event, challenge, command, window=300)
    assert channel.hello(challenge) is not None
    assert channel.hello(event) is None


def test_a_message_becomes_an_event_of_its_thread() -> None:
    server, channel = StrictSlack(), made()
    event = server.message("<@U0BOT> is <https://x.test|this> &lt;ok&gt; <#C2|ops> <@U8>?", channel="C1")
    event["ts"] = "1721234567.000100"
    value = read(channel, server, event, "Ev9")
    assert isinstance(value, Message)
    assert value.content == "U7: is this (https://x.test) <ok> #ops @U8?"
    assert value.session == "slack:T1:C1:1721234567.000100"
    assert value.event_id == "slack:C1:1721234567.000100"
    assert value.aliases == ("slack:Ev9", f"slack:{event['client_msg_id']}")
    assert (value.sender, value.sequence, value.sequencing) == ("slack:T1:U7", 1721234567000100, "sparse")
    assert value.address == {"team": "T1", "to": "C1", "thread": "1721234567.000100"}


def test_the_same_message_has_one_id_however_it_is_delivered() -> None:
    server, channel = StrictSlack(), made()
    event = server.message("hi", thread="1721234500.000001")
    values = [read(channel, server, {**event, "type": kind}) for kind in ("message", "app_mention", "message")]
    assert len({value.event_id for value in values}) == 1
    assert {value.session for value in values} == {"slack:T1:C1:1721234500.000001"}


def test_a_direct_message_is_of_the_whole_conversation() -> None:
    server, channel = StrictSlack(), made()
    value = read(channel, server, server.message("hi", channel="D1"))
    assert (value.session, value.content, value.address) == ("slack:T1:D1", "hi", {"team": "T1", "to": "D1"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bot_id": "B9"}, "bot"),
        ({"bot_id": "B0BOT", "user": "U0BOT"}, "own"),
        ({"user": "U0BOT"}, "own"),
        ({"subtype": "bot_message"}, "bot"),
        ({"subtype": "message_changed"}, "edit"),
        ({"subtype": "channel_join"}, "kind"),
        ({"text": ""}, "empty"),
        ({"text": "<@U0BOT>"}, "empty"),
        ({"hidden": True}, "kind"),
        ({"type": "team_join"}, "kind"),
    ],
)
def test_what_nobody_said_to_it_is_ignored(change: dict[str, Any], reason: str) -> None:
    server = StrictSlack()
    assert read(made(), server, {**server.message("hi"), **change}) == Ignored(reason)


def test_other_bots_count_where_they_are_named_and_workspaces_where_they_are_known() -> None:
    server = StrictSlack()
    event = {**server.message("hi"), "bot_id": "B9"}
    assert isinstance(read(made(bots={"B9"}), server, event), Message)
    assert read(made(bots={"B9"}), server, {**event, "user": "U0BOT"}) == Ignored("own")
    assert read(made(tenants={"T1": "acme"}), server, server.message("hi")).tenant == "acme"
    assert read(made(tenants={"T2": "acme"}), server, server.message("hi")) == Ignored("team")


def test_whatever_comes_from_a_workspace_is_its_tenants() -> None:
    server, channel = StrictSlack(), made(tenants={"T1": "acme"})
    said = server.message("stop", thread="1721234500.000001")
    deleted = {"type": "message", "subtype": "message_deleted", "channel": "C1", "deleted_ts": said["ts"]}
    sign = {"type": "reaction_added", "reaction": "octagonal_sign", "user": "U7"}
    item = {"type": "message", "channel": "C1", "ts": said["ts"]}
    events = [said, {**deleted, "previous_message": said}, {**sign, "item": item}]
    stop = form(server, command="/a", text="stop", team_id="T1", channel_id="C1", user_id="U7", trigger_id="1.2.x")
    values: list[Any] = [*(read(channel, server, event) for event in events), *channel.read(stop)]
    assert [type(value) for value in values] == [Stop, Withdraw, Stop, Stop]
    assert [value.tenant for value in values] == ["acme"] * 4


def test_files_are_named() -> None:
    server = StrictSlack()
    event = {**server.message(""), "subtype": "file_share", "files": [{"name": "a.pdf", "mimetype": "application/pdf"}]}
    assert read(made(name_senders=False), server, event).content == "[file: a.pdf (application/pdf)]"


def test_a_deleted_message_is_withdrawn_and_a_stop_sign_stops() -> None:
    server, channel = StrictSlack(), made()
    said = server.message("oops", thread="1721234500.000001")
    deleted = {"type": "message", "subtype": "message_deleted", "channel": "C1", "deleted_ts": said["ts"]}
    value = read(channel, server, {**deleted, "previous_message": said})
    assert value == Withdraw(
        session="slack:T1:C1:1721234500.000001", event_id=f"slack:C1:{said['ts']}", by="slack:T1:U7"
    )
    item = {"type": "message", "channel": "C1", "ts": "1721234500.000001"}
    value = read(channel, server, {"type": "reaction_added", "reaction": "octagonal_sign", "user": "U7", "item": item})
    assert isinstance(value, Stop)
    assert value.session == "slack:T1:C1:1721234500.000001"
    assert isinstance(read(channel, server, server.message("<@U0BOT> stop")), Stop)
    assert read(channel, server, {"type": "reaction_added", "reaction": "tada", "user": "U7", "item": item}) == Ignored(
        "reaction"
    )


@pytest.mark.parametrize(
    "event",
    [
        {"type": "message"},
        {"type": "message", "channel": "C1", "user": "U7", "text": "x", "ts": "1.2"},
        {"type": "message", "channel": "C1", "user": "U7", "text": "x", "ts": "١٧٢١٢٣٤٥٦٧.000100"},
        {"type": "message", "channel": ["C1"], "user": "U7", "text": "x", "ts": "1721234567.000100"},
        {"type": "message", "channel": "C" * 100, "user": "U7", "text": "x", "ts": "1721234567.000100"},
        {"type": "message", "subtype": "message_deleted", "channel": "C1"},
        {"type": "reaction_added", "reaction": "octagonal_sign", "item": {"type": "message"}},
    ],
)
def test_what_cannot_be_read_is_said_to_be_that(event: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(made(), StrictSlack(), event)


def test_a_command_that_was_not_taken_tells_the_person_and_an_event_asks_slack_to_come_again() -> None:
    server, channel = StrictSlack(), made()
    [command] = channel.read(
        form(server, command="/agent", text="hi", team_id="T1", channel_id="C1", user_id="U7", trigger_id="9")
    )
    assert isinstance(command, Message)
    assert (command.session, command.event_id) == ("slack:T1:C1:U7", "slack:c:9")
    assert b"once more" in channel.answer([Taken(command, "later")]).body
    assert channel.answer([Taken(command)]).body == b""
    message = read(channel, server, server.message("hi"))
    assert channel.answer([Taken(message, "later", retry_after=2)]).status == 503


# Out.


def event_of(message: Message) -> dict[str, Any]:
    return {"content": message.content, **message.options("slack")}


async def asked(r: StepRunner, channel: Slack, server: StrictSlack, text: str = "hi", **where: Any) -> Any:
    """Let somebody say something, and have the model answer."""
    said = server.message(text, **where)
    message = read(channel, server, said)
    await r.ask(message.event_id, event=event_of(message))
    return said, message


@pytest.mark.promise("OUT-3")
async def test_the_models_text_pings_nobody_and_unfurls_nothing(tmp_path: Path, slack: StrictSlack) -> None:
    hostile = "<!channel> <@U8> @everyone <#C1> see https://evil.test ![x](https://evil.test/?q=1) & `![code]` 🎉" * 400
    channel = made(slack)
    async with rig(tmp_path, [hostile], deliver=route(channel)) as r:
        said, message = await asked(r, channel, slack)
        await r.deliver(message.event_id)
    answers = slack.thread(said["ts"])[1:]
    assert len(answers) > 3
    assert all(answer["thread_ts"] == said["ts"] for answer in answers)
    assert (slack.pings, slack.unfurled) == ([], 0)
    text = "".join(answer["markdown_text"] for answer in answers)
    assert "<" not in text
    assert "![x]" not in text
    assert "&lt;!channel&gt;" in text


@pytest.mark.promise("OUT-1")
async def test_a_part_that_slack_took_and_did_not_answer_for_is_found_and_not_said_twice(
    tmp_path: Path, slack: StrictSlack
) -> None:
    channel = made(slack)
    async with rig(tmp_path, ["word " * 6_000], deliver=route(channel)) as r:
        said, message = await asked(r, channel, slack)
        slack.faults = [503, "lost", 500, "lost"]
        assert await delivered(r, message.event_id) == 5
    parts = [each["markdown_text"] for each in slack.thread(said["ts"])[1:]]
    assert " ".join(parts).split() == ["word"] * 6_000
    assert len(parts) == 3


@pytest.mark.promise("OUT-1")
async def test_a_key_that_somebody_else_posted_is_not_believed(tmp_path: Path, slack: StrictSlack) -> None:
    channel = made(slack)
    async with rig(tmp_path, ["hello"], deliver=route(channel)) as r:
        said, message = await asked(r, channel, slack)
        slack.faults = [503]
        with pytest.raises(ApplicationError):
            await r.deliver(message.event_id)
        slack.faults = ["lost"]
        with pytest.raises(ApplicationError):
            await r.deliver(message.event_id)
        posted = slack.messages.pop()  # as if it had never arrived, and another app had guessed the key
        slack.messages.append({**posted, "bot_id": "B9", "app_id": "A9"})
        await r.deliver(message.event_id)
    assert [each["bot_id"] for each in slack.thread(said["ts"])[1:]] == ["B9", "B0BOT"]


@pytest.mark.promise("OUT-2")
async def test_a_channel_that_is_archived_sets_the_delivery_aside_and_a_limit_is_waited_for(
    tmp_path: Path, slack: StrictSlack
) -> None:
    channel = made(slack)
    async with rig(tmp_path, ["hello"], deliver=route(channel)) as r:
        said, message = await asked(r, channel, slack)
        slack.faults = ["is_archived"]
        with pytest.raises(ApplicationError, match="is_archived") as told:
            await r.deliver(message.event_id)
        assert told.value.non_retryable
        slack._pace = 60.0
        slack._last["C1"] = time.monotonic()
        with pytest.raises(ApplicationError, match="429") as told:
            await r.deliver(message.event_id, "deliver~1")
        assert told.value.next_retry_delay is not None
        slack._pace = 0.0
        slack._held.clear()
        await r.deliver(message.event_id, "deliver~1")
    assert [each["markdown_text"] for each in slack.thread(said["ts"])[1:]] == ["hello"]


@tool(approval=True)
async def refund(cents: int, note: str = "") -> str:
    """Pay back."""
    return "paid"


async def card_of(
    r: StepRunner, channel: Slack, server: StrictSlack, monkeypatch: pytest.MonkeyPatch, place: str
) -> tuple[dict[str, Any], Message, str]:
    """Return the card of an approval that was asked for, the event that it is of, and the approval's id."""
    message = read(channel, server, server.message("Pay it back.", channel=place))
    r.session = SessionKey("acme", message.session)
    [asks] = (await r.ask(message.event_id, event=event_of(message))).calls
    approval = {"approval_id": f"{asks.id}:{asks.hash}", "call_id": asks.id, "tool": "refund"}
    await r.deliver(message.event_id, "ask-0-0", kind="approval", approval=approval)
    return server.messages[-1], message, approval["approval_id"]


def clicked(channel: Slack, server: StrictSlack, card: dict[str, Any], user: str, **change: Any) -> Any:
    """Return what a press of the card's first button means."""
    payload = {
        "type": "block_actions",
        "team": {"id": "T1"},
        "user": {"id": user},
        "container": {"channel_id": card["channel"], "message_ts": card["ts"]},
        "message": {"thread_ts": card["thread_ts"]} if "thread_ts" in card else {},
        "actions": [{**card["blocks"][-1]["elements"][0], **change}],
    }
    [value] = channel.read(form(server, payload=json.dumps(payload)))
    return value


@pytest.mark.promise("OUT-4")
@pytest.mark.parametrize("place", ["C1", "D1"])
async def test_a_card_shows_all_arguments_and_its_button_names_person_and_call(
    tmp_path: Path, slack: StrictSlack, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = made(slack, approvers=["U8"], page="https://page.test")
    script = [ToolCall("refund", cents=9_000, note="``` <!here>")]
    async with rig(tmp_path, script, tools=[refund], deliver=route(channel)) as r:
        card, message, approval_id = await card_of(r, channel, slack, monkeypatch, place)
        shown = "".join(block["text"]["text"] for block in card["blocks"] if block["type"] == "section")
        assert '"cents": 9000' in shown
        assert "slack:T1:U7" in shown
        assert slack.pings == []

        click = clicked(channel, slack, card, "U8")
        assert isinstance(click, Click)
        assert (click.by, click.yes, click.approval_id) == ("slack:T1:U8", True, approval_id)
        assert click.session == message.session
        assert await channel.allows(click) is None
        stranger = clicked(channel, slack, card, "U9")
        assert await channel.allows(stranger) == "you may not answer this"
        kept = await r.journal.value(Scope("acme"), card_name(click.session, approval_id))
        assert kept is not None
        assert kept[0]["ts"] == card["ts"]

        await channel.told(stranger, Answered("refused", reason="you may not answer this"))
        assert slack.whispers[-1]["user"] == "U9"
        await channel.told(click, Answered("approved", by=click.by))
        assert card["blocks"][-1]["elements"][0]["text"] == "✅ approved by slack:T1:U8"
        assert all(block["type"] != "actions" for block in card["blocks"])


@pytest.mark.promise("OUT-4")
async def test_a_forged_or_moved_button_is_nobodys(
    tmp_path: Path, slack: StrictSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = made(slack, approvers="anyone", four_eyes=True)
    async with rig(tmp_path, [ToolCall("refund", cents=1)], tools=[refund], deliver=route(channel)) as r:
        card, _, approval_id = await card_of(r, channel, slack, monkeypatch, "C1")
    value = card["blocks"][-1]["elements"][0]["value"]
    for forged in (
        value.replace("y:", "n:"),
        value[:-1] + "g",
        value.replace(approval_id, "other:0"),
        "",
        "y:::",
        "é" * 900,
    ):
        assert clicked(channel, slack, card, "U8", value=forged) == Ignored("forged"), forged
    assert clicked(channel, slack, {**card, "thread_ts": "1721234500.000001"}, "U8") == Ignored("forged")
    asker = clicked(channel, slack, card, "U7")
    assert await channel.allows(asker) == "whoever asked for it may not answer"
    assert await channel.allows(clicked(channel, slack, card, "U8")) is None


async def test_a_card_for_another_room_carries_its_session_and_one_that_shows_too_little_has_no_buttons(
    tmp_path: Path, slack: StrictSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = made(slack, approvers="anyone", approvals_to="C9", page="https://page.test/ui")
    script = [ToolCall("refund", cents=1), ToolCall("refund", cents=1, note="x" * 40_000)]
    async with rig(tmp_path, script, tools=[refund], deliver=route(channel)) as r:
        card, message, _ = await card_of(r, channel, slack, monkeypatch, "C1")
        assert card["channel"] == "C9"
        assert "thread_ts" not in card
        assert clicked(channel, slack, card, "U8").session == message.session
        long, _, _ = await card_of(r, channel, slack, monkeypatch, "C1")
    [only] = long["blocks"][-1]["elements"]
    assert only["url"].startswith("https://page.test/ui/sessions/")


async def test_without_approvers_a_card_has_no_buttons_and_nobody_may(
    tmp_path: Path, slack: StrictSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = made(slack)
    async with rig(tmp_path, [ToolCall("refund", cents=1)], tools=[refund], deliver=route(channel)) as r:
        card, _, _ = await card_of(r, channel, slack, monkeypatch, "C1")
    assert [block["type"] for block in card["blocks"]] == ["section", "section"]
    assert await channel.allows(Click(by="slack:T1:U7", session="s", approval_id="a")) == "you may not answer this"


@pytest.mark.parametrize(
    ("who", "counts"),
    [
        (["slack:T1:U8"], True),
        (["U8"], True),
        (["team"], True),
        ([], False),
        (["U7"], False),
        (lambda click: click.by.endswith("U8"), True),
        (lambda click: False, False),
    ],
)
async def test_who_may_answer(who: Any, counts: bool) -> None:
    click = Click(by="slack:T1:U8", session="s", approval_id="a", groups=("team",))
    assert (await made(approvers=who).allows(click) is None) == counts
    assert await made(approvers=who).allows(replace(click, bot=True)) == "bots answer no approvals"


def test_a_text_as_approvers_is_refused() -> None:
    with pytest.raises(ValueError, match="a list of ids"):
        made(approvers="U8")


def test_the_app_of_the_page_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_SIGNING_SECRET", "signing")
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-test")
    page = (Path(__file__).resolve().parents[3] / "docs" / "slack.md").read_text()
    found = re.search(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found
    module = ModuleType("slack_page")
    exec(compile(found[1], "docs/slack.md", "exec"), module.__dict__)
    assert module.channels == [module.slack]
    assert module.agents[0].deliver.channels == {"slack": module.slack}


def test_no_secret_shows() -> None:
    assert "xoxb" not in repr(vars(made())) + repr(vars(made()._api._platform))

"""Anthropic's own SDK, pointed at the gateway: what it makes of what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import anthropic
import pytest
from anthropic import AsyncAnthropic

from inturn.journal import Journal, NewEntry, Recorded
from inturn.keys import SessionKey
from tests.support.gateway import Served, Temporal

SESSION = "order-17"
KEY = SessionKey("acme", SESSION)


@pytest.fixture
async def claude(served: Served, keys: dict[str, str]) -> AsyncGenerator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=served.url, api_key=keys["acme"], max_retries=0) as sdk:
        yield sdk


async def answer(journal: Journal) -> None:
    """Write what a worker would: a call that needs an approval, then the answer."""
    asked = {"approval_id": "c1:00ff00ff00ff", "call_id": "c1", "tool": "refund"}
    entries = [
        NewEntry("user.message", {"content": "Refund it"}, event_id="e1", key="e1/user"),
        NewEntry("turn.started", {}, event_id="e1", key="e1/start"),
        NewEntry(
            "agent.message", {"content": [{"type": "text", "text": "I ask."}]}, event_id="e1", step="0", key="e1/0"
        ),
        NewEntry(
            "agent.tool_use",
            {"call_id": "c1", "tool": "refund", "args": {"cents": 9}},
            event_id="e1",
            step="0/0",
            key="e1/0/0/use",
        ),
        NewEntry("approval.requested", asked, event_id="e1", step="0/0", key="e1/0/0/requested"),
        NewEntry(
            "agent.tool_result",
            {"call_id": "c1", "status": "ok", "text": "done"},
            event_id="e1",
            step="0/0",
            key="e1/0/0",
        ),
        NewEntry("agent.message", {"content": "Done."}, event_id="e1", step="1", key="e1/1"),
        NewEntry("turn.completed", {"stop": "end_turn"}, event_id="e1", key="e1/end"),
        NewEntry("session.closed", {}, key="closed"),
    ]
    await journal.record(KEY, [Recorded(entry) for entry in entries])


async def test_it_creates_sends_lists_streams_confirms_and_interrupts(
    claude: AsyncAnthropic, desk: Temporal, journal: Journal
) -> None:
    sessions = claude.beta.sessions
    made = await sessions.create(agent="support", environment_id="env_1", extra_body={"session_id": SESSION})
    assert (made.id, made.status, made.agent.id) == (SESSION, "idle", "support")
    sent = await sessions.events.send(
        SESSION, events=[{"type": "user.message", "content": [{"type": "text", "text": "Refund it"}]}]
    )
    assert sent.data is not None
    assert desk.sent() == [("acme", SESSION, sent.data[0].id)]
    await answer(journal)
    assert (await sessions.retrieve(SESSION)).id == SESSION

    streamed = list[str]()
    async with asyncio.timeout(30), await sessions.events.stream(SESSION, event_deltas=["agent.message"]) as stream:
        async for event in stream:
            streamed.append(event.type)
    listed = [event async for event in sessions.events.list(SESSION, limit=3)]
    assert streamed == [event.type for event in listed]
    assert [type_ for type_ in streamed if not type_.startswith("span.")] == [
        *("user.message", "session.status_running", "agent.message", "agent.tool_use", "session.status_idle"),
        *("agent.tool_result", "agent.message", "session.status_idle", "session.status_terminated"),
    ]
    [use] = [event for event in listed if event.type == "agent.tool_use"]
    [result] = [event for event in listed if event.type == "agent.tool_result"]
    [waits] = [
        event for event in listed if event.type == "session.status_idle" and event.stop_reason.type != "end_turn"
    ]
    assert (use.name, use.input) == ("refund", {"cents": 9})
    assert result.tool_use_id == use.id
    assert waits.stop_reason.type == "requires_action"
    assert waits.stop_reason.event_ids == [use.id]

    await sessions.events.send(
        SESSION,
        events=[
            {"type": "user.tool_confirmation", "tool_use_id": use.id, "result": "allow"},
            {"type": "user.interrupt"},
        ],
    )
    assert [name for name, *_ in desk.calls[-2:]] == ["approve", "interrupt"]
    assert desk.calls[-2][3]["approval_id"] == "c1:00ff00ff00ff"
    assert [each.id async for each in sessions.list()] == [SESSION]


async def test_it_raises_its_own_errors(claude: AsyncAnthropic, served: Served) -> None:
    with pytest.raises(anthropic.NotFoundError) as refused:
        await claude.beta.sessions.retrieve("nowhere")
    assert "nowhere" in str(refused.value)
    async with AsyncAnthropic(base_url=served.url, api_key="ik_aaaaaaaa_x", max_retries=0) as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            await stranger.beta.sessions.retrieve(SESSION)

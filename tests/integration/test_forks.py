"""Forks and memory on a real server, before the strict Claude: what each session did is its own."""

from __future__ import annotations

import pytest

from inturn import Agent, InvalidEvent, ToolContext, tool
from inturn.testing.claude.script import Call, Reply
from tests.support.rig import Rig

DONE: list[str] = []


@tool(idempotent=True)
async def refund(order: str, ctx: ToolContext) -> str:
    """Refund an order."""
    DONE.append(ctx.key)
    return f"refunded {order}"


AGENT = Agent(
    "support", model="claude-sonnet-5-5", instructions="Be brief.", tools=[refund], memory=["rules", "customer:*"]
)


@pytest.mark.promise("EFF-1", "MOD-1", "AGT-4")
async def test_a_closed_session_goes_on_in_its_fork_and_both_are_sound(rig: Rig) -> None:
    DONE.clear()
    async with rig.claude() as claude, rig.worker([AGENT], model=claude.model), rig.client() as client:
        await client.documents.put("rules", "Nobody waits for a refund.")
        session = client.session("s", agent="support")
        call = Call(name="refund", args={"order": "17"})
        remember = Call(name="remember", args={"name": "customer:ann", "text": "Likes tea.", "version": 0})
        claude.script(Reply(calls=[call]), Reply(text="done"), Reply(calls=[remember]), Reply(text="noted"))
        await session.ask("refund 17", event_id="e1")
        await session.ask("Ann likes tea", event_id="e2")
        await session.close()

        fork = await session.fork("f", upto="e1")
        with pytest.raises(InvalidEvent, match="there is a session"):
            await client.session("f").fork("s")
        claude.script(Reply(calls=[call]), Reply(text="again"))
        turn = await fork.ask("refund 17", event_id="e1")
        assert turn.text == "again"
        tenant = client.tenant
        assert DONE == [f"{tenant}/s/e1/0/0", f"{tenant}/f/e1/0/0"]

        asked = claude.requests[-1].body or {}
        assert "Nobody waits for a refund." in str(asked["system"])
        assert "Likes tea." in str(asked["messages"]), "what was remembered behind the fork, by another session"
        assert "Ann likes tea" not in str(asked["messages"]), "but not what was said there"
        assert not [request.error for request in claude.requests if request.error]
        for each in (session, fork):
            audit = await each.audit(deep=True)
            assert audit.ok, audit.differences
        assert (await fork.status()).counts["applied"] == 1

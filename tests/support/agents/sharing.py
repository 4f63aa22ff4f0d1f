"""Agents that share state, whose workers can be made to die in the middle: see `tests.support.agents.crashing`.

Points: `counted` and `claimed`, each after its operation was committed and before its call is done.
"""

from __future__ import annotations

import asyncio

from inturn import Agent, ToolContext, tool
from tests.support.agents.crashing import crash


@tool(idempotent=True, retries=5)
async def count(ctx: ToolContext) -> str:
    """Count for the tenant, then for the session."""
    of_all = await ctx.shared.incr("n")
    crash("counted")
    await asyncio.sleep(0.2)
    return f"{of_all} {await ctx.state.incr('n')}"


@tool(idempotent=True, retries=5)
async def pack(ctx: ToolContext) -> str:
    """Take an order from the queue, and note that it is packed."""
    claim = await ctx.shared.claim("orders", lease=2)
    if claim is None:
        return "nothing to pack"
    crash("claimed")
    await ctx.shared.update("packed", lambda packed: [*(packed or []), claim.item], attempts=50)
    await ctx.shared.complete(claim)
    return f"packed {claim.item}"


agents = [Agent("support", model="claude-sonnet-5-5", instructions="Be brief.", tools=[count, pack])]

"""The agents under measurement: one with the usual inbox, one with the deepest that there is."""

from __future__ import annotations

import asyncio

from inturn import Agent, InboxPolicy, tool


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(timeout=30, idempotent=True)
async def work(seconds: float) -> str:
    """Work for a while."""
    await asyncio.sleep(seconds)
    return "worked"


agents = [
    Agent("bench", model="claude-sonnet-5-5", instructions="Be brief.", tools=[add, work]),
    Agent("deep", model="claude-sonnet-5-5", instructions="Be brief.", inbox=InboxPolicy(capacity=2_000)),
]

"""An agent whose tools leave what they are told in every place there is."""

from __future__ import annotations

import logging

from inturn import Agent, ToolContext, ToolError, tool

logger = logging.getLogger(__name__)


@tool(timeout=60, idempotent=True)
async def spread(text: str, ctx: ToolContext) -> str:
    """Keep a text in each way that a tool has."""
    await ctx.progress(f"progress {text}")
    await ctx.checkpoint({"at": text})
    await ctx.state.put("note", text)
    await ctx.state.push("todo", text)
    await ctx.shared.put_if_absent("note", text)
    return f"result {text} " + "long " * 20_000


@tool(timeout=60)
async def refuse(why: str) -> str:
    """Fail as a tool does that knows why."""
    raise ToolError(f"refused {why}")


@tool(timeout=60)
async def crash(why: str) -> str:
    """Fail as a tool does that does not."""
    raise RuntimeError(f"crashed {why}")


@tool(timeout=60, approval=True)
async def ask_first(what: str) -> str:
    """Do something that a person allows."""
    return f"did {what}"


async def _deliver(out: object, ctx: ToolContext) -> None:
    text = getattr(out, "text", "")
    if "undeliverable" in text:
        raise ToolError(f"cannot deliver {text}")


agents = [
    Agent(
        "secretive",
        model="claude-sonnet-5-5",
        instructions="Be brief.",
        tools=[spread, refuse, crash, ask_first],
        deliver=_deliver,
    )
]

"""An agent whose tools leak the credential that they are given in every way there is.

`INTURN_TEST_CANARY` is the credential; run a worker with `--lifespan tests.support.agents.toolbox:lifespan`.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from inturn import Agent, Retry, Tool, ToolContext, ToolError, Turn, tool
from inturn.tools import Credentials, Granted
from inturn.tools.credentials import Asked

MARKER = "marker-that-may-be-seen"
logger = logging.getLogger("toolbox")


async def _issue(asked: Asked) -> Granted:
    return Granted(os.environ["INTURN_TEST_CANARY"], expires_in=3600, renewal="renewal-" + asked.name)


@asynccontextmanager
async def lifespan() -> AsyncIterator[dict[str, Credentials]]:
    """Yield the credentials."""
    yield {"credentials": Credentials({"bank": _issue})}


async def _given(ctx: ToolContext) -> str:
    return (await ctx.credentials("bank")).get_secret_value()


@tool
async def show(ctx: ToolContext) -> dict[str, object]:
    """Show it."""
    token = await _given(ctx)
    await ctx.progress(f"working with {token}")
    logger.warning("%s: using %s", MARKER, token)
    return {
        "marker": MARKER,
        "header": f"Bearer {token}",
        "basic": base64.b64encode(token.encode()).decode(),
        "url": f"https://bank.example/?token={urllib.parse.quote_plus(token)}",
        "nested": [{token: (token, token.encode())}],
    }


@tool
async def blow(ctx: ToolContext) -> str:
    """Fail with it."""
    token = await _given(ctx)
    try:
        raise KeyError({"authorization": token})
    except KeyError as error:
        raise RuntimeError(f"{MARKER}: 401 for {token}") from error


@tool(idempotent=True, retries=1)
async def blow_again(ctx: ToolContext) -> str:
    """Fail with it on every attempt."""
    raise ConnectionError(f"{MARKER}: reset while sending {await _given(ctx)}")


@tool(retries=1)
async def put_off(ctx: ToolContext) -> str:
    """Ask for another attempt with it."""
    raise Retry(f"{MARKER}: later, {await _given(ctx)}", after=0.1)


@tool
async def refuse(ctx: ToolContext) -> str:
    """Refuse with it."""
    token = await _given(ctx)
    try:
        raise ValueError(token)
    finally:
        raise ToolError(f"{MARKER}: not with {token}")


@tool
async def keep(ctx: ToolContext) -> str:
    """Keep it."""
    await ctx.checkpoint({"token": await _given(ctx)})
    return "kept"


@tool
async def share(ctx: ToolContext) -> str:
    """Share it with the session."""
    await ctx.state.put("token", {"token": [await _given(ctx)]})
    return "shared"


@tool
async def share_with_all(ctx: ToolContext) -> str:
    """Share it with the tenant, as a name."""
    await ctx.shared.incr(f"used {await _given(ctx)}")
    return "shared"


@tool
def in_thread(ctx: ToolContext) -> str:
    """Show it from a thread."""
    token = asyncio.run(ctx.credentials("bank")).get_secret_value()
    logging.getLogger("toolbox.thread").error("from a thread: %s", token)
    return f"{MARKER} {token}"


@tool
async def in_task(ctx: ToolContext) -> str:
    """Fail with it in a task that nobody awaits."""
    token = await _given(ctx)

    async def below() -> None:
        raise RuntimeError(f"nobody hears of {token}")

    task = asyncio.create_task(below())
    await asyncio.wait([task])
    del task
    return "done"


async def _deliver(out: object, ctx: ToolContext) -> None:
    if isinstance(out, Turn):
        raise ToolError(f"{MARKER}: cannot deliver with {await _given(ctx)}")


tools: list[Tool[..., Any]] = [show, blow, blow_again, put_off, refuse, keep, share, share_with_all, in_thread, in_task]
agents = [Agent("leaky", model="claude-sonnet-5-5", instructions="Be brief.", tools=tools, deliver=_deliver)]

"""An agent whose tools leave what they are told in every place there is."""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings

from temporalio.exceptions import ApplicationError

from inturn import Agent, Retry, ToolContext, ToolError, tool

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


@tool(timeout=60)
async def leave(how: str, text: str) -> str:
    """Fail in a way of its own, or leave something behind that does."""
    _raise(how, text)
    match how:
        case "task":
            asyncio.create_task(_fails(text))  # noqa: RUF006  # nobody is to hold it
            await asyncio.sleep(0)
        case "thread":
            threading.Thread(target=asyncio.run, args=(_fails(text),)).start()
        case "warning":
            warnings.warn(text, stacklevel=1)
        case _:
            try:
                await _fails(text)
            except ValueError:
                logger.exception("it failed for %s", text)
    return f"left {text}"


def _raise(how: str, text: str) -> None:
    match how:
        case "cause":
            raise RuntimeError("refused") from ValueError(text)
        case "group":
            raise ExceptionGroup(text, [ValueError(text)])
        case "exit":
            raise SystemExit(text)
        case "details":
            raise ApplicationError(text, {"said": text}, type="Said")
        case "again":
            raise Retry(text, after=0)
        case _:
            return


async def _fails(text: str) -> None:
    raise ValueError(text)


@tool(timeout=60)
async def hold(text: str, ctx: ToolContext, seconds: float = 60.0) -> str:
    """Take long."""
    await ctx.progress(f"holding {text}")
    await asyncio.sleep(seconds)
    return text


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
        tools=[spread, refuse, crash, leave, hold, ask_first],
        memory=["rules"],
        deliver=_deliver,
    )
]

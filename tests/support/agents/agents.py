"""Agents whose effects are counted outside the system under test.

`INTURN_TEST_EFFECTS` names a directory: its file `attempts` has a line per body that ran, and there is a file per keyed
effect.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from inturn import Agent, ToolContext, ToolError, tool


def _directory() -> Path:
    return Path(os.environ["INTURN_TEST_EFFECTS"])


def _attempted(name: str, key: str) -> None:
    line = f"{time.time():.3f} {os.getpid()} {name} {key}\n".encode()
    fd = os.open(_directory() / "attempts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


@tool(idempotent=True)
async def charge(cents: int, ctx: ToolContext, delay: float = 0.0) -> str:
    """Charge the customer once: the bank knows the key."""
    _attempted("charge", ctx.key)
    try:
        (_directory() / ctx.key.replace("/", "_")).touch(exist_ok=False)
    except FileExistsError:
        return f"charged {cents} before"
    await asyncio.sleep(delay)
    return f"charged {cents}"


@tool(timeout=60)
async def mail(to: str, ctx: ToolContext, delay: float = 0.0) -> str:
    """Send a mail: the mail server knows no keys."""
    _attempted("mail", ctx.key)
    await asyncio.sleep(delay)
    return f"sent to {to}"


@tool(timeout=60)
async def resumable(steps: int, ctx: ToolContext, delay: float = 0.1) -> str:
    """Work in steps and keep how far it came."""
    done = int(ctx.last_checkpoint or 0)
    for step in range(done, steps):
        _attempted("resumable", f"{ctx.key}#{step}")
        await asyncio.sleep(delay)
        await ctx.checkpoint(step + 1)
    return f"did {steps - done} of {steps}"


@tool(idempotent=True)
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def block(seconds: float) -> str:
    """Block a thread."""
    time.sleep(seconds)
    return "blocked"


@tool
async def fail(why: str) -> str:
    """Say no."""
    raise ToolError(why)


@tool
async def crash(why: str) -> str:
    """Break."""
    raise RuntimeError(why)


@tool(timeout=0.5)
async def hang() -> str:
    """Never come back."""
    await asyncio.sleep(3600)
    return "back"


@tool(timeout=30)
async def wait(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "waited"


@tool(approval=lambda arguments: arguments["cents"] > 5_000, idempotent=True)
async def refund(cents: int, ctx: ToolContext) -> str:
    """Refund; a person agrees to large ones."""
    _attempted("refund", ctx.key)
    return f"refunded {cents}"


tools = [charge, mail, resumable, add, block, fail, crash, hang, wait, refund]
agents = [Agent("support", model="claude-sonnet-5-5", instructions="Be brief.", tools=tools)]


async def _deliver(out: object, ctx: ToolContext) -> None:
    kind = type(out).__name__
    text = getattr(out, "text", "") or getattr(out, "tool", "") or getattr(out, "reason", "")
    if "undeliverable" in text and not (_directory() / "mended").exists():
        raise ToolError("nobody there")
    _attempted(f"deliver:{kind}", f"{ctx.key} {text[:60]}")


delivering = Agent("delivering", model="claude-sonnet-5-5", instructions="Be brief.", tools=tools, deliver=_deliver)

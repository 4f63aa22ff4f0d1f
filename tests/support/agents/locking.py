"""Agents that use locked resources, and an observer outside the system that sees who uses them at once.

`INTURN_TEST_EFFECTS` names a directory. Each use of a resource is two lines in its file `uses-{resource}`; a file
`go-{name}` there lets the calls that wait for it go on.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

from inturn import Agent, ToolContext, tool


def _directory() -> Path:
    return Path(os.environ["INTURN_TEST_EFFECTS"])


def observe(resource: str, word: str, ctx: ToolContext, fence: int) -> None:
    """Write down what happens to a resource, by one atomic append."""
    fd = os.open(_directory() / f"uses-{resource}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, f"{word} {time.time():.6f} {fence} {os.getpid()} {ctx.key}\n".encode())
    finally:
        os.close(fd)


async def until_go(name: str) -> None:
    """Wait until the test says go."""
    while not (_directory() / f"go-{name}").exists():
        await asyncio.sleep(0.02)


@tool(timeout=60, locks=["{resource}"])
async def use(resource: str, ctx: ToolContext, hold: float = 0.0, go: str = "") -> str:
    """Use a resource alone."""
    observe(resource, "enter", ctx, ctx.fence)
    await asyncio.sleep(hold)
    if go:
        await until_go(go)
    observe(resource, "leave", ctx, ctx.fence)
    return f"used {resource}"


@tool(timeout=60)
async def nest(first: str, second: str, ctx: ToolContext, go: str, read_second: bool = False) -> str:
    """Use one resource, and from within it another."""
    async with ctx.lock(first) as outer:
        observe(first, "enter", ctx, outer.fence)
        await until_go(go)
        try:
            async with ctx.read_lock(second) if read_second else ctx.lock(second) as inner:
                observe(second, "enter", ctx, inner.fence)
                observe(second, "leave", ctx, inner.fence)
        finally:
            observe(first, "leave", ctx, outer.fence)
    return "both"


@tool(timeout=60)
async def look(first: str, second: str, ctx: ToolContext, go: str) -> str:
    """Read one resource, and from within it use another."""
    async with ctx.read_lock(first):
        await until_go(go)
        async with ctx.lock(second):
            return "both"


@tool(timeout=60, idempotent=True)
async def idle(go: str, ctx: ToolContext) -> str:
    """Wait for the test."""
    observe("idle", "enter", ctx, 0)
    await until_go(go)
    observe("idle", "leave", ctx, 0)
    return "went"


agents = [Agent("locking", model="claude-sonnet-5-5", instructions="Be brief.", tools=[use, nest, look, idle])]


@dataclass(frozen=True)
class Use:
    """One line of the observer's."""

    word: str
    at: float
    fence: int
    pid: int
    key: str


def uses(directory: Path, resource: str) -> list[Use]:
    """What happened to a resource, in order."""
    path = directory / f"uses-{resource}"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [line.split(" ", 4) for line in lines]
    return [Use(word, float(at), int(fence), int(pid), key) for word, at, fence, pid, key in rows]


def overlaps(seen: list[Use]) -> list[tuple[Use, Use]]:
    """Find the uses that began while another one ran."""
    found: list[tuple[Use, Use]] = []
    inside: Use | None = None
    for line in seen:
        if line.word == "enter" and inside is not None:
            found.append((inside, line))
        inside = line if line.word == "enter" else None
    return found

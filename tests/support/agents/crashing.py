"""Agents whose worker dies at a named point, once per arming.

`INTURN_TEST_CRASH` names a file. While it holds a point's name, the first to come by that point removes the file and
kills its own process with SIGKILL. Points are `{journal method}:{model|call}:{before|after}`, and `tool:before-effect`
and `tool:after-effect` in a tool's body. The product has no hook for this: the journal's methods are wrapped here.

`INTURN_TEST_STAND` names a directory. A call of a session whose file there holds a point's name stands still at that
point for good, and says so with a file beside it: so one SIGKILL of the process hits many calls, each at its own point.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from temporalio import activity

from inturn import Agent, ToolContext, tool
from inturn.journal import Journal, Position
from inturn.keys import StepKey
from inturn_activities.messages import ToolInput, ToolResult
from inturn_activities.tools.run_tool import ToolSteps
from tests.support.agents import agents as plain


def crash(point: str) -> None:
    """Die here, if this point is armed."""
    path = Path(os.environ["INTURN_TEST_CRASH"])
    try:
        if path.read_text() != point:
            return
        path.unlink()  # one dies: the other who came by finds nothing to remove
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


async def stand(point: str, session_id: str) -> None:
    """Stand still here until the process is killed, if this session's call is to."""
    place = Path(os.environ.get("INTURN_TEST_STAND", os.devnull), session_id)
    if not place.is_file() or place.read_text() != point:
        return
    place.with_name(f"{session_id}.stands").touch()
    while True:
        activity.heartbeat()  # the server must not take it for dead before it is
        await asyncio.sleep(0.2)


def _dying(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(self: Any, step: Any, *args: Any, **kwargs: Any) -> Any:
        kind = getattr(step, "index", None)
        point = f"{name}:call" if kind is not None else f"{name}:model"
        if name == "record":
            point = name
        crash(f"{point}:before")
        if kind is not None:
            await stand(f"{point}:before", step.session.session_id)
        result = await method(self, step, *args, **kwargs)
        crash(f"{point}:after")
        if kind is not None:
            await stand(f"{point}:after", step.session.session_id)
        return result

    return call


for _name in ("claim_model", "claim_call", "finish", "record"):
    setattr(Journal, _name, _dying(_name, getattr(Journal, _name)))


async def _completing(
    self: ToolSteps,
    step: StepKey,
    input: ToolInput,
    *,
    seen: Position | None = None,
    run: Callable[..., Any] = ToolSteps.run,
) -> ToolResult:
    """Run a call; before its activity completes, all is recorded and nobody has heard of it."""
    result: ToolResult = await run(self, step, input, seen=seen)
    crash("complete:call:before")
    await stand("complete:call:before", step.session.session_id)
    return result


ToolSteps.run = _completing  # type: ignore[method-assign]


@tool(idempotent=True)
async def pay(cents: int, ctx: ToolContext) -> str:
    """Pay once; the worker may die in the middle."""
    crash("tool:before-effect")
    result = await plain.charge(cents, ctx)
    crash("tool:after-effect")
    return result


@tool
async def post(text: str, ctx: ToolContext) -> str:
    """Post without a key; the worker may die in the middle."""
    result = await plain.mail(text, ctx)
    crash("tool:after-effect")
    return result


agents = [Agent("support", model="claude-sonnet-5-5", instructions="Be brief.", tools=[*plain.tools, pay, post])]

"""Agents whose worker dies at named places of a recovery, one place per line of the file `INTURN_TEST_PLACES`.

`looked`: the ended run was read; `sent N`: the Nth event is about to go out; `sent all`; `done`: nothing is left but to
say so. Who comes by the place of the first line takes the line out and kills its own process with SIGKILL. The product
has no hook for this: its functions are wrapped here.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from inturn_activities import recovery
from inturn_activities.model import call_model
from inturn_activities.unrecorded import Unrecorded
from tests.support.agents import agents as plain

agents = plain.agents
_sent = 0


def die(place: str) -> None:
    """Die here, if it is the next place."""
    path = Path(os.environ["INTURN_TEST_PLACES"])
    first, _, others = path.read_text().partition("\n")
    if place and first == place:
        path.write_text(others)
        os.kill(os.getpid(), signal.SIGKILL)


def _dying(method: Callable[..., Awaitable[Any]], *, before: str = "", behind: str = "") -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        die(before)
        result = await method(*args, **kwargs)
        die(behind)
        return result

    return call


def _counted(method: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(*args: Any) -> Any:
        global _sent
        _sent += 1
        die(f"sent {_sent}")
        return await method(*args)

    return call


recovery._small = _counted(recovery._small)
Unrecorded.write = _dying(Unrecorded.write, before="looked")  # type: ignore[method-assign]
Unrecorded.write_others = _dying(Unrecorded.write_others, before="sent all")  # type: ignore[method-assign]
vars(call_model)["recovered"] = _dying(recovery.recovered, behind="done")

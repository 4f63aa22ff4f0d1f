"""An agent whose sessions take events by a policy of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from inturn import Agent, InboxPolicy, Session
from tests.support.agents.agents import tools
from tests.support.rig import Rig


def desk(*, deliver: Callable[..., Any] | None = None, **policy: object) -> Agent:
    """Make the agent."""
    inbox = InboxPolicy.model_validate(policy)
    return Agent("desk", model="claude-sonnet-5-5", instructions="Be brief.", tools=tools, inbox=inbox, deliver=deliver)


@asynccontextmanager
async def session_of(
    rig: Rig, *, deliver: Callable[..., Any] | None = None, **policy: object
) -> AsyncIterator[Session]:
    """A session of that agent, whose worker runs."""
    async with rig.worker([desk(deliver=deliver, **policy)]), rig.client() as client:
        yield client.session("s")

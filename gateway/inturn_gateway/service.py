"""What the routes share: the client, the door, and what is counted.

Invariant: a session is reached through its caller's tenant alone; one that the caller does not see is not there.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi import Request

from inturn import Client
from inturn.client.session import Session
from inturn.errors import InvalidEvent, SessionNotFound
from inturn.keys import is_id
from inturn_gateway import bounds
from inturn_gateway.auth.caller import Caller, Scope
from inturn_gateway.auth.door import Door
from inturn_gateway.buckets import Buckets
from inturn_gateway.cards import Cards
from inturn_gateway.problems import Problem


@dataclass
class Service:
    """The gateway's state: none that another process would miss.

    Attributes:
        client: Whatever its tenant, it is asked for the caller's.
        door: Who may come in.
        cards: Told what was answered.
        closing: Set when the process begins to end.
    """

    client: Client
    door: Door
    cards: Cards
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    sent: Buckets = field(default_factory=lambda: Buckets(bounds.SESSION_RATE, bounds.SESSION_BURST))
    """Events by session."""
    _streams: Counter[tuple[str, str]] = field(default_factory=Counter, init=False)
    _agents: OrderedDict[tuple[str, str], str] = field(default_factory=OrderedDict, init=False)
    """Of sessions that callers who are bound to an agent have asked for: a session keeps its agent."""

    def of(self, caller: Caller) -> Client:
        """Return the client that sees what a caller sees."""
        return self.client.with_options(tenant=caller.tenant, patience=bounds.PATIENCE)

    def session(self, caller: Caller, session_id: str, *, agent: str | None = None) -> Session:
        """Return a session's handle.

        Raises:
            SessionNotFound: It can be none of the caller's.
            Problem: 403, the caller may not talk to this agent.
        """
        if not is_id(session_id) or not caller.sees(session_id):
            raise SessionNotFound(f"no session {session_id!r:.150}")
        if caller.agent is not None:
            if agent not in (None, caller.agent):
                raise Problem(403, f"this credential is bound to the agent {caller.agent}", kind="forbidden")
            agent = caller.agent
        if agent is not None and not is_id(agent):
            raise InvalidEvent("agent is no agent's name")
        return self.of(caller).session(session_id, agent=agent)

    async def check_agent(self, caller: Caller, session_id: str) -> None:
        """Return if a session is one of the caller's agent, or there is none yet.

        Raises:
            SessionNotFound: It is another agent's.
        """
        if caller.agent is None:
            return
        whose = (caller.tenant, session_id)
        if (agent := self._agents.get(whose)) is None:
            try:
                agent = (await self.session(caller, session_id).status()).agent
            except SessionNotFound:
                return  # the route says so, or begins it
            if agent is not None:
                self._agents[whose] = agent
                while len(self._agents) > bounds.AGENTS:
                    self._agents.popitem(last=False)
        if agent not in (None, caller.agent):
            raise SessionNotFound(f"no session {session_id!r:.150}")

    @contextmanager
    def streaming(self, caller: Caller) -> Iterator[None]:
        """Count a stream, or a wait, of a caller while the block runs.

        Raises:
            Problem: 429, it has too many.
        """
        whose = (caller.tenant, caller.who)
        if self._streams[whose] >= bounds.STREAMS:
            raise Problem(429, f"this credential has {bounds.STREAMS} streams and waits here already", retry_after=5)
        self._streams[whose] += 1
        try:
            yield
        finally:
            self._streams[whose] -= 1
            self._streams += Counter()  # without those that have none


def service_of(request: Request) -> Service:
    """Return the state of the application that a request is for."""
    service: Service = request.app.state.service
    return service


class Needs:
    """A dependency: the caller that was let in, once it has a scope, and the session of the path is its agent's."""

    def __init__(self, scope: Scope | None) -> None:
        """Remember the scope; `None`: any caller."""
        self.scope: Scope | None = scope

    async def __call__(self, request: Request) -> Caller:
        """Return the caller."""
        caller: Caller = request.state.caller
        if self.scope is not None:
            caller.demand(self.scope)
        if (session_id := request.path_params.get("session_id")) is not None:
            await service_of(request).check_agent(caller, session_id)
        return caller

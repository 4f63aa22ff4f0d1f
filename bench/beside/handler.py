"""Chats that run the turn inside their async signal handler.

The pattern of Temporal's own agent samples (a chat whose message handler runs the agent, and whose main routine only
waits until it is time to continue as new), with a signal in the place of their update. The tuned one adds what the
samples on safe message handlers add: a lock, an idempotency guard, no continue-as-new before all handlers have
finished.
"""

from __future__ import annotations

import asyncio

from temporalio import workflow

from bench.beside.chat import Chat, Given, due
from bench.beside.stub import Event


@workflow.defn(name="Handler")
class Handler:
    """As the samples have it."""

    @workflow.init
    def __init__(self, given: Given) -> None:
        self._chat = Chat(given.messages)

    @workflow.run
    async def run(self, given: Given) -> None:
        """Wait until it is time to continue as new."""
        await workflow.wait_condition(lambda: due(given.limit) and workflow.all_handlers_finished())
        workflow.continue_as_new(Given(messages=self._chat.messages, limit=given.limit))

    @workflow.signal
    async def submit(self, event: Event) -> None:
        """Answer a message."""
        await self._chat.turn(event.content)

    @workflow.query
    def answers(self) -> list[str]:
        """Return what was answered."""
        return self._chat.answers()


@workflow.defn(name="HandlerTuned")
class HandlerTuned:
    """One turn at a time, each id once, and a refused request is not repeated."""

    @workflow.init
    def __init__(self, given: Given) -> None:
        self._chat = Chat(given.messages)
        self._seen = dict.fromkeys(given.seen)
        self._lock = asyncio.Lock()

    @workflow.run
    async def run(self, given: Given) -> None:
        """Wait until it is time to continue as new."""
        await workflow.wait_condition(lambda: due(given.limit) and workflow.all_handlers_finished())
        workflow.continue_as_new(Given(messages=self._chat.messages, seen=list(self._seen), limit=given.limit))

    @workflow.signal
    async def submit(self, event: Event) -> None:
        """Answer a message when those before it are answered."""
        if event.event_id in self._seen:
            return
        self._seen[event.event_id] = None
        async with self._lock:
            await self._chat.careful_turn(event.content)

    @workflow.query
    def answers(self) -> list[str]:
        """Return what was answered."""
        return self._chat.answers()

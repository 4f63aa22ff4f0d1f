"""Chats that queue their signals and answer them in a main loop, with the whole conversation as the activity's input.

The pattern of Temporal's chat samples with signals and queries. The tuned one is their entity workflow: it continues
as new with its conversation and its queue, and adds an idempotency guard. The sample carries a summary of the
conversation in its place, which keeps it small and forgets what was said; every other way here keeps it all.
"""

from __future__ import annotations

from collections import deque

from temporalio import workflow

from bench.beside.chat import Chat, Given, due
from bench.beside.stub import Event


@workflow.defn(name="Conversation")
class Conversation:
    """As the samples have it."""

    @workflow.init
    def __init__(self, given: Given) -> None:
        self._chat = Chat(given.messages)
        self._queue: deque[Event] = deque()

    @workflow.run
    async def run(self, given: Given) -> None:
        """Answer for ever."""
        while True:
            await workflow.wait_condition(lambda: bool(self._queue))
            await self._chat.turn(self._queue.popleft().content)

    @workflow.signal
    def submit(self, event: Event) -> None:
        """Take a message."""
        self._queue.append(event)

    @workflow.query
    def answers(self) -> list[str]:
        """Return what was answered."""
        return self._chat.answers()


@workflow.defn(name="ConversationTuned")
class ConversationTuned:
    """Each id once, a refused request is not repeated, and no run grows beyond what the server suggests."""

    @workflow.init
    def __init__(self, given: Given) -> None:
        self._chat = Chat(given.messages)
        self._queue = deque(given.queue)
        self._seen = dict.fromkeys(given.seen)

    @workflow.run
    async def run(self, given: Given) -> None:
        """Answer until it is time to continue as new."""
        while not due(given.limit):
            await workflow.wait_condition(lambda: bool(self._queue))
            await self._chat.careful_turn(self._queue.popleft().content)
        carried = Given(messages=self._chat.messages, queue=list(self._queue), seen=list(self._seen), limit=given.limit)
        workflow.continue_as_new(carried)

    @workflow.signal
    def submit(self, event: Event) -> None:
        """Take a message, once."""
        if event.event_id not in self._seen:
            self._seen[event.event_id] = None
            self._queue.append(event)

    @workflow.query
    def answers(self) -> list[str]:
        """Return what was answered."""
        return self._chat.answers()

"""What this worker does not have, and another one may: a step waits for that one instead of failing.

Invariant: a lack of this worker's own is never the event's fault. It is final where the newest worker that serves the
agent says so, or when nobody had it for as long as a deploy takes; and it is said with who has it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from temporalio import activity

from inturn import names
from inturn.agents import Agent
from inturn.journal import Journal, Serving
from inturn.journal.log import forks
from inturn.keys import StepKey
from inturn_activities import failures
from inturn_activities.bounds import Bounds
from inturn_activities.failures import OwnFailure
from inturn_activities.roster import Roster

NAMED: Final = 3
"""Workers that a message names."""


class Elsewhere(Exception):
    """A worker that has what the step needs takes it from another task queue.

    Attributes:
        queue: Its name.
    """

    def __init__(self, queue: str) -> None:
        """Name the queue."""
        super().__init__(f"elsewhere: {queue}")
        self.queue = queue


class Lacks:
    """Finds what steps need of agents, or says who has it."""

    def __init__(self, journal: Journal, roster: Roster, bounds: Bounds, version: str | None = None) -> None:
        """Look among a roster's agents, then at what workers say in the journal; `version` is this worker's build."""
        self._journal = journal
        self._roster = roster
        self._bounds = bounds
        self._version = version

    @property
    def only_one(self) -> bool:
        """Whether this worker has one agent alone: it need not be named."""
        return self._roster.find(None) is not None

    async def own(self, step: StepKey) -> str | None:
        """Return the name of the agent that the session has frozen, if any."""
        began = await self._journal.entry(step.session, forks.KEY)
        return str(began.body["agent"]) if began else None

    async def agent(self, step: StepKey, name: str | None) -> Agent:
        """Return the agent of that name; for `None` the only one there is.

        Raises:
            ApplicationError: Another worker is to take the step.
            Elsewhere: It has to be taken from another task queue.
            OwnFailure: Nobody has had the agent for too long.
        """
        found = self._roster.find(name)
        if found is not None or name is None:
            return found or self._roster.get(name)
        own = await self.own(step)
        if own is not None and own != name:
            raise OwnFailure(f"the session's agent is {own!r}, not {name!r}")
        rows = await self._journal.serving(name)
        self._send(rows)
        # What only an event names may be a slip of the pen; what the session froze was there once.
        patience = self._bounds.lacking if rows or own is not None else self._bounds.lacking_named
        await self._wait(step, f"agent {name!r}", rows, patience)
        return self._roster.get(name)

    async def tool(self, step: StepKey, agent: Agent, name: str) -> None:
        """Return where an agent has no such tool.

        Raises:
            ApplicationError: A newer worker's agent has it.
            Elsewhere: The same.
        """
        await self._newer(step, agent, f"tool {name!r} of agent {agent.name!r}", lambda row: name in row.tools)

    async def deliver(self, step: StepKey, agent: Agent) -> None:
        """Return where an agent delivers no more.

        Raises:
            ApplicationError: A newer worker's agent delivers.
            Elsewhere: The same.
        """
        await self._newer(step, agent, f"the `deliver` of agent {agent.name!r}", lambda row: row.deliver)

    async def _newer(self, step: StepKey, agent: Agent, what: str, has: Callable[[Serving], bool]) -> None:
        """Leave it to those who have it where the newest worker is one of them."""
        rows = await self._journal.serving(agent.name)
        for build, patience in ((True, self._bounds.lacking), (False, self._bounds.lacking_named)):
            # Of another build: the server has not heard on each of its hosts yet which is the current one.
            alike = [row for row in rows if (row.version == self._version) is build]
            if alike and has(alike[0]):
                holders = [row for row in alike if has(row)]
                self._send(holders)
                return await self._wait(step, what, holders, patience)
        return None

    def _send(self, holders: Sequence[Serving]) -> None:
        """Raise `Elsewhere` where the newest holder does not take its steps from this step's own task queue.

        Only to one of the same build: the server gives no step to another one than its session's.
        """
        alike = [row.queue for row in holders if row.version == self._version]
        if alike and alike[0] != activity.info().task_queue:
            raise Elsewhere(alike[0])

    async def _wait(self, step: StepKey, what: str, rows: Sequence[Serving], patience: float) -> None:
        """Let another attempt follow, on whichever worker; return once that was tried for too long."""
        if await self._journal.lacking(step) >= patience:
            return
        who = sorted({row.worker for row in rows})
        more = f" and {len(who) - NAMED} more" if len(who) > NAMED else ""
        known = f": {', '.join(who[:NAMED])}{more}" if who else ", and none says that it has"
        after = random.uniform(1.0, 1.5)
        raise failures.again(names.NOT_YET, f"waits for a worker that has {what}{known}", after=after, benign=True)

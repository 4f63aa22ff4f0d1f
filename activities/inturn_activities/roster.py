"""The agents of a worker.

Invariant: an agent is found by name or because it is the only one; a session never changes over to another.
"""

from __future__ import annotations

from collections.abc import Iterable

from inturn.agents import Agent
from inturn_activities.failures import OwnFailure
from inturn_activities.messages import Policy


def policy_of(agent: Agent) -> Policy:
    """Return what the workflow has to know of an agent."""
    inbox = agent.inbox.model_dump(mode="json", exclude_defaults=True)
    return Policy(hash=agent.policy_hash, inbox=inbox, deliver=agent.deliver is not None)


class Roster:
    """Agents by name."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        """Take a worker's agents.

        Raises:
            ValueError: None was given, or two have one name.
        """
        self._agents: dict[str, Agent] = {}
        for agent in agents:
            if self._agents.setdefault(agent.name, agent) is not agent:
                raise ValueError(f"two agents are named {agent.name!r}")
        if not self._agents:
            raise ValueError("a worker needs at least one agent")

    def find(self, name: str | None) -> Agent | None:
        """Return the agent of that name; for `None` the only one there is."""
        if name is not None:
            return self._agents.get(name)
        return next(iter(self._agents.values())) if len(self._agents) == 1 else None

    def get(self, name: str | None) -> Agent:
        """Return the agent of that name; for `None` the only one there is.

        Raises:
            OwnFailure: This worker has no such agent.
        """
        agent = self.find(name)
        if agent is None:
            have = ", ".join(sorted(self._agents))
            what = "the session names no agent" if name is None else f"unknown agent {name!r}"
            raise OwnFailure(f"{what}; this worker has: {have}")
        return agent

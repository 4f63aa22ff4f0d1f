"""Which of an agent's models answers.

Invariant: the agent's own, or the one that the event named, for as long as it answers. Others stand in where it has
been away for long, or refuses; what is wrong with one that stands in is no reason to fail, nor to give anything up for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from inturn.agents import Agent
from inturn.errors import JournalUnavailable
from inturn.journal.values import Superseded
from inturn.models import ModelMessage

AFTER: Final = 60.0
"""Seconds for which a model is away before others answer."""

T = TypeVar("T")
Why = Literal["outage", "refusal"]
Ask = Callable[[Agent], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class First(Generic[T]):
    """The answer that counts.

    Attributes:
        by: The agent as the model answered it that did.
        why: Why that is another one than was asked.
    """

    answer: T
    by: Agent
    why: Why | None = None


def refuses(message: ModelMessage) -> bool:
    """Return whether an answer is none."""
    return message.stop_reason == "refusal"


async def first_answer(agent: Agent, ask: Ask[T], refuses: Callable[[T], bool], *, away: bool) -> First[T]:
    """Return an agent's answer, by whichever of its models gives one.

    Args:
        agent: The agent, as the model is to answer it that comes first.
        ask: Asks a model.
        refuses: Whether an answer is none.
        away: That model has been away for long: others are asked before it.

    Raises:
        Exception: As the model that comes first fails, where no other one answers.
    """
    others = [agent.answered_by(model) for model in agent.fallback]
    if away:
        return await _among(others, ask, refuses, "outage") or First(await ask(agent), agent)
    answer = await ask(agent)
    found = await _among(others, ask, refuses, "refusal") if refuses(answer) else None
    return found or First(answer, agent)


async def _among(others: list[Agent], ask: Ask[T], refuses: Callable[[T], bool], why: Why) -> First[T] | None:
    for other in others:
        try:
            answer = await ask(other)
        except (JournalUnavailable, Superseded):
            raise
        except Exception:  # the model that comes first says what is wrong
            continue
        if not refuses(answer):
            return First(answer, other, why)
    return None

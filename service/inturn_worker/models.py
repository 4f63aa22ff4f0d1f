"""Which model a worker asks, and what is wrong with it, said when the worker starts.

Invariant: what is wrong with a model is one clear line. Nothing here holds the start up or ends it: an API that is away
is away for events, too, and they wait for it.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import anthropic

from inturn.agents import Agent
from inturn.errors import Misconfigured, ModelError
from inturn.models import Model
from inturn.models.facts import AS_OF, MODELS, facts
from inturn.models.prices import Prices
from inturn.models.scripted import ScriptedModel
from inturn_activities.limits.limits import Limits
from inturn_activities.model.claude import Claude
from inturn_activities.model.guard import GuardedModel
from inturn_worker.settings import Settings

logger = logging.getLogger("inturn.worker")

_WITHIN: Final = 30.0
"""Seconds in which the API is asked for the models; then they show with the first event."""


def choose_model(settings: Settings) -> tuple[Model, str]:
    """Return Claude where the SDK finds credentials, else the scripted model; and what to call it.

    Raises:
        Misconfigured: The credentials that the SDK is pointed at cannot be read.
    """
    try:
        claude = Claude(connections=settings.step_slots)
    except (anthropic.AnthropicError, OSError, ValueError) as error:
        raise Misconfigured(
            f"the credentials for Anthropic cannot be read: {error}. Set ANTHROPIC_API_KEY, or correct the profile"
        ) from error
    if settings.has_key or claude.has_credentials:
        return claude, "anthropic"
    logger.warning("no ANTHROPIC_API_KEY: answers come from the scripted model, and nothing is sent to Claude")
    return ScriptedModel(), "scripted"


def check_settings(model: Model, agents: Sequence[Agent]) -> None:
    """Check that the agents' models take what is asked of them, as their provider knows them.

    Raises:
        Misconfigured: One does not.
    """
    for agent in agents:
        try:
            agent.check_settings(GuardedModel(model).facts)
        except ValueError as error:
            raise Misconfigured(str(error)) from error


def check_prices(model: Model, agents: Sequence[Agent], limits: Limits, prices: Prices) -> None:
    """Check that what is to be bounded in money has a price.

    Raises:
        Misconfigured: An agent's model has none.
    """
    guarded = GuardedModel(model, prices)
    for agent in agents:
        bounded = agent.budget.in_money or limits.usd_per_tenant_day is not None
        for asked in _models(agent):
            if (bounded or asked in limits.usd_per_model_day) and guarded.price(asked) is None:
                near = difflib.get_close_matches(asked, prices.models, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise Misconfigured(
                    f"agent {agent.name}: nobody knows what model {asked} costs{hint}, and it has a limit in money. "
                    "Name its price in a file (INTURN_PRICES), or bound tokens instead"
                )


def _models(agent: Agent) -> list[str]:
    """Return the models that an agent may ask: those that answer, and who summarises."""
    summarises = agent.compaction.model if agent.compaction is not None else None
    return list(dict.fromkeys([agent.model, *agent.models, *agent.fallback, *([summarises] if summarises else [])]))


@asynccontextmanager
async def looked_up(model: Model, agents: Sequence[Agent]) -> AsyncGenerator[None]:
    """Look the agents' models up while the block runs, and say which the API does not have."""
    if not isinstance(model, Claude):
        yield
        return
    looking = asyncio.create_task(_look_up(model, agents))
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


async def _look_up(claude: Claude, agents: Sequence[Agent]) -> None:
    users: dict[str, list[str]] = {}
    for agent in agents:
        summaries = agent.compaction.model if agent.compaction else None
        for model in dict.fromkeys((*agent.all_models, *((summaries,) if summaries else ()))):
            users.setdefault(model, []).append(agent.name)
    for model, names in users.items():
        try:
            async with asyncio.timeout(_WITHIN):
                await claude.look_up(model)
        except ModelError as error:
            if error.kind == "account":
                logger.error(
                    "model %s of agent %s: %s%s. What asks for it waits, or is asked of another, until that is mended",
                    model,
                    ", ".join(names),
                    error,
                    _hint(model),
                )
        except Exception as error:
            logger.info("model %s could not be looked up: %s", model, error)


def _hint(model: str) -> str:
    if facts(model).known:
        return ""
    near = difflib.get_close_matches(model, MODELS, n=1)
    return f" (did you mean {near[0]}?)" if near else f" (it is none that was known on {AS_OF})"

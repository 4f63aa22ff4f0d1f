"""What a worker's model calls may cost: by their agents' budgets, and by what all workers allow in a day.

Invariant: judged before each request, by the most that it can cost. Where the price is not known nothing is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from inturn import names
from inturn.agents import Agent
from inturn.journal import Claim, Journal
from inturn.journal.money.requests import Paying
from inturn.keys import StepKey
from inturn.models import ModelRequest
from inturn.models.prices import Price
from inturn.turns.spending import left_of, longest_answer
from inturn.values import Usage
from inturn_activities import failures
from inturn_activities.limits.agreed import AgreedLimits
from inturn_activities.model.guard import GuardedModel
from inturn_activities.model.usage import metering

_ANY: int = 10**9
"""Tokens of a window that nobody knows."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an attempt may ask for, and pay.

    Attributes:
        max_tokens: The longest answer; 0: there is no money for one; `None`: as long as may be.
        nanos: What all its requests may cost, in nanodollars; `None`: no budget says so.
        model: The model that they are to ask; another one may be dearer.
        set_aside: What is set aside for them of a day's money; `None`: a day has no bound. What a summary that fails,
            or a search for what the model refuses, costs beyond that counts once it is paid.
    """

    max_tokens: int | None = None
    nanos: int | None = None
    set_aside: int | None = None
    model: str | None = None


class Money:
    """What this worker's model calls may cost."""

    def __init__(self, journal: Journal, model: GuardedModel, agreed: AgreedLimits) -> None:
        """Judge by what the model costs, and by the limits that workers agreed on."""
        self._journal = journal
        self._model = model
        self._agreed = agreed

    def max_tokens(self, agent: Agent) -> int:
        """Return the longest answer that an agent asks for."""
        known = self._model.facts(agent.model)
        return min(agent.max_tokens, known.max_output) if known.known else agent.max_tokens

    def paying(self, step: StepKey, agent: Agent) -> Paying | None:
        """Return what a step's claim sets aside; `None`: nothing bounds what it pays, or it pays nothing.

        Raises:
            ApplicationError: Something does, and nobody knows what the model costs: no event's fault, it waits.
        """
        caps = self._agreed.caps(step.session.tenant, agent.model)
        if not caps and not agent.budget.in_money:
            return None
        price = self._price(agent).kept_for(agent.settings_at(step.step).cache_ttl)
        return Paying(price, self.max_tokens(agent), self._window(agent), caps) if price.tiers else None

    async def allowance(self, step: StepKey, claim: Claim, agent: Agent, used: Usage, *, raised: int = 0) -> Allowance:
        """Return what an attempt may ask for, and pay."""
        reserved, budget = claim.reserved, agent.budget
        if reserved is None:
            return Allowance()
        session = await self._journal.spent(step.session) if budget.session_usd is not None else 0
        capped = bool(self._agreed.caps(step.session.tenant, agent.model))
        left = left_of(budget, used, session=session, raised=raised)
        return Allowance(reserved.max_tokens, left, reserved.nanos if capped else None, agent.model)

    def bounded(self, request: ModelRequest, allowed: Allowance) -> ModelRequest:
        """Return a request whose answer is no longer than there is money for; of 0 tokens where there is none."""
        if allowed.max_tokens is None:
            return request
        paid, asked = metering().paid, min(request.max_tokens, allowed.max_tokens)
        first = not paid and request.model == allowed.model  # for that it is enough
        set_aside = None if first else allowed.set_aside
        lefts = [nanos - paid for nanos in (allowed.nanos, set_aside) if nanos is not None]
        if lefts and asked:
            price = self._model.worst_price(request)
            asked = longest_answer(price, self._model.prompt(request), asked, min(lefts))
        return replace(request, max_tokens=asked)

    def _price(self, agent: Agent) -> Price:
        price = self._model.price(agent.model)
        if price is None:
            message = f"nobody knows what model {agent.model} costs, and there is a limit in money (INTURN_PRICES)"
            raise failures.again(names.ACCOUNT, message, after=failures.ACCOUNT_PROBE, benign=True)
        return price

    def _window(self, agent: Agent) -> int:
        known = self._model.facts(agent.model)
        return known.window if known.known else _ANY

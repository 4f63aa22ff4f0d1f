"""What a turn of `inturn.testing.run` costs and may cost, as a worker judges it.

Invariant: a script's answers cost what the agent's own model would take for them, so that a budget in money ends a test
where it would end the turn.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

from inturn.agents import Agent
from inturn.errors import Misconfigured
from inturn.keys import StepKey
from inturn.models import Model, ModelMessage, ModelRequest
from inturn.models.prices import Price, Prices, known_prices
from inturn.turns import tokens
from inturn.turns.budget import total
from inturn.turns.spending import left_of, longest_answer
from inturn.values import Approval, Usage


class Spending:
    """What one turn may spend."""

    def __init__(self, agent: Agent, model: Model | None, prices: Prices | None) -> None:
        """Judge by what the agent's model costs, or by what the given one says that it does.

        Raises:
            Misconfigured: There is a budget in money, and nobody knows that.
        """
        told: Any = getattr(model, "price", None)
        known = told(agent.model) if callable(told) else None
        self._price = known if isinstance(known, Price) else (prices or known_prices()).find(agent.model)
        self._budget = agent.budget
        self.raised = 0
        if self._price is None and agent.budget.in_money:
            raise Misconfigured(f"nobody knows what model {agent.model} costs, and there is a budget in money")

    def bounded(self, request: ModelRequest, used: Usage, beside: Usage) -> ModelRequest:
        """Return a request whose answer is no longer than there is money for; of 0 tokens where there is none."""
        left = left_of(self._budget, total((used, beside)), raised=self.raised)
        price = self._price and self._price.kept_for(request.settings.cache_ttl)
        prompt = tokens.of_request(request) if left is not None else 0
        return dataclasses.replace(request, max_tokens=longest_answer(price, prompt, request.max_tokens, left))

    def priced(self, message: ModelMessage) -> ModelMessage:
        """Return an answer with what it cost."""
        usage = message.usage
        if usage.usd_nanos or self._price is None:
            return message
        cost = self._price.of(usage)
        return dataclasses.replace(message, usage=usage.model_copy(update={"usd_nanos": cost})) if cost else message

    def question(self, step: StepKey, now: datetime) -> Approval:
        """Return what a person is asked where the turn has used what it may."""
        name = f"budget:{step.turn.turn}:{step.step}" + (f".{self.raised}" if self.raised else "")
        expires = now + timedelta(seconds=self._budget.approval_timeout)
        return Approval(
            kind="budget", approval_id=f"{name}:0", call_id=name, tool="budget", asked_at=now, expires_at=expires
        )

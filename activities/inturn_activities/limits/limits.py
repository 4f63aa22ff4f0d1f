"""What a worker allows: locks of tools, steps in flight, calls in a minute.

Invariant: these are settings and what follows from them for a step; who holds what is the journal's alone, so workers
agree without talking to each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from inturn.amounts import nanos
from inturn.journal import Victim, Want
from inturn.journal.log import codec
from inturn.journal.money.requests import Cap
from inturn.tools import lock_name
from inturn.tools.checks import CheckedCall

Count = Annotated[int, Field(ge=1, le=1_000_000)]
PerMinute = Annotated[float, Field(ge=1e-6, le=1e9)]
Usd = Annotated[float, Field(ge=0, le=1e8, allow_inf_nan=False)]
Seconds = Annotated[float, Field(le=30 * 24 * 3600)]
_EVERYBODY: Final = ""
"""Scope of what all tenants share."""


class Limits(BaseModel):
    """The limits of a worker; of those that share a journal the lowest holds. `None`, or no entry, is no limit.

    Attributes:
        max_steps: Model and tool calls of one tenant in flight, over all workers.
        max_models: Model calls of one tenant in flight.
        per_agent: Steps of one tenant's in flight, by the agent's name.
        per_model: Model calls of one tenant in flight, by the model's name.
        per_tool: Tool calls of one tenant in flight, by the tool's name.
        rate_per_model: Model calls in a minute of all tenants together, by the model's name.
        rate_per_tenant: Model calls in a minute of each tenant.
        usd_per_tenant_day: US dollars that each tenant may spend on models in a day (UTC); a turn that has none left
            ends with `budget_reached`.
        usd_per_model_day: The same of all tenants together, by the model's name.
        lock_timeout: Seconds after which a call that waits for a lock ends with an error result.
        victim: Who gives way in a deadlock.
        backlog_spacing: Seconds at least from turn to turn of a backlogged session, while others are at work in the
            same process, and at most from step to step of a tenant that takes much of a busy one; 0 for none.
            Unspaced, such turns doubled what others waited on two busy cores.
        stuck_after: Seconds without progress after which a step is reported, and again after each as many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_steps: Count | None = 50
    max_models: Count | None = None
    per_agent: dict[str, Count] = {}
    per_model: dict[str, Count] = {}
    per_tool: dict[str, Count] = {}
    rate_per_model: dict[str, PerMinute] = {}
    rate_per_tenant: PerMinute | None = None
    usd_per_tenant_day: Usd | None = None
    usd_per_model_day: dict[str, Usd] = {}
    lock_timeout: Seconds = Field(default=300, gt=0)
    victim: Victim = "oldest_waiter"
    backlog_spacing: float = Field(default=0.2, ge=0, le=60)
    stuck_after: Seconds = Field(default=30, gt=0)

    def of_model(self, tenant: str, agent: str, model: str) -> tuple[Want, ...]:
        """Return what a model call needs."""
        permits = {
            "steps": self.max_steps,
            "model calls": self.max_models,
            f"agent {agent}": self.per_agent.get(agent),
            f"model {model}": self.per_model.get(model),
        }
        rates = (
            (_EVERYBODY, f"calls per minute of {model}", self.rate_per_model.get(model)),
            (tenant, "model calls per minute", self.rate_per_tenant),
        )
        wanted = [_rate(scope, resource, rate) for scope, resource, rate in rates if rate is not None]
        return (*_permits(tenant, permits), *wanted)

    def caps(self, tenant: str, model: str) -> tuple[Cap, ...]:
        """Return what may be spent where a model is called."""
        bounds = ((tenant, "", self.usd_per_tenant_day), (_EVERYBODY, model, self.usd_per_model_day.get(model)))
        return tuple(Cap(scope, resource, nanos(usd)) for scope, resource, usd in bounds if usd is not None)

    def of_call(self, tenant: str, agent: str, tool: str, checked: CheckedCall) -> tuple[Want, ...]:
        """Return what a call of that tool needs: its locks by name, then permits."""
        names = {name: name not in checked.locks for name in (*checked.locks, *checked.reads)}
        locks = (lock(tenant, name, read=read) for name, read in sorted(names.items()))
        permits = {
            "steps": self.max_steps,
            f"agent {agent}": self.per_agent.get(agent),
            f"tool {tool}": self.per_tool.get(tool),
        }
        return (*locks, *_permits(tenant, permits))


def lock(tenant: str, name: str, *, read: bool) -> Want:
    """Return the lock of that name."""
    return Want(tenant, f"lock {codec.column(lock_name(name))}", "read" if read else "write")


def _permits(tenant: str, limits: Mapping[str, int | None]) -> tuple[Want, ...]:
    return tuple(Want(tenant, name, "permit", limit) for name, limit in limits.items() if limit is not None)


def _rate(scope: str, resource: str, per_minute: float) -> Want:
    # A second's worth may come at once: calls of a slow rate are spread, and a fast one is not asked for each call.
    return Want(scope, resource, "rate", max(per_minute / 60, 1.0), per_minute / 60)

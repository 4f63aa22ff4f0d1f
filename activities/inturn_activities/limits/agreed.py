"""The limits that all workers of a journal hold together: the lowest that any of them was set to.

Invariant: a limit is counted by everybody or by nobody. Who had none of a kind would take no place that others see, and
who had a higher one would take those that others wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from inturn.journal import Want
from inturn.journal.money.requests import Cap
from inturn.tools.checks import CheckedCall
from inturn_activities.limits.limits import Limits

_ALONE: Final = ("max_steps", "max_models", "rate_per_tenant", "usd_per_tenant_day")
_BY_NAME: Final = ("per_agent", "per_model", "per_tool", "rate_per_model", "usd_per_model_day")


class AgreedLimits:
    """What a step of this worker's needs, by the limits that hold now."""

    def __init__(self, own: Limits) -> None:
        """Begin with what this worker was set to."""
        self._own = own
        self._now = own

    @property
    def own(self) -> dict[str, float]:
        """What this worker was set to, by names that all workers know: `max_steps`, `per_tool send_refund`."""
        alone = {name: value for name in _ALONE if (value := getattr(self._own, name)) is not None}
        named = {f"{kind} {name}": value for kind in _BY_NAME for name, value in getattr(self._own, kind).items()}
        return alone | named

    def agree(self, others: Iterable[Mapping[str, float]]) -> None:
        """Take what all live workers were set to, this one among them."""
        lowest = self.own
        for name, value in (pair for other in others for pair in other.items()):
            lowest[name] = min(value, lowest.get(name, value))
        alone = {name: value for name, value in lowest.items() if name in _ALONE}
        named = {
            kind: {name.partition(" ")[2]: value for name, value in lowest.items() if name.startswith(f"{kind} ")}
            for kind in _BY_NAME
        }
        self._now = self._own.model_copy(update=alone | named)

    def of_model(self, tenant: str, agent: str, model: str) -> tuple[Want, ...]:
        """Return what a model call needs."""
        return self._now.of_model(tenant, agent, model)

    def caps(self, tenant: str, model: str) -> tuple[Cap, ...]:
        """Return what may be spent where a model is called."""
        return self._now.caps(tenant, model)

    def of_call(self, tenant: str, agent: str, tool: str, checked: CheckedCall) -> tuple[Want, ...]:
        """Return what a call of that tool needs."""
        return self._now.of_call(tenant, agent, tool, checked)

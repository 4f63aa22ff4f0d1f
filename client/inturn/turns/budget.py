"""What a turn may use, and what it has used.

Invariant: one sum and one verdict, for the worker and for `inturn.testing.run`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from inturn.values import Usage

UNKNOWN_ATTEMPTS: Final = 3
"""Attempts of a step that fails, and nobody knows why."""
MAX_APPROVAL_TIMEOUT: Final = 366 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one turn may use; `None` is no bound. Checked before every model call.

    Attributes:
        steps: Model calls.
        tokens: Input (cached or not) and output tokens together.
        usd: Cost in US dollars, where the model tells it (`Usage.usd`). Claude and the scripted model do not, and no
            prices are built in: with them it bounds nothing, use `tokens`.
        approval_timeout: Seconds that a person has to answer a call that asks for approval; then it counts as denied.
        failures: Calls of one model step that may fail: at the last of them the step's other calls are cancelled, each
            with a result that says so (1 fails fast). `None`: all calls of a step are settled, whatever the others do.
    """

    steps: int | None = 50
    tokens: int | None = None
    usd: float | None = None
    approval_timeout: float = 24 * 3600.0
    failures: int | None = None

    def __post_init__(self) -> None:
        """Check what workflows will have to keep.

        Raises:
            ValueError: A bound is no number that something can be compared with, or nobody can wait for so long.
        """
        for name, least in (("steps", 0), ("tokens", 0), ("failures", 1)):
            bound: object = getattr(self, name)
            if bound is not None and (type(bound) is not int or bound < least):
                raise ValueError(f"{name} is {bound!r:.60}: a whole number from {least} on, or None")
        if self.usd is not None and not (_is_amount(self.usd) and self.usd >= 0):
            raise ValueError(f"usd is {self.usd!r:.60}: an amount of money, or None")
        if not 0 < self.approval_timeout <= MAX_APPROVAL_TIMEOUT:
            raise ValueError(f"approval_timeout is {self.approval_timeout} s: more than 0, at most a year")


def _is_amount(value: object) -> bool:
    return type(value) in (int, float) and value == value and value not in (math.inf, -math.inf)


def add(used: Usage, more: Usage) -> Usage:
    """Return the sum with one more answer, which counts as a step. Numbers of a newer peer are added, too."""
    sums = used.model_dump()
    for name, value in more:
        if isinstance(value, int | float):
            sums[name] = sums.get(name, 0) + value
    return Usage.model_validate({**sums, "steps": used.steps + 1})


def total(usages: Iterable[Usage]) -> Usage:
    """Return the sum of a turn's answers."""
    return functools.reduce(add, usages, Usage())


def exceeded(budget: Budget, used: Usage) -> bool:
    """Return whether the turn has used what it may."""
    tokens = used.input_tokens + used.output_tokens + used.cache_read_tokens + used.cache_write_tokens
    return (
        (budget.steps is not None and used.steps >= budget.steps)
        or (budget.tokens is not None and tokens >= budget.tokens)
        or (budget.usd is not None and used.usd >= budget.usd)
    )

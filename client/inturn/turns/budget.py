"""What a turn may use, and what it has used.

Invariant: one sum and one verdict, for the worker and for `inturn.testing.run`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, get_args

from inturn.amounts import nanos
from inturn.values import Usage

UNKNOWN_ATTEMPTS: Final = 3
"""Attempts of a step that fails, and nobody knows why."""
OnLimit = Literal["end", "ask"]
_COUNTED: Final = tuple(name for name in Usage.model_fields if name != "steps")
MAX_APPROVAL_TIMEOUT: Final = 366 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one turn may use; `None` is no bound. Checked before every model call.

    Attributes:
        steps: Model calls.
        tokens: Input (cached or not) and output tokens together.
        usd: Cost in US dollars. No request is sent that could cost more than what is left, at its worst: an answer may
            have to be shorter for it. A model whose price nobody knows cannot be asked then.
        session_usd: The same for all turns of a session together.
        on_limit: What comes of a turn that has used `usd`, `session_usd`, `tokens` or `steps`: `end`, or `ask` a
            person, who may give it as much once more.
        approval_timeout: Seconds that a person has to answer a call that asks for approval; then it counts as denied.
        failures: Calls of one model step that may fail: at the last of them the step's other calls are cancelled, each
            with a result that says so (1 fails fast). `None`: all calls of a step are settled, whatever the others do.
    """

    steps: int | None = 50
    tokens: int | None = None
    usd: float | Decimal | None = None
    session_usd: float | Decimal | None = None
    on_limit: OnLimit = "end"
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
        for name in ("usd", "session_usd"):
            amount: object = getattr(self, name)
            if amount is not None and not _is_amount(amount):
                raise ValueError(f"{name} is {amount!r:.60}: an amount of money, or None")
        if not 0 < self.approval_timeout <= MAX_APPROVAL_TIMEOUT:
            raise ValueError(f"approval_timeout is {self.approval_timeout} s: more than 0, at most a year")
        if self.on_limit not in get_args(OnLimit):
            raise ValueError(f"on_limit is {self.on_limit!r}: end or ask")

    @property
    def in_money(self) -> bool:
        """Whether it bounds what is paid."""
        return self.usd is not None or self.session_usd is not None


def _is_amount(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    return math.isfinite(value) and value >= 0


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


def counts(usage: Usage) -> dict[str, float]:
    """Return what is not zero of a usage; its steps are none of it."""
    return {name: value for name in _COUNTED if (value := getattr(usage, name))}


def added(used: Usage, more: Mapping[str, float]) -> Usage:
    """Return a usage with what attempts used that gave no answer: it is no step, and paid all the same."""
    sums = {name: getattr(used, name, 0) + value for name, value in more.items()}
    failed = used.failed_usd_nanos + int(more.get("usd_nanos", 0))
    return used.model_copy(update=sums | {"failed_usd_nanos": failed})


def exceeded(budget: Budget, used: Usage, *, raised: int = 0) -> bool:
    """Return whether the turn has used what it may; `raised`: how often it was given as much once more."""
    times = 1 + raised
    tokens = used.prompt_tokens + used.output_tokens
    return (
        (budget.steps is not None and used.steps >= budget.steps * times)
        or (budget.tokens is not None and tokens >= budget.tokens * times)
        or (budget.usd is not None and used.usd_nanos >= nanos(budget.usd) * times)
    )

"""Runs the state machine over as many steps as are asked for, under small bounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from inturn_workflows.inbox import books, dedup, parked, sequencing
from tests.property.models.inbox_checks import BOUNDS
from tests.property.models.inbox_machine import InboxMachine


@contextmanager
def small_bounds() -> Iterator[None]:
    """Lower the bounds that no policy sets, so that a few steps reach them."""
    with ExitStack() as stack:
        stack.enter_context(patch.multiple(dedup, SIZE=BOUNDS.window, RECENT=BOUNDS.recent))
        stack.enter_context(patch.object(sequencing, "MAX_SOURCES", BOUNDS.sources))
        stack.enter_context(patch.object(parked, "MAX_PARKED", BOUNDS.parked))
        stack.enter_context(patch.object(books, "MAX_DECISIONS", BOUNDS.decisions))
        yield


def explore(examples: int, steps: int, *, start: int | None = None, shrink: bool = True) -> int:
    """Return the steps done: `examples` sequences of up to `steps` steps, others for each `start`.

    Raises:
        AssertionError: The inbox did what it must not.
    """
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=False,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )

    class Counted(InboxMachine):
        steps = 0

    with small_bounds():
        run_state_machine_as_test(Counted if start is None else seed(start)(Counted), settings=how)
    return Counted.steps

"""Steps that workflows stop, told to whoever runs them: they beat at once, and the answer is their cancel.

Invariant: workflow code only says which step, never in a replay, and nothing comes back to it: whether anybody listens
changes no history.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from temporalio import workflow

from inturn.keys import StepKey

Listener = Callable[[StepKey], None]

_listeners: Final[set[Listener]] = set()


def tell(step: StepKey) -> None:
    """Tell this process that a step is being cancelled."""
    if workflow.unsafe.is_replaying():
        return
    for listener in tuple(_listeners):
        listener(step)


@contextmanager
def heard_by(listener: Listener) -> Generator[None]:
    """Have a listener hear of stops while the block runs: in any thread, so it returns at once and never raises."""
    _listeners.add(listener)
    try:
        yield
    finally:
        _listeners.discard(listener)

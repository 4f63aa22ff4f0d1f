"""How a bug is planted: one method of the inbox is replaced by a wrong one, or what was carried is damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionState

Plant = Callable[[pytest.MonkeyPatch], None]


def wrap(name: str, make: Callable[[Any], Any], owner: Any = Inbox) -> Plant:
    """Replace a method by what `make` makes of it."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(owner, name, make(getattr(owner, name)))

    return plant


def instead(name: str, wrong: Any, owner: Any = Inbox) -> Plant:
    """Replace a method or a constant by another."""
    return lambda patch: patch.setattr(owner, name, wrong)


def with_policy(name: str, owner: Any = Inbox, **changed: Any) -> Plant:
    """Call a method with another policy."""

    def make(method: Any) -> Any:
        def bug(self: Any, *given: Any, **named: Any) -> Any:
            wrong = [value.model_copy(update=changed) if hasattr(value, "merge_limit") else value for value in given]
            return method(self, *wrong, **named)

        return bug

    return wrap(name, make, owner)


def all_of(*plants: Plant) -> Plant:
    """Plant several that are one bug."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        for each in plants:
            each(patch)

    return plant


def at_restore(damage: Callable[[SessionState], object]) -> Plant:
    """Damage what continue-as-new carries."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def damaged(restore: Any) -> Any:
            def bug(carried: Any) -> SessionState:
                state: SessionState = restore(carried)
                damage(state)
                return state

            return bug

        for name in ("model_validate", "model_validate_json"):
            patch.setattr(SessionState, name, damaged(getattr(SessionState, name)))

    return plant

"""What one attempt of a call changes in shared state.

Invariant: an operation is named by the call and by its ordinal within the body, so that the attempt that follows finds
it recorded; and none holds a secret that the call was given.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from inturn.errors import ToolError
from inturn.journal.state.changes import Change, Operation
from inturn.keys import StepKey
from inturn.tools.secrets import CallSecrets

T = TypeVar("T")
Persist = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]

MAX_OPERATIONS: Final = 10_000
"""Changes of one call: what a call did is remembered until it ends."""


class CallOperations:
    """Numbers the operations of one attempt of a call's body."""

    def __init__(
        self, step: StepKey, token: str | None, secrets: CallSecrets | None = None, persist: Persist | None = None
    ) -> None:
        """Number them for the attempt that holds this token.

        Args:
            step: The call.
            token: Names the attempt; `None`: not checked.
            secrets: What the call was given; shared state must not hold it.
            persist: Runs a transaction, again where the journal was away for a moment.
        """
        self._step = step
        self._token = token
        self._secrets = secrets or CallSecrets()
        self._persist = persist
        self._ordinals = itertools.count()

    def next(self, key: str | None) -> Operation:
        """Return the next operation; one with a key takes no ordinal.

        Raises:
            ToolError: There were too many.
        """
        ordinal = 0 if key is not None else next(self._ordinals)
        if ordinal >= MAX_OPERATIONS:
            raise ToolError(f"more than {MAX_OPERATIONS:,} changes of shared state in one call")
        return Operation(self._step, self._token, ordinal, key)

    def check(self, change: Change, operation: Operation) -> None:
        """Check a change before it is made.

        Raises:
            ToolError: It holds a secret.
        """
        if self._secrets.found_in([change, operation.key]):
            raise ToolError("shared state must not hold a secret: ask for the credential again instead")

    async def run(self, transaction: Callable[[], Awaitable[T]]) -> T:
        """Run a transaction, and return its result."""
        if self._persist is None:
            return await transaction()
        result: T = await self._persist(transaction)
        return result

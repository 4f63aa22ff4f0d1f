"""Unknown calls: an operator says what became of a call whose outcome is unknown.

Invariant: nothing is guessed and nothing is changed. The settlement is one more entry of the journal, the first one
is kept, and the model reads it in a later turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json

from inturn import sizes
from inturn.client.temporal.connection import Connection
from inturn.errors import InvalidEvent
from inturn.journal import Resolution
from inturn.keys import SessionKey, StepKey
from inturn.values import UnknownOutcome

MAX_RESULT_BYTES: Final = 16 * 1024
"""Of a result as JSON: the model reads it."""


@dataclass
class UnknownCalls:
    """The calls of one session whose outcome is unknown."""

    connection: Connection
    key: SessionKey

    async def unsettled(self) -> list[UnknownOutcome]:
        """Return those that nobody settled, in order of their results."""
        journal = await self.connection.any_journal()
        return await journal.unknown_calls(self.key)

    async def settle(self, call: str, *, done: bool, result: Any, by: str | None, reason: str | None) -> None:
        """Settle one; see `Session.settle`."""
        try:
            settlement = Resolution(done, from_json(to_json(result, fallback=str)) if done else None, by, reason)
        except ValueError as error:  # too deep, or half a character
            raise InvalidEvent("the result cannot be written as JSON") from error
        if sizes.written(settlement.result) > MAX_RESULT_BYTES:
            raise InvalidEvent(f"the result has more than {MAX_RESULT_BYTES:,} bytes as JSON: say what matters of it")
        step = self._step(call)
        journal = await self.connection.any_journal()
        settled = await journal.resolve_call(step, settlement)
        if settled is None:
            raise InvalidEvent(f"the outcome of call {call} is not unknown: there is nothing to settle")
        if not settlement.same(settled):
            who = f" by {settled.by}" if settled.by else ""
            what = "done" if settled.done else "not done"
            raise InvalidEvent(f"call {call} was settled{who} otherwise before: {what}, with result {settled.result!r}")

    def _step(self, call: str) -> StepKey:
        try:
            step = StepKey.parse(call)
        except ValueError as error:
            raise InvalidEvent(f"{call!r:.200} is no call's key: `unknown_calls()` gives them") from error
        if step.session != self.key:
            raise InvalidEvent(f"call {call} is one of session {step.session}, not of {self.key}")
        return step

"""Whether the journal here is the one that a session knows, asked by each claim of its steps.

Invariant: no step reads or writes a journal that is another than its session's, or ends before what the session has
seen: the model would answer without memory, and what is decided would be written where nobody looks for it. Such a step
waits; what a worker says of it, it says once.

A claim asks in its own transaction, so a step of the right journal pays nothing for it. What does something before its
claim asks first, and who fails on the way asks before anybody believes why.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from inturn.errors import JournalUnavailable
from inturn.journal import Journal, JournalBehind, Position, Superseded
from inturn.journal.views.turns import entries_of
from inturn.keys import SessionKey, StepKey
from inturn_activities.failures import OwnFailure
from inturn_activities.messages import ModelInput, StepInput, StepResult
from inturn_activities.telemetry.meters import count_journal_behind

logger = logging.getLogger("inturn.worker")
R = TypeVar("R")
Run = Callable[..., Awaitable[R]]
"""Runs a step under a claim that asks for a log (`seen`)."""
_REMEMBERED: Final = 10_000
"""Sessions that were reported: a worker with the wrong journal may meet all there are."""


class Positions:
    """Looks where sessions' logs stand in a worker's journal."""

    def __init__(self, journal: Journal) -> None:
        """Look at a journal."""
        self._journal = journal
        self._reported: set[SessionKey] = set()

    async def judged(self, step: StepKey, input: StepInput, run: Run[R], *, first: bool) -> tuple[R, bool]:
        """Run a step where the journal is its session's; return whether the session does not know so yet, too.

        `first`: it does something before its claim.

        Raises:
            JournalBehind: The journal is another, or behind.
        """
        if input.journal is None or first:
            news = await self.check(step, input)
            return await run(step, seen=None), news
        try:
            result = await run(step, seen=Position(input.journal, input.head))
            self._reported.discard(step.session)
            return result, False
        except (JournalUnavailable, Superseded):
            raise
        except Exception as error:
            accepted = await self.check(step, input)
            if not (accepted and isinstance(error, JournalBehind)):
                raise
        return await run(step, seen=None), True

    async def check(self, step: StepKey, input: StepInput) -> bool:
        """Check that the journal is the session's; return whether the session does not know so yet.

        Raises:
            JournalBehind: It is another, or behind.
            OwnFailure: It was accepted though it is, and the turn's beginning is among what is missing.
        """
        session = step.session
        if input.journal is None:
            return True
        try:
            accepted = await self._journal.check(session, input.journal, input.head)
        except JournalBehind as error:
            self._report(session, error)
            raise
        self._reported.discard(session)
        if accepted and isinstance(input, ModelInput) and step.step != "0":
            await self._begun(step)
        return accepted

    async def told(self, step: StepKey, result: R) -> R:
        """Return a step's result with where the log stands, for a session that does not know."""
        here = await self._journal.position(step.session)
        if not isinstance(result, StepResult) or not here.identity:
            return result
        return result.model_copy(update={"journal": here.identity})

    async def _begun(self, step: StepKey) -> None:
        begun = await entries_of(self._journal, step.session, step.turn.event_id, ("turn.started",))
        if not any(entry.body.get("turn") == step.turn.turn for entry in begun):
            raise OwnFailure("the journal that was accepted for this session does not hold the beginning of this turn")

    def _report(self, session: SessionKey, error: JournalBehind) -> None:
        if session in self._reported:
            return
        if len(self._reported) >= _REMEMBERED:
            self._reported.clear()
        self._reported.add(session)
        count_journal_behind()
        logger.error("%s", error)

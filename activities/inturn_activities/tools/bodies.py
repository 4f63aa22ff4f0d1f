"""What a running body is given: its context, and where it reports to.

Invariant: everything that a body reports is written under its own claim.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from inturn.errors import JournalUnavailable, ToolError
from inturn.events import Event
from inturn.journal import Claim, Journal, NewEntry
from inturn.journal.retries import retry_while_unavailable
from inturn.journal.state.changes import Scope
from inturn.keys import StepKey
from inturn.tools import Tool
from inturn.tools.call_operations import CallOperations
from inturn.tools.calling import check_checkpoint
from inturn.tools.checks import CheckedCall, checked_call
from inturn.tools.context import ToolContext
from inturn.tools.pins import check_pin
from inturn.tools.raised import is_plain, settled, unsaid
from inturn.tools.returned import finite, is_small
from inturn.tools.secrets import CallSecrets, redact
from inturn.tools.shared_state import State
from inturn.tools.threads import Caller, NoThread, Threads
from inturn.turns.call_results import CallResult
from inturn.turns.documents import check_document, told_of_conflicts
from inturn_activities.bounds import Bounds
from inturn_activities.commit import before_cancelled
from inturn_activities.limits.limits import Limits
from inturn_activities.limits.stuck import note_progress
from inturn_activities.tools.body_locks import BodyLocks

MAX_PROGRESS: Final = 1_000
"""Characters of a progress text."""


MAX_REPORTS: Final = 1_000
"""Progress entries of one attempt: the journal keeps them all."""
MAX_NUMBER: Final = 1e15
"""How far a progress counts."""


def _is_shown(value: object) -> bool:
    """Whether a number of a progress is one that readers can show."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER


class Reports:
    """What a running body reports, written under its claim."""

    def __init__(self, journal: Journal, step: StepKey, token: str, call_id: str, *, patience: float) -> None:
        """Report for a call under a claim's token; wait so many seconds for a journal that is away."""
        self._patience = patience
        self._journal = journal
        self._step = step
        self._token = token
        self._call_id = call_id
        self.secrets = CallSecrets()
        """The secrets that the body was given."""
        self._told = 0
        self._pins: dict[int, str] = {}
        """What is pinned in the session, by seq, as far as it was read: the log only grows."""
        self.has_checkpoint = False
        """It kept one: another attempt can go on from there."""

    async def progress(self, text: str, done: float | None, total: float | None) -> None:
        """Append how far it is, for readers."""
        note_progress()
        self._told += 1
        if self._told > MAX_REPORTS:  # alive it is, and more than so many nobody reads
            return
        step = self._step
        body: dict[str, Any] = {"call_id": self._call_id, "text": redact(self.secrets.redact_text(text))[:MAX_PROGRESS]}
        body |= {name: value for name, value in (("done", done), ("total", total)) if _is_shown(value)}
        key = f"{step.within_session}/progress/{self._token}.{self._told}"
        entry = NewEntry("tool.progress", body, event_id=step.turn.event_id, step=step.within_turn, key=key)
        with contextlib.suppress(JournalUnavailable):  # news only: no reason to end the call
            await self._journal.append(step, self._token, [entry])

    async def checkpoint(self, value: Any) -> None:
        """Keep a value for the next attempt.

        Raises:
            ToolError: It holds a secret, or is too large.
        """
        check_checkpoint(value, self.secrets)
        note_progress()
        await before_cancelled(self._keep(value))

    async def pin(self, text: str) -> None:
        """Tell the model something for good.

        Raises:
            ToolError: It cannot be pinned.
        """
        note_progress()
        await before_cancelled(retry_while_unavailable(partial(self._pinned, text), patience=self._patience))

    async def _pinned(self, text: str) -> None:
        """Pin a text under the number that is free: whoever else takes that at once is seen, and counted, next."""
        step = self._step
        body = {"call_id": self._call_id, "text": text}
        while True:
            read = max(self._pins, default=0)
            async for pin in self._journal.conversation(step.session, after=read, types=("session.pinned",)):
                self._pins[pin.seq] = pin.text or ""
            if not check_pin(text, self._pins.values(), self.secrets):
                return
            key = f"pinned/{len(self._pins) + 1}"
            entry = NewEntry("session.pinned", body, event_id=step.turn.event_id, step=step.within_turn, key=key)
            await self._journal.append(step, self._token, [entry])

    async def remember(self, name: str, text: str, version: int) -> int:
        """Write a document of the agent's memory at the version that it knows; return the new one.

        Raises:
            ToolError: It cannot be written, or was changed since.
        """
        check_document(name, text)
        if self.secrets.found_in(text):
            raise ToolError("a document must not hold a secret")
        note_progress()
        write = partial(self._journal.remember, self._step, self._token, name, text, version)
        with told_of_conflicts():
            return await before_cancelled(retry_while_unavailable(write, patience=self._patience))

    async def _keep(self, value: Any) -> None:
        keep = partial(self._journal.keep, self._step, self._token, value)
        await retry_while_unavailable(keep, patience=self._patience)
        self.has_checkpoint = True


@dataclass(frozen=True, slots=True)
class Bodies:
    """Makes the contexts of calls."""

    journal: Journal
    bounds: Bounds
    limits: Limits
    checks: Threads
    resources: Any = None
    _spawned: set[asyncio.Task[None]] = field(default_factory=set)

    def reports(self, step: StepKey, claim: Claim, call_id: str) -> Reports:
        """Return what a body reports with under this claim."""
        return Reports(self.journal, step, claim.token, call_id, patience=self.bounds.commit_patience)

    def context(self, step: StepKey, claim: Claim, call_id: str, event: Event, reports: Reports) -> ToolContext:
        """Return the context of a call under this claim."""
        persist = partial(retry_while_unavailable, patience=self.bounds.commit_patience)
        operations = CallOperations(step, claim.token, reports.secrets, persist)
        return ToolContext(
            tenant=step.session.tenant,
            session_id=step.session.session_id,
            call_id=call_id,
            event=event,
            key=str(step),
            fence=claim.fence,
            resources=self.resources,
            last_checkpoint=claim.checkpoint,
            turn=step.turn.turn,
            state=State(self._opened, Scope(step.session.tenant, step.session.session_id), operations),
            shared=State(self._opened, Scope(step.session.tenant), operations),
            _progress=reports.progress,
            _checkpoint=reports.checkpoint,
            _result=partial(self.journal.result, step.session),
            _pin=reports.pin,
            _remember=reports.remember,
            _loop=asyncio.get_running_loop(),
            _secrets=reports.secrets,
            _locks=BodyLocks(self.journal, step, claim.token, self.bounds, self.limits),
        )

    async def check(self, step: StepKey, tool: Tool[..., Any], raw: Any) -> CheckedCall | CallResult | None:
        """Return what the tool's declaration says of a call; see `inturn.tools.checks.checked_call`."""
        caller = Caller(step.session.tenant, tool.name, step.session.session_id)
        return await checked_call(tool, raw, self.checks, caller, timeout=self.bounds.check)

    async def shown(self, step: StepKey, tool: Tool[..., Any], result: Any) -> Any:
        """Return a result of an async tool's, as text where it is no small plain value: its own code may write it."""
        if is_small(result):
            return result
        caller = Caller(step.session.tenant, tool.name, step.session.session_id)
        return await self.checks.call(partial(finite, result, bool), timeout=tool.timeout, caller=caller)

    async def told(self, step: StepKey, name: str, error: BaseException) -> BaseException:
        """Return what an async function raised as an error that the event loop may ask for its text."""
        if is_plain(error):
            return error
        caller = Caller(step.session.tenant, name, step.session.session_id)
        try:
            return await self.checks.call(partial(settled, error), timeout=self.bounds.check, caller=caller)
        except (TimeoutError, NoThread):
            return unsaid(error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work beside the steps, to its end: the loop itself holds tasks weakly."""
        task = asyncio.ensure_future(work)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    async def _opened(self) -> Journal:
        return self.journal

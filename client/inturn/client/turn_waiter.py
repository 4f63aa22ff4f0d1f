"""Waiting for the turn of an event, whatever happens on the way.

Invariant: an event that was accepted is never sent again to learn its answer. The wait follows it by its id: through
continue-as-new, restarts of worker and server, and being released early. It follows the journal where the client has
one, which costs the session no history, and otherwise asks the session, with growing pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar
from uuid import uuid4

from temporalio.client import WorkflowUpdateHandle
from temporalio.exceptions import TemporalError
from temporalio.service import RPCError, RPCStatusCode

from inturn import names
from inturn.client.control.controls import Controls
from inturn.client.status import open_events
from inturn.client.submitter import Submitter
from inturn.client.temporal.retries import jittered, reraise_cancellation, retry_rpc
from inturn.client.temporal.rpc_errors import translate_error
from inturn.client.temporal.transport import ALIVE_WITHIN, Message, SessionTransport
from inturn.errors import (
    InturnError,
    InvalidEvent,
    JournalUnavailable,
    SessionClosed,
    SessionNotFound,
    TurnFailed,
    TurnTimeout,
)
from inturn.events import Event
from inturn.journal import Outcome
from inturn.journal.log.pruned import CLOSES
from inturn.journal.views.turns import read_turn
from inturn.values import Turn

if TYPE_CHECKING:
    from inturn.journal import SessionJournal

P = ParamSpec("P")
T = TypeVar("T")
PATIENCE: Final = 300.0
"""Seconds a wait without a timeout of its own goes on without any answer."""
_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 60.0
"""Seconds without news of the event until the session is asked again. Without a journal that costs it history."""
_FIRST_LOOK: Final = 0.05
_LONGEST_LOOK: Final = 1.0
"""Seconds between looks at the status, which cost no history."""
_STATUS_WITHIN: Final = 4.0
_CANCEL_WITHIN: Final = 5.0
_SET_ASIDE: Final = ("parked", "discarded")
"""Dispositions that may be an earlier turn's: a redrive keeps the old one until it has ended."""
_PENDING: Final[Message] = {"pending": True}


@dataclass
class TurnWaiter:
    """The waits of one handle."""

    transport: SessionTransport
    submitter: Submitter
    controls: Controls

    async def ask(self, event: Event, *, timeout: float | None, cancel_on_exit: bool) -> Turn:
        """Send an event and return its turn."""
        event_id = str(event.event_id)
        try:
            async with _within(timeout, event_id):
                handle = await self.submitter.accepted(event)
                journal = await self.transport.connection.journal()
                reply = await self._result(handle)
                known = (reply.get("receipt") or {}).get("event_id")  # a duplicate's original, by another id
                return await self._follow(str(known or event_id), reply, journal, taken=True)
        except (asyncio.CancelledError, TurnTimeout):
            if cancel_on_exit:
                with suppress(InturnError, TimeoutError):
                    async with asyncio.timeout(_CANCEL_WITHIN):
                        await self.controls.act("cancel", event_id=event_id, reason="the caller went away")
            raise

    async def wait(self, event_id: str, *, timeout: float | None) -> Turn:
        """Return the turn of an event that was sent before."""
        async with _within(timeout, event_id):
            journal = await self.transport.connection.journal()
            known = journal is not None and await self._patiently(self._will_be_read, event_id, journal)
            return await self._follow(event_id, _PENDING if known else await self._asked(event_id, journal), journal)

    async def _follow(
        self, event_id: str, reply: Message, journal: SessionJournal | None, *, taken: bool = False
    ) -> Turn:
        """Return the turn, from the session's reply on; `taken`: the session has accepted the event for sure."""
        pause = _FIRST_PAUSE
        while True:
            if reply.get("unknown"):
                return await self._turn_of_unknown_event(event_id, taken=taken)
            if turn := await self._patiently(self._turn_from_reply, event_id, reply, journal):
                return turn
            if journal is None:
                await self._poll_until_begun(event_id, jittered(pause))
            elif turn := await self._patiently(self._turn_from_journal, event_id, journal, jittered(pause)):
                return turn
            reply = await self._asked(event_id, journal)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _patiently(self, look: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Look into the journal, again where it is away for a moment."""
        clock = asyncio.get_running_loop().time
        until, delay = clock() + self.transport.patience, _FIRST_LOOK
        while True:
            began = clock()
            try:
                return await look(*args, **kwargs)
            except JournalUnavailable:
                if clock() - began > _LONGEST_LOOK:  # it was there meanwhile
                    until, delay = clock() + self.transport.patience, _FIRST_LOOK
                if clock() + delay > until:
                    raise
            await asyncio.sleep(jittered(delay))
            delay = min(delay * 2, _LONGEST_LOOK)

    async def _turn_from_reply(self, event_id: str, reply: Message, journal: SessionJournal | None) -> Turn | None:
        """Return the turn that a reply holds or names; `None` while it is to come."""
        if ended := reply.get("ended"):
            # Its host may have been driven again, with success.
            if ended.get("merged") and journal is not None and (turn := await self._read(event_id)):
                return turn.model_copy(update={"disposition": "merged"})
            raise TurnFailed(event_id, str(ended["disposition"]), str(ended.get("reason") or "see the journal"))
        if (answer := reply.get("turn")) is None:
            return None
        turn = Turn.model_validate(answer)
        if journal is None and not turn.truncated:
            return turn
        # Of a merged event that is its host's, which may be known before it is written whose it is.
        if read := await self._read(turn.event_id or event_id):
            return read.model_copy(update={"disposition": turn.disposition})
        if journal is not None and turn.disposition == "merged":
            outcome = await self._ended(journal, event_id)
            if outcome is None:
                return None  # whose it is will be written
            if outcome.disposition in _SET_ASIDE:
                raise TurnFailed(event_id, outcome.disposition, outcome.reason or "see the journal")
        return turn

    async def _turn_from_journal(self, event_id: str, journal: SessionJournal, pause: float) -> Turn | None:
        """Return the turn once the journal has its end; `None` after `pause` in which no status shows the event."""
        hub = await self.transport.connection.hub()
        head, look = 0, _FIRST_LOOK
        while True:
            outcome = await self._ended(journal, event_id)
            if outcome is not None and outcome.disposition not in _SET_ASIDE:
                return await self._outcome(event_id, outcome)
            if outcome is not None:
                # Where the session does not answer, only a closed one surely drives nothing again.
                gone = await self._open(event_id, outcome.event_id) is False or await self._closed(journal)
                if gone and outcome == await self._ended(journal, event_id):  # it may have ended anew meanwhile
                    return await self._outcome(event_id, outcome)
                pause, look = jittered(look), min(look * 2, _LONGEST_LOOK)
            try:
                async with asyncio.timeout(pause):
                    head = await hub.wait(self.transport.key, after=head)
            except TimeoutError:
                if outcome is None and not await self._will_be_read(event_id, journal):
                    return None

    async def _poll_until_begun(self, event_id: str, pause: float) -> None:
        """Wait until the event's turn runs, or waits for nobody any more; at most for `pause`."""
        clock = asyncio.get_running_loop().time
        until, look = clock() + pause, _FIRST_LOOK
        while (left := until - clock()) > 0:
            await asyncio.sleep(min(left, jittered(look)))
            look = min(look * 2, _LONGEST_LOOK)
            if not await self._queued(event_id):
                return

    async def _asked(self, event_id: str, journal: SessionJournal | None) -> Message:
        """Return the session's reply to a wait; under a new update id each time, the older one has its answer."""
        message = {"event_id": event_id, "wait": True} | ({"inline": True} if journal is None else {})
        try:
            handle = await retry_rpc(
                lambda: self.transport.update(names.SUBMIT, message, f"{event_id}~{uuid4().hex[:6]}"),
                patience=PATIENCE,
                session=str(self.transport.key),
            )
            return await self._result(handle)
        except (SessionClosed, SessionNotFound) as error:
            turn = await self._recorded(event_id, error)
            return {"turn": turn.model_dump(mode="json")}

    async def _result(self, handle: WorkflowUpdateHandle[Message]) -> Message:
        """Return the result of an accepted update; where the way to it was cut, the wait goes on."""
        try:
            async with reraise_cancellation():
                return await handle.result()
        except TemporalError as error:
            lost = isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND
            translated = translate_error(error, str(self.transport.key))
            if lost or translated.retryable:
                return _PENDING
            raise translated.error from error

    async def _will_be_read(self, event_id: str, journal: SessionJournal) -> bool:
        """Return whether the journal has the event's end, or will have it, since the session has the event."""
        if await self._ended(journal, event_id) or await self._open(event_id):
            return True
        return await self._ended(journal, event_id) is not None  # it may have ended between the two looks

    async def _closed(self, journal: SessionJournal) -> bool:
        """Return whether the session was closed: nothing is driven again then."""
        return bool(await journal.read(self.transport.key, limit=1, types=CLOSES))

    async def _open(self, *event_ids: str) -> bool | None:
        """Return whether one of the events waits or runs in the session; `None` where the session does not answer."""
        status = await self._status()
        return None if status is None else not open_events(status).isdisjoint(event_ids)

    async def _queued(self, event_id: str) -> bool:
        """Return whether it is too early to ask: the event waits in the session, or its turn for a person."""
        status = await self._status()
        if status is None:
            return True
        waiting: list[Any] = [*status.get("queue", ()), *status.get("held", ())]
        if status.get("state") in ("requires_action", "paused"):
            waiting.append(status.get("turn") or {})
        return any(item.get("event_id") == event_id for item in waiting)

    async def _status(self) -> Message | None:
        """Return the session's own status; again where its server holds as many queries as it takes (one)."""
        try:
            return await retry_rpc(lambda: self.transport.status(ALIVE_WITHIN), patience=_STATUS_WITHIN)
        except InturnError:
            return None

    async def _turn_of_unknown_event(self, event_id: str, *, taken: bool) -> Turn:
        """Return the recorded turn of an event that the session does not know (any more).

        Raises:
            JournalUnavailable: The session has taken it, and no journal that is read here has its answer.
            InvalidEvent: Neither the session nor a journal that is read here knows it.
        """
        error: type[InturnError] = JournalUnavailable if taken else InvalidEvent
        known = f"took event {event_id} and no longer has its answer, only the journal can"
        what = f"session {self.transport.key} {known if taken else f'knows no event {event_id} (any more)'}"
        try:
            await self.transport.connection.any_journal()
        except JournalUnavailable as missing:
            raise error(f"{what}; {missing}") from missing
        return await self._recorded(event_id, error(f"{what}; the journal that this client reads does not have it"))

    async def _recorded(self, event_id: str, error: InturnError) -> Turn:
        """Return the turn that the journal has; raise `error` where it has none."""
        try:
            journal = await self.transport.connection.any_journal()
        except JournalUnavailable:
            raise error from None
        if (turn := await self._patiently(self._turn_that_ended, event_id, journal)) is None:
            raise error
        return turn

    async def _turn_that_ended(self, event_id: str, journal: SessionJournal) -> Turn | None:
        outcome = await self._ended(journal, event_id)
        return None if outcome is None else await self._outcome(event_id, outcome)

    async def _outcome(self, event_id: str, outcome: Outcome) -> Turn:
        ran = outcome.disposition == "applied" or outcome.stop == "interrupted"
        if ran and (turn := await self._read(event_id)):
            return turn
        raise TurnFailed(event_id, outcome.disposition, outcome.reason or "see the journal")

    async def _read(self, event_id: str) -> Turn | None:
        """Return the turn that the journal has; `None`: it has none, or the user named no journal.

        Raises:
            JournalUnavailable: The one that the user named cannot be read for now: that is not to have no answer.
        """
        connection = self.transport.connection
        if (named := await connection.journal()) is not None:
            return await read_turn(named, self.transport.key, event_id)
        with suppress(JournalUnavailable):
            return await read_turn(await connection.any_journal(), self.transport.key, event_id)
        return None

    async def _ended(self, journal: SessionJournal, event_id: str) -> Outcome | None:
        """Return how the turn ended that answers an event: of a merged one that is its host's."""
        outcome = await journal.outcome_by(self.transport.key, event_id)
        if outcome is not None and outcome.disposition == "merged" and outcome.into:
            return await journal.outcome(self.transport.key, outcome.into)
        return outcome


@asynccontextmanager
async def _within(timeout: float | None, event_id: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:
        raise TurnTimeout(f"event {event_id} was not answered within {timeout} s; its turn goes on") from error

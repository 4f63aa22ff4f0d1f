"""The handle of one session.

Invariant: a handle holds no state of the session, only the order of its own calls; any number of handles, in any
process, mean the same session.
"""

from __future__ import annotations

from typing import Any, Unpack

from inturn.client.accepting import JournalAcceptance
from inturn.client.audit.audit import Auditor
from inturn.client.call_order import CallOrder
from inturn.client.control.controls import Controls
from inturn.client.control.sealed_events import SealedEvents
from inturn.client.control.steering import Steering
from inturn.client.control.unknown_calls import UnknownCalls
from inturn.client.journal.session import JournalledSession
from inturn.client.status import StatusReader
from inturn.client.submitter import Submitter
from inturn.client.temporal.retries import retry_rpc
from inturn.client.temporal.transport import SessionTransport
from inturn.client.turn_waiter import TurnWaiter
from inturn.events import Content, Event, EventOptions
from inturn.values import Audit, Parked, Receipt, SessionStatus, Turn, UnknownOutcome


class Session(Steering, JournalledSession):
    """One session: a conversation or task that takes events one at a time.

    Made by `Client.session`, without a round trip; the first event starts the session. Events that one handle sends are
    accepted in the order of its calls, also under `asyncio.gather`. Controls (`interrupt`, `cancel`, `approve`, …) are
    out of band: they wait for no event.
    """

    def __init__(self, transport: SessionTransport) -> None:
        """Make a handle; see `Client.session`."""
        order = CallOrder()
        self._submitter = Submitter(transport, order)
        controls = Controls(transport, order)
        sealed = SealedEvents(transport, self._submitter, controls)
        Steering.__init__(self, controls, sealed)
        JournalledSession.__init__(self, transport)
        self._waiter = TurnWaiter(transport, self._submitter, controls)
        self._status = StatusReader(transport)
        self._unknown_calls = UnknownCalls(transport.connection, transport.key)

    @property
    def session_id(self) -> str:
        """Its id within the tenant."""
        return self._transport.key.session_id

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self._transport.key.tenant

    @property
    def agent(self) -> str | None:
        """The agent that this handle asks for."""
        return self._transport.agent

    def __repr__(self) -> str:
        """Return it with the session's workflow id."""
        return f"<Session {self._transport.key}>"

    async def create(self) -> bool:
        """Start the session without an event, where an event is still to come: it is listed then, with its agent.

        Returns:
            Whether there was none, open or closed.

        Raises:
            Unavailable: The server did not take it; the same again is safe.
        """
        return await retry_rpc(
            self._transport.start, patience=self._transport.patience, session=str(self._transport.key)
        )

    # Events.

    async def send(self, content: Content | Event, **options: Unpack[EventOptions]) -> Receipt:
        """Send an event and return once it is durable, with or without a worker running.

        Args:
            content: Text, or a list of content blocks (text, image, document), at most 256 KiB as JSON; or an `Event`,
                which has its options itself.
            options: See `inturn.EventOptions`.

        Returns:
            A receipt of status `sent`. What cannot be accepted later ends with disposition `rejected` or `parked`.

        Raises:
            InvalidEvent: The event breaks a rule.
            Backpressure: It is over 4 KiB, no journal is named, and the session's run has no room left for it.
            SessionClosed: The session was closed.
            Unavailable: Server (or, for over 4 KiB, journal) did not take it; the same `event_id` again is safe.
        """
        return await self._submitter.send(content, **options)

    async def submit(self, content: Content | Event, **options: Unpack[EventOptions]) -> Receipt:
        """Hand an event to the session and return its receipt: accepted and durable, not yet processed.

        Backpressure is not waited out here, so that the caller decides: wait `retry_after` seconds and submit the same
        event again, with the same `event_id`, until it is in.

        Args:
            content: As for `send`.
            options: See `inturn.EventOptions`.

        Returns:
            A receipt of status `accepted`, `held` or `duplicate`. A duplicate's `disposition` is how its original ended
            or that it has not yet; of one long ago only the journal knows that, and it is `None` where this client
            cannot read it.

        Raises:
            InvalidEvent: The event breaks a rule.
            Refused: Not accepted: `Backpressure` (no room now) or `SessionBusy` (`when_busy="reject"`).
            SessionClosed: The session was closed.
            Unavailable: No server answered, or no worker took it in time; the same `event_id` again is safe.
        """
        return await self._submitter.submit(content, **options)

    async def ask(
        self,
        content: Content | Event,
        *,
        timeout: float | None = None,
        cancel_on_exit: bool = False,
        **options: Unpack[EventOptions],
    ) -> Turn:
        """Submit an event and wait for its turn, through restarts of worker and server.

        Args:
            content: As for `send`.
            timeout: Seconds to wait in all; `None` waits as long as it takes.
            cancel_on_exit: Cancel the event when this call is cancelled or times out; otherwise its turn goes on.
            options: See `inturn.EventOptions`.

        Returns:
            The turn that ran, whatever its stop reason.

        Raises:
            TurnFailed: The event ended without a turn: parked, expired, rejected, discarded, or cancelled while it
                waited.
            TurnTimeout: `timeout` passed.
            InvalidEvent: The event breaks a rule.
            Refused: Not accepted, as for `submit`.
            SessionClosed: The session was closed.
            Unavailable: Not accepted in time, as for `submit`; or nobody answered for minutes.
            JournalUnavailable: The event came before, so long ago that only the journal has its answer, and the one
                that this client reads, if any, does not.
        """
        event = self._submitter.event(content, **options)
        return await self._waiter.ask(event, timeout=timeout, cancel_on_exit=cancel_on_exit)

    async def wait(self, event_id: str, *, timeout: float | None = None) -> Turn:
        """Return the turn of an event that was sent before, once it has ended.

        Where this client reads the journal, waiting costs the session no history.

        Args:
            event_id: The event.
            timeout: Seconds to wait; `None` waits as long as it takes.

        Raises:
            TurnFailed: The event ended without a turn.
            TurnTimeout: `timeout` passed.
            InvalidEvent: The session knows no such event, or no longer, and this client cannot read the journal.
            SessionNotFound: No such session.
            Unavailable: Nobody answered for minutes.
            JournalUnavailable: The journal that this client names cannot be read.
        """
        return await self._waiter.wait(event_id, timeout=timeout)

    # Dead letters.

    async def parked(self) -> list[Parked]:
        """Return the latest 100 events (and deliveries) that failed for good and were set aside.

        Raises:
            JournalUnavailable: No worker answers, and the journal cannot be read.
        """
        live = await self._status.live()
        if live is not None and "parked" in live:
            return await self._sealed.named([Parked.model_validate(parked) for parked in live["parked"]])
        return await self._reader.parked()

    # Calls whose outcome is unknown.

    async def unknown_calls(self) -> list[UnknownOutcome]:
        """Return the tool calls whose outcome is unknown, until somebody settles them.

        Such a call was cut off (by a dead worker, its timeout, an interrupt) while it ran, and its tool is neither
        idempotent nor has a `lookup`.

        Raises:
            JournalUnavailable: The journal cannot be read.
        """
        return await self._unknown_calls.unsettled()

    async def settle(
        self, call: str, *, done: bool, result: Any = None, by: str | None = None, reason: str | None = None
    ) -> None:
        """Record what became of a call whose outcome is unknown; the model learns of it with the next event.

        The same settlement again is fine; it needs no worker.

        Args:
            call: Its key, from `unknown_calls()`.
            done: Whether it had its effect.
            result: What it would have returned, for the model; at most 16 KiB as JSON.
            by: Who found out.
            reason: How, or why.

        Raises:
            InvalidEvent: The call's outcome is not unknown, or it was settled otherwise before.
            JournalUnavailable: The journal cannot be written.
        """
        await self._unknown_calls.settle(call, done=done, result=result, by=by, reason=reason)

    # The journal.

    async def accept_journal(self, *, by: str | None = None, reason: str | None = None) -> None:
        """Have the session go on with the journal that this client reads, where it waits for one that is gone.

        A session knows its journal and how far that went. A worker whose journal is another, or ends before, takes no
        step of it (`health` is `journal_behind`) until this is called. What is missing is named in a `session.gap`
        entry and by `audit`; the model does not know it any more. The same call again is fine.

        Args:
            by: Who decides.
            reason: Why.

        Raises:
            InvalidEvent: The journal is the session's, and nothing is missing.
            SessionNotFound: No such session.
            JournalUnavailable: The journal cannot be written.
            Unavailable: No worker runs: what the session has seen is not known.
        """
        await JournalAcceptance(self._transport).accept(by=by, reason=reason)

    # Looking.

    async def status(self) -> SessionStatus:
        """Return the session at a glance; needs no worker.

        Returns:
            `source` is `live` when the session itself answered within 2 s, else `fallback`: what the server and the
            journal know, and `health` says what is wrong.

        Raises:
            SessionNotFound: No such session.
            Unavailable: The server did not answer either.
        """
        return await self._status.status()

    async def audit(self, *, deep: bool = False) -> Audit:
        """Check that nothing was lost: what the session carries against the journal's outcomes and entries.

        Args:
            deep: Also read the histories that the server retains, of all runs, and say which are gone.

        Raises:
            SessionNotFound: No such session.
            JournalUnavailable: The journal cannot be read.
        """
        return await Auditor(self._transport).audit(deep=deep)

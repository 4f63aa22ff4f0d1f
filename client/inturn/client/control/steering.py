"""The controls of a session's handle.

Invariant: a control waits for no event, and touches only what it names. Sent once, it acts once.
"""

from __future__ import annotations

from typing import Literal, TypedDict, Unpack

from inturn.client.control.controls import Controls
from inturn.client.control.sealed_events import SealedEvents


class ControlId(TypedDict, total=False):
    """What a control may be named with."""

    control_id: str
    """Its id, at most 128 visible characters: the same one again acts once, also from another process. Unset, one is
    made."""


class ControlOptions(ControlId, total=False):
    """How a control is sent; each is optional."""

    wait: bool
    """`False`: return once it is durable, as a signal, with or without a worker running; then what would say whether
    there was something to do is True. What comes of it is told by `control_result`."""


class Steering:
    """What people and operators ask of a session, out of band: part of `Session`.

    Every control raises `SessionNotFound` (no such session), `SessionClosed` (it was closed) and `Unavailable` (nobody
    took the call in time); with `wait=False` a session that has no worker takes it, too.
    """

    def __init__(self, controls: Controls, sealed: SealedEvents) -> None:
        """Make them for a handle."""
        self._controls = controls
        self._sealed = sealed

    async def cancel(self, event_id: str, *, reason: str | None = None, **how: Unpack[ControlOptions]) -> bool:
        """Take a held, queued or running event out, and only that one.

        Args:
            event_id: The event.
            reason: For the journal.
            how: See `inturn.ControlOptions`.

        Returns:
            Whether there was something to take out.
        """
        return await self._controls.act("cancel", how, event_id=event_id, reason=reason)

    async def interrupt(
        self,
        *,
        event_id: str | None = None,
        reason: str | None = None,
        clear_queue: bool = False,
        **how: Unpack[ControlOptions],
    ) -> bool:
        """Stop the running turn; what it did stays.

        Args:
            event_id: Stop it only if it is this event's.
            reason: For the journal.
            clear_queue: Cancel what waits, too.
            how: See `inturn.ControlOptions`. With `wait=False` name the event: without, it stops whichever turn runs
                once it is read.

        Returns:
            Whether a turn was running to be stopped.
        """
        return await self._controls.act("interrupt", how, event_id=event_id, reason=reason, clear_queue=clear_queue)

    async def compact(self, *, instructions: str | None = None, **how: Unpack[ControlOptions]) -> bool:
        """Have the next model step begin with a summary, such as `instructions` ask for; return whether one follows."""
        return await self._controls.act("compact", how, instructions=instructions)

    async def approve(
        self,
        approval_id: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        via: str | None = None,
        wait: bool = True,
        **named: Unpack[ControlId],
    ) -> None:
        """Approve a tool call. The same answer again is fine.

        Args:
            approval_id: `{call_id}:{hash}`, from `status().approvals`.
            by: Who says so.
            reason: Why.
            via: Through what, such as `slack`; at most 64 characters.
            wait: `False`: return once it is durable; see `inturn.ControlOptions`.
            named: Its `control_id`, where it is to be asked later what came of it (`control_result`).

        Raises:
            ApprovalConflict: It has another answer, or this one is too late.
            InvalidEvent: The call has other arguments than those, or asks for no approval.
        """
        how: ControlOptions = {**named, "wait": wait}
        await self._controls.answer("approve", approval_id, how, by=by, via=via, reason=reason)

    async def deny(
        self,
        approval_id: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        via: str | None = None,
        wait: bool = True,
        **named: Unpack[ControlId],
    ) -> None:
        """Deny a tool call; the model learns of it. Otherwise as `approve`."""
        how: ControlOptions = {**named, "wait": wait}
        await self._controls.answer("deny", approval_id, how, by=by, via=via, reason=reason)

    async def pause(self, **how: Unpack[ControlOptions]) -> None:
        """Take up no event after the running turn, which finishes; events are still accepted."""
        await self._controls.act("pause", how)

    async def resume(self, **how: Unpack[ControlOptions]) -> None:
        """Take up events again, after `pause`."""
        await self._controls.act("resume", how)

    async def close(
        self,
        *,
        pending: Literal["park", "cancel"] = "park",
        timeout: float | None = None,
        **how: Unpack[ControlOptions],
    ) -> None:
        """End the session for good, and return once it is closed: a `send` after it raises `SessionClosed`.

        A step that runs ends first, and no further model call begins. Calls whose bodies have not begun, as those that
        wait for a person or a lock, end at once: the session was closed. A closed session stays closed: calling this
        again is fine, and waits for a close that is under way.

        Args:
            pending: What becomes of events that wait: `park` or `cancel`.
            timeout: Seconds to wait from when the session has taken the call; `None` waits as long as it takes.
            how: See `inturn.ControlOptions`. With `wait=False` the end of the session is not waited for either.

        Raises:
            TurnTimeout: `timeout` passed. Only the waiting ends: the session will close.
        """
        await self._controls.close(pending, how, timeout=timeout)

    async def redrive(self, event_id: str, *, force: bool = False, **how: Unpack[ControlOptions]) -> bool:
        """Put a parked event back into the queue, as a turn of its own; a parked delivery is delivered again.

        Args:
            event_id: The event; `sealed:…`, where no worker had its key: it goes on under its own id.
            force: Do so though its failed turn had effects.
            how: See `inturn.ControlOptions`.

        Raises:
            InvalidEvent: It is not parked, can never be valid, or had effects and `force` was not given.
            Misconfigured: Its key is not here.
        """
        return await self._sealed.redrive(event_id, how, force=force)

    async def discard(self, event_id: str, *, reason: str | None = None, **how: Unpack[ControlOptions]) -> bool:
        """Discard a parked event; the journal keeps it. Returns True: what is not parked raises.

        Args:
            event_id: The event.
            reason: For the journal.
            how: See `inturn.ControlOptions`.

        Raises:
            InvalidEvent: It is not parked.
        """
        return await self._controls.act("discard", how, event_id=event_id, reason=reason)

    async def control_result(self, control_id: str) -> bool | None:
        """Return what came of a control that was sent with `wait=False`; costs the session no history.

        Args:
            control_id: As it was sent with.

        Returns:
            What it would have returned (True where that is nothing); `None` until the session has acted on it. It
            remembers the latest 256.

        Raises:
            InturnError: What it would have raised, such as `ApprovalConflict` with who was first.
            Unavailable: No worker answers.
        """
        return await self._controls.result(control_id)

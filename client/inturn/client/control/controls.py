"""Controls: interrupt, cancel, pause, close, approve and their like, out of band.

Invariant: one call acts once, by its `control_id`. Where an update finds no room, the control goes as a signal; the
same update afterwards only fetches what came of it, for the session remembers the result by the id. What is not to be
waited for goes as a signal at once: it needs no worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import uuid4

from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, TemporalError

from inturn import names, sizes
from inturn.client.call_order import CallOrder
from inturn.client.control.approvals import ApprovalReader
from inturn.client.status import StatusReader
from inturn.client.temporal.retries import LONGEST_DELAY, jittered, reraise_cancellation, retry_rpc
from inturn.client.temporal.rpc_errors import translate_error
from inturn.client.temporal.transport import Message, SessionTransport
from inturn.errors import ApprovalConflict, InturnError, InvalidEvent, SessionClosed, TurnTimeout, Unavailable
from inturn.keys import is_visible

_ROOM_WITHIN: Final = 3.0
"""Seconds until an update that was not taken counts as finding no room: the server holds it back, with all slots full.
"""
_ASKED_WITHIN: Final = 2.0
"""Seconds in which a session that has a worker says what came of a control."""
How = Mapping[str, Any]
"""`inturn.ControlOptions`, as given."""
_WAITED_FOR: Final[How] = {}


@dataclass
class Controls:
    """The controls of one handle."""

    transport: SessionTransport
    order: CallOrder = field(default_factory=CallOrder)

    async def act(
        self,
        op: Literal["cancel", "interrupt", "pause", "resume", "redrive", "discard", "compact"],
        how: How = _WAITED_FOR,
        **fields: Any,
    ) -> bool:
        """Make a control act, with those fields that say something; return whether there was something to do."""
        return bool((await self._control(op, how, **fields))["ok"])

    async def answer(
        self,
        op: Literal["approve", "deny"],
        approval_id: str,
        how: How = _WAITED_FOR,
        *,
        by: str | None = None,
        via: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Answer an approval."""
        at = time.time()
        result = await self._control(op, how, approval_id=approval_id, by=by, via=via, reason=reason, at=at)
        said = {"approval_id": approval_id, "answer": "approved" if op == "approve" else "denied"}
        await self._check_early(said | result)

    async def close(self, pending: Literal["park", "cancel"], how: How = _WAITED_FOR, *, timeout: float | None) -> None:
        """End the session for good and wait until it has ended; see `Session.close`."""
        try:
            # Never cut by the timeout: that gives up only the waiting.
            await self._control("close", how, pending=pending)
            if not how.get("wait", True):
                return
            async with asyncio.timeout(timeout):
                await self._ended()
        except SessionClosed:
            return
        except TimeoutError as error:
            raise TurnTimeout(f"session {self.transport.key} did not close within {timeout} s; it will") from error

    async def result(self, control_id: str) -> bool | None:
        """Return what came of a control, `None` until the session has acted on it; see `Session.control_result`."""
        session = str(self.transport.key)
        known = await retry_rpc(
            lambda: self.transport.control_result(control_id), patience=_ASKED_WITHIN, session=session
        )
        if known is None:
            return None
        if "error" in known:
            details = known.get("details") or ()
            refused = ApplicationError(str(known.get("message")), *details, type=str(known["error"]))
            raise translate_error(WorkflowUpdateFailedError(refused), session).error
        await self._check_early(known)
        return bool(known.get("ok"))

    async def _check_early(self, result: Message) -> None:
        """Check an answer to a call that the session does not know: it may know it no longer, and the journal does.

        Raises:
            ApprovalConflict: The call has another answer there.
        """
        known = await ApprovalReader(self.transport).answer(str(result["approval_id"])) if result.get("early") else None
        if known is not None and known.answer != result.get("answer"):
            message = f"the call is {known.answer} already" + (f" by {known.by}" if known.by else "")
            raise ApprovalConflict(message, answer=known.answer, by=known.by)

    async def _ended(self) -> None:
        """Wait for the session's last run to end, whatever happens to the way there."""
        while True:
            try:
                async with reraise_cancellation():
                    return await self.transport.ended()
            except TemporalError as error:
                translated = translate_error(error, str(self.transport.key))
                if not translated.retryable:
                    raise translated.error from error
            await asyncio.sleep(jittered(LONGEST_DELAY))

    async def _control(self, op: str, how: How, **fields: Any) -> Message:
        message: Message = {"control_id": how.get("control_id") or uuid4().hex, "op": op}
        message |= {name: value for name, value in fields.items() if value not in (None, False)}
        for name, most in sizes.IN_CONTROL.items():
            if name in message:
                _check(name, message[name], most)
        if not how.get("wait", True):
            await self._signal(message)
            return {"ok": True}
        try:
            async with asyncio.timeout(_ROOM_WITHIN), reraise_cancellation():
                return await self._update(message)
        except TimeoutError:
            pass
        except TemporalError as error:
            translated = translate_error(error, str(self.transport.key))
            if not translated.retryable:
                raise translated.error from error
        return await self._signalled(await self._pinned(message))

    async def _signal(self, message: Message) -> Message:
        """Have a control durable, and return it as it went."""
        patience, session = self.transport.patience, str(self.transport.key)
        message = self.order.signalled(message)
        await retry_rpc(lambda: self.transport.signal(names.CONTROL, message), patience=patience, session=session)
        return message

    async def _signalled(self, message: Message) -> Message:
        message, session = await self._signal(message), str(self.transport.key)
        try:
            return await retry_rpc(
                lambda: self._update(message),
                patience=self.transport.patience,
                within=self.transport.connection.settings.worker_timeout,
                session=session,
            )
        except Unavailable as error:
            raise Unavailable(
                f"session {session} will act on the {message['op']}, but nobody is there to say what came of it"
            ) from error

    async def _pinned(self, message: Message) -> Message:
        """Return the message with the turn that an interrupt means: when a signal is read, another one may run."""
        if message["op"] != "interrupt" or "event_id" in message:
            return message
        turn = (await StatusReader(self.transport).status()).turn
        if turn is None:
            raise Unavailable(f"session {self.transport.key} does not answer, and which turn runs is not known")
        return message | {"event_id": turn.event_id}

    async def _update(self, message: Message) -> Message:
        handle = await self.transport.update(names.CONTROL, message, str(message["control_id"]))
        self.order.updates(str(message["control_id"]))
        result = await handle.result()
        if not isinstance(result, dict):  # a session that speaks another version
            raise InturnError(f"session {self.transport.key} answered {type(result).__name__} to a control")
        return result


def _check(name: str, text: str, most: int) -> None:
    """Refuse what the session would: as a signal it would be set aside there, and nobody told."""
    try:
        size = sizes.written(text) - 2
    except ValueError:  # half a surrogate pair
        raise InvalidEvent(f"{name} is not valid Unicode") from None
    if size > most:
        raise InvalidEvent(f"{name} has {size:,} bytes as JSON, the limit is {most:,}")
    if name.endswith("_id") and not is_visible(text):
        raise InvalidEvent(f"{name} is no id: it has other characters than visible ASCII, or none")

"""Controls: interrupt, cancel, pause, close, approve and their like, out of band.

Invariant: one call acts once, by its `control_id`. Where an update finds no room, the control goes as a signal; the
same update afterwards only fetches what came of it, for the session remembers the result by the id.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import uuid4

from temporalio.exceptions import TemporalError

from inturn import names
from inturn.client.retries import persist, truthful
from inturn.client.rpc_errors import digest
from inturn.client.transport import Gate, Message
from inturn.errors import ApprovalConflict, InturnError, SessionClosed, Unavailable

_ROOM_WITHIN: Final = 3.0
"""Seconds until an update that was not taken counts as finding no room: the server holds it back, with all slots full.
"""


@dataclass
class Controls:
    """The controls of one handle."""

    gate: Gate

    async def cancel(self, event_id: str, *, reason: str | None = None) -> bool:
        """Take an event out, wherever it is."""
        return bool((await self._control("cancel", event_id=event_id, reason=reason))["ok"])

    async def interrupt(self, *, event_id: str | None, reason: str | None, clear_queue: bool) -> bool:
        """Stop the running turn."""
        fields = {"event_id": event_id, "reason": reason, "clear_queue": clear_queue or None}
        return bool((await self._control("interrupt", **fields))["ok"])

    async def answer(
        self, op: Literal["approve", "deny"], approval_id: str, *, by: str | None, reason: str | None
    ) -> None:
        """Answer an approval."""
        result = await self._control(op, approval_id=approval_id, by=by, reason=reason, at=time.time())
        if not result.get("early"):
            return
        from inturn.client.approvals import Asking

        given = await Asking(self.gate).answer(approval_id)
        if given is not None and given.answer != ("approved" if op == "approve" else "denied"):
            message = f"the call is {given.answer} already" + (f" by {given.by}" if given.by else "")
            raise ApprovalConflict(message, answer=given.answer, by=given.by)

    async def pause(self) -> None:
        """Take no new event after the running turn."""
        await self._control("pause")

    async def resume(self) -> None:
        """Go on."""
        await self._control("resume")

    async def close(self, pending: Literal["park", "cancel"]) -> None:
        """End the session for good; one that is closed stays so."""
        try:
            await self._control("close", pending=pending)
        except SessionClosed:
            return

    async def redrive(self, event_id: str, *, force: bool) -> bool:
        """Put a parked event back into the queue."""
        return bool((await self._control("redrive", event_id=event_id, force=force or None))["ok"])

    async def discard(self, event_id: str, *, reason: str | None) -> bool:
        """Give a parked event up."""
        return bool((await self._control("discard", event_id=event_id, reason=reason))["ok"])

    async def _control(self, op: str, **fields: Any) -> Message:
        message: Message = {"control_id": uuid4().hex, "op": op}
        message |= {name: value for name, value in fields.items() if value is not None}
        try:
            async with asyncio.timeout(_ROOM_WITHIN), truthful():
                return await self._update(message)
        except TimeoutError:
            pass
        except TemporalError as error:
            digested = digest(error, str(self.gate.key))
            if not digested.again:
                raise digested.error from error
        return await self._signalled(await self._pinned(message))

    async def _signalled(self, message: Message) -> Message:
        settings, session = self.gate.connection.settings, str(self.gate.key)
        await persist(lambda: self.gate.signal(names.CONTROL, message), patience=settings.patience, session=session)
        try:
            return await persist(
                lambda: self._update(message),
                patience=settings.patience,
                within=settings.worker_timeout,
                session=session,
            )
        except Unavailable as error:
            raise Unavailable(
                f"session {session} will act on the {message['op']}, but nobody is there to say what came of it"
            ) from error

    async def _pinned(self, message: Message) -> Message:
        """Name the turn that an interrupt means: by the time a signal is read, another one may run."""
        if message["op"] != "interrupt" or "event_id" in message:
            return message
        from inturn.client.status import Standing

        turn = (await Standing(self.gate).status()).turn
        if turn is None:
            raise Unavailable(f"session {self.gate.key} does not answer, and which turn runs is not known")
        return message | {"event_id": turn.event_id}

    async def _update(self, message: Message) -> Message:
        handle = await self.gate.update(names.CONTROL, message, str(message["control_id"]))
        result = await handle.result()
        if not isinstance(result, dict):  # a session that speaks another version
            raise InturnError(f"session {self.gate.key} answered {type(result).__name__} to a control")
        return result

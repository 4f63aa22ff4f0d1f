"""Events whose key no worker had when they came, driven again by a client that has it.

Invariant: one goes on once, under its own id: as that it is handed over, and a session takes an id once, whether it was
driven again before or its sender sent it again. What was set aside is given up only after that.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.service import RPCError

from inturn import names, sizes
from inturn.client.control.controls import Controls, How
from inturn.client.submitter import Submitter
from inturn.client.temporal.transport import SessionTransport
from inturn.decoding import Undecodable, decode, read_event
from inturn.encryption.converter import Undecryptable
from inturn.errors import InvalidEvent, JournalUnavailable
from inturn.events import SAID, ClaimedEvent, Event
from inturn.histories import decoded, signals
from inturn.values import Entry, Parked


@dataclass
class SealedEvents:
    """What a session set aside unread."""

    transport: SessionTransport
    submitter: Submitter
    controls: Controls

    async def redrive(self, name: str, how: How, *, force: bool) -> bool:
        """Hand an event over under its own id, then give up what was set aside; any other is the session's to redrive.

        Args:
            name: What it was set aside as.
            how: See `inturn.ControlOptions`; such an event is handed over all the same.
            force: See `Session.redrive`.

        Raises:
            Undecryptable: Its key is not here.
            InvalidEvent: It is no event.
        """
        entry = await self._entry(name) if name.startswith(names.SEALED) else None
        if entry is None or "sealed" not in entry.body:
            return await self.controls.act("redrive", how, event_id=name, force=force)
        event = await self._event(name, entry.body["sealed"])
        await self.submitter.hand_over(event)
        with suppress(InvalidEvent):  # somebody else has
            await self.controls.act("discard", event_id=name, reason=f"it went on as {event.event_id}")
        return True

    async def named(self, parked: Sequence[Parked]) -> list[Parked]:
        """Return parked events with the keys that they need, where the journal can be read."""
        return [await self._named(each) if each.event_id.startswith(names.SEALED) else each for each in parked]

    async def _named(self, parked: Parked) -> Parked:
        with suppress(JournalUnavailable):
            if (entry := await self._entry(parked.event_id)) is not None:
                return parked.model_copy(update={"error": str(entry.body.get("error"))})
        return parked

    async def _entry(self, name: str) -> Entry | None:
        """Return the entry of what is set aside still."""
        journal = await self.transport.connection.any_journal()
        outcome = await journal.outcome(self.transport.key, name)
        if outcome is None or outcome.disposition != "parked":
            return None
        return await journal.entry(self.transport.key, f"{name}/parked")

    async def _event(self, name: str, sealed: dict[str, Any]) -> Event | ClaimedEvent:
        temporal, key = await self.transport.connection.temporal(), str(self.transport.key)
        payloads = await self._payloads(name, sealed)
        try:
            event = read_event(decode(await decoded(temporal, key, payloads), sizes.READ_EVENT))
        except Undecryptable as error:
            raise Undecryptable(f"{name} cannot be driven again from here: {error}") from error
        except Undecodable as error:
            raise InvalidEvent(f"{name} is no event, it can only be discarded: {error}") from error
        said = {field: value for field, value in event.wire().items() if field in SAID}
        return type(event).model_validate(said | {"event_id": event.event_id or name})

    async def _payloads(self, name: str, sealed: dict[str, Any]) -> Payloads:
        """Return what came, as it came: of the journal, else of the run's history."""
        if "payload" in sealed:
            return Payloads(payloads=[Payload.FromString(base64.b64decode(sealed["payload"]))])
        temporal, number = await self.transport.connection.temporal(), int(sealed["signal"])
        try:
            came = (await signals(temporal, str(self.transport.key), str(sealed["run"]), {number})).get(number)
        except RPCError as error:
            raise InvalidEvent(
                f"{name} cannot be driven again: its run's history is not there ({error.message})"
            ) from error
        if came is None or came.name != names.SUBMIT:
            what = "it was no event" if came is None else f"it was a signal {came.name[:80]!r}"
            raise InvalidEvent(f"{name} can only be discarded: {what}; send that again")
        return came.payloads

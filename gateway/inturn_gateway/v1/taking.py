"""Taking events in: one by one, in order, each durable or accepted before the next.

Invariant: the first refusal ends a request, which then says how far it came; the whole again is safe, since each event
keeps its id.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from inturn.channels.inbound import Answered
from inturn.client.control.steering import ControlOptions
from inturn.client.session import Session
from inturn.errors import InturnError, InvalidEvent
from inturn.keys import is_id
from inturn_gateway.auth.caller import Caller, Scope
from inturn_gateway.problems import Problem
from inturn_gateway.service import Service
from inturn_gateway.v1 import incoming
from inturn_gateway.v1.outgoing import call_of

Wait = Literal["durable", "accepted"]
Receipt = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Taking:
    """Takes a request's events.

    Attributes:
        service: Is told what was answered.
        session: Whose they are.
        caller: Whose they are to be.
        wait: What each is to be before the next: `durable` needs no worker, and says nothing of what came of it.
        key: The request's `Idempotency-Key`.
    """

    service: Service
    session: Session
    caller: Caller
    wait: Wait = "accepted"
    key: str | None = None

    async def take(self, events: Sequence[incoming.EventIn]) -> list[Receipt]:
        """Return a receipt for each.

        Raises:
            Problem: Of the first that is refused, with `index` and the receipts before it.
        """
        receipts = list[Receipt]()
        for index, event in enumerate(events):
            try:
                for scope in _scopes(event):
                    self.caller.demand(scope)
                receipts.append({"type": event.type, **await self._one(event, index)})
            except (InturnError, Problem) as error:
                problem = Problem.of(error)
                problem.more |= {"index": index, "data": receipts}
                raise problem from error
        return receipts

    async def _one(self, event: incoming.EventIn, index: int) -> Receipt:
        match event:
            case incoming.UserMessage():
                return await self._message(event, index)
            case incoming.UserToolConfirmation():
                wait = self.wait == "accepted"
                approval_id = await answered(self.service, self.session, self.caller, event.tool_use_id, event, wait)
                return {"id": event.tool_use_id, "approval_id": approval_id, "status": "accepted"}
            case incoming.Settle():
                await self.session.settle(
                    event.call, done=event.done, result=event.result, by=self.caller.who, reason=event.reason
                )
                return {"id": event.call, "status": "accepted"}
            case _:
                control_id = self._named(index) or uuid4().hex
                done = await self._control(event, {"wait": self.wait == "accepted", "control_id": control_id})
                return {"id": control_id, "status": "accepted", "done": done}

    async def _message(self, event: incoming.UserMessage, index: int) -> Receipt:
        options = event.options()
        if name := self._named(index):
            options.setdefault("event_id", name)
        take = self.session.send if self.wait == "durable" else self.session.submit
        receipt = await take(event.content, **options)
        return {"id": receipt.event_id, **receipt.model_dump(mode="json", exclude_none=True)}

    async def _control(self, event: incoming.EventIn, how: ControlOptions) -> bool:
        session = self.session
        match event:
            case incoming.UserInterrupt():
                return await session.interrupt(
                    event_id=event.event_id, reason=event.reason, clear_queue=event.clear_queue, **how
                )
            case incoming.OnEvent(type="inturn.cancel"):
                return await session.cancel(event.event_id, reason=event.reason, **how)
            case incoming.OnEvent(type="inturn.redrive"):
                return await session.redrive(event.event_id, force=event.force, **how)
            case incoming.OnEvent():
                return await session.discard(event.event_id, reason=event.reason, **how)
            case incoming.OnSession(type="inturn.pause"):
                await session.pause(**how)
            case incoming.OnSession():
                await session.resume(**how)
            case incoming.Close():
                await session.close(pending=event.pending, **how | {"wait": False})
            case _:
                raise InvalidEvent(f"no event is of the type {event.type}")
        return True

    def _named(self, index: int) -> str | None:
        """Return the id that the request's key gives to what stands at a place in it."""
        if self.key is None:
            return None
        digest = hashlib.blake2b(self.key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        return f"ik:{digest}:{index}"


def _scopes(event: incoming.EventIn) -> tuple[Scope, ...]:
    match event:
        case incoming.UserMessage(metadata=metadata) if metadata and "channel" in metadata:
            return "send", "operate"  # its answer goes out in the channel's name, to whatever place the metadata says
        case incoming.UserMessage() | incoming.UserInterrupt():
            return ("send",)
        case incoming.UserToolConfirmation():
            return ("approve",)
        case _:
            return ("operate",)


async def answered(
    service: Service,
    session: Session,
    caller: Caller,
    which: str,
    said: incoming.UserToolConfirmation | incoming.Answer,
    wait: bool = True,
) -> str:
    """Answer an approval, by its own id or the id of its `agent.tool_use`; return its own.

    Raises:
        ApprovalConflict: It has another answer.
        InvalidEvent: There is none to be answered.
        Problem: 409, a call of this name would do something else by now, after a redrive.
    """
    call = call_of(which)
    approval_id = which
    if call is not None:
        event_id, step = call
        if not is_id(event_id):
            raise InvalidEvent(f"no call is named {which!r:.150}")
        found = [
            str(entry.body.get("approval_id"))
            async for entry in session.entries(event_id=event_id)
            if entry.type == "approval.requested" and entry.step == step
        ]
        if not found:
            raise InvalidEvent(f"the call {which!r:.150} asks for no approval")
        if len({each.rpartition(":")[2] for each in found}) > 1:  # the hash of what would be done
            why = f"the call {which!r:.150} was asked for again with other arguments: answer by the approval's own id"
            raise Problem(409, why, kind="approval_ambiguous")
        approval_id = found[-1]
    reason = said.deny_message if isinstance(said, incoming.UserToolConfirmation) else said.message
    answer = session.approve if said.result == "allow" else session.deny
    await answer(approval_id, by=caller.who, via="api", reason=reason, wait=wait)
    told = Answered("approved" if said.result == "allow" else "denied", caller.who, reason, time.time())
    service.cards.answered(service.of(caller), session.session_id, approval_id, told)
    return approval_id

"""Webhooks as https://www.standardwebhooks.com has them, and Stripe's.

    standard = Standard("whsec_…", instance="billing", session="/data/customer_id")
    payments = stripe("whsec_…")

Invariant: what was signed decides; the message's id is the sender's for it, the same at each of its retries.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from inturn.channels import signatures
from inturn.channels.call import Call, Unreadable
from inturn.channels.channel import Channel, Out
from inturn.channels.ident import ident
from inturn.channels.inbound import Ignored, Inbound, Message
from inturn.channels.outgoing import Callback
from inturn.channels.signatures import Secrets, secrets_of
from inturn.tools.context import ToolContext

MAX_CONTENT: Final = 200 * 1024
"""Bytes of a payload that become an event's content; an event has 256 KiB."""


class Standard(Channel):
    """Webhooks of one sender."""

    name = "standard"
    ack_within = 15.0

    def __init__(
        self,
        secret: Secrets,
        *,
        session: str,
        instance: str = "",
        content: str = "",
        sequence: str | None = None,
        types: Sequence[str] | None = None,
        tenant: str | None = None,
        agent: str | None = None,
        callback: Callback | None = None,
    ) -> None:
        """Take what is signed with a secret.

        Args:
            secret: `whsec_…`; several, while one replaces another.
            session: Where in the payload it stands whose session this is, as a JSON pointer: `/data/customer_id`.
            instance: Which of several senders: `/hooks/standard/{instance}`.
            content: Which part of the payload is said to the agent, as a JSON pointer; all of it by default.
            sequence: Where a number stands that orders the sender's messages.
            types: Only payloads of these `type`s.
            tenant: Whose sessions they are.
            agent: The agent of sessions that they start.
            callback: Where answers go; without it they are only kept.

        Raises:
            ValueError: A secret or a pointer is none.
        """
        self._secrets = secrets_of(secret)
        self._session, self._content, self._sequence = (
            pointer(session),
            pointer(content),
            sequence and pointer(sequence),
        )
        self._types = None if types is None else frozenset(types)
        self._callback = callback
        self.instance, self.tenant, self.agent = instance, tenant, agent

    def verify(self, call: Call) -> bool:
        """Return whether it is signed, lately."""
        message_id, at = call.header("webhook-id"), call.header("webhook-timestamp")
        return signatures.standard(self._secrets, call.body, message_id, at, call.header("webhook-signature"), call.now)

    def read(self, call: Call) -> Iterable[Inbound]:
        """Return the one message.

        Raises:
            Unreadable: It names no session.
        """
        said = call.json()
        if self._types is not None and said.get("type") not in self._types:
            return [Ignored("type")]
        return [self._message(said, self._event_id(call, said), _number(call.header("webhook-timestamp")))]

    def _event_id(self, call: Call, said: dict[str, Any]) -> str:
        return ident("wh", self.instance or "-", call.header("webhook-id"))

    def _owner(self, said: dict[str, Any]) -> Any:
        return found(said, self._session)

    def _message(self, said: dict[str, Any], event_id: str, sent_at: int | None) -> Message:
        owner = self._owner(said)
        if not isinstance(owner, str | int) or isinstance(owner, bool) or owner == "":
            raise Unreadable("the payload names no session")
        text = json.dumps(found(said, self._content), ensure_ascii=False, indent=1)
        content = text if len(text.encode()) <= MAX_CONTENT else text[: MAX_CONTENT // 4] + "\n…"
        number = found(said, self._sequence) if self._sequence else None
        return Message(
            session=ident(self.label.replace("/", "-"), owner),
            event_id=event_id,
            content=content,
            sent_at=sent_at,
            address={"type": str(said.get("type", ""))[:60]},
            sequence=number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None,
        )

    async def deliver(self, out: Out, ctx: ToolContext) -> None:
        """Bring it to the callback."""
        if self._callback is not None:
            await self._callback.deliver(out, ctx)


class Stripe(Standard):
    """Stripe's events: the session is the customer's, or what `metadata.session` of the object says.

    Two events can tell one change, in any order: let the agent look at the object itself.
    """

    name = "stripe"

    def __init__(self, secret: Secrets, **options: Any) -> None:
        """Take what Stripe signed with an endpoint's secret; options as for `Standard`."""
        super().__init__(secret, session=str(options.pop("session", "/data/object/customer")), **options)

    def verify(self, call: Call) -> bool:
        """Return whether Stripe signed it, lately."""
        return signatures.stripe(self._secrets, call.body, call.header("stripe-signature"), call.now)

    def read(self, call: Call) -> Iterable[Inbound]:
        """Return the one message.

        Raises:
            Unreadable: It names no session, or has no id.
        """
        said = call.json()
        if self._types is not None and said.get("type") not in self._types:
            return [Ignored("type")]
        return [self._message(said, self._event_id(call, said), _number(said.get("created")))]

    def _owner(self, said: dict[str, Any]) -> Any:
        return found(said, ("data", "object", "metadata", "session")) or super()._owner(said)

    def _event_id(self, call: Call, said: dict[str, Any]) -> str:
        event_id = said.get("id")
        if not isinstance(event_id, str) or not event_id:
            raise Unreadable("the event has no id")
        return ident("stripe", event_id)


def pointer(text: str) -> tuple[str, ...]:
    """Return the steps of a JSON pointer.

    Raises:
        ValueError: It is none.
    """
    if text and not text.startswith("/"):
        raise ValueError(f"{text!r:.60} is no JSON pointer: it begins with /")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])


def found(value: Any, steps: Iterable[str]) -> Any:
    """Return what a pointer leads to; `None` where it leads nowhere."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isascii() and step.isdecimal() and len(step) < 9:
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return value


def _number(text: object) -> int | None:
    """Return a time in seconds."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text if 0 <= text < 32_503_680_000 else None
    return int(text) if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 11 else None

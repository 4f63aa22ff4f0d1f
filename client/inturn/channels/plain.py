"""Signed JSON: what any program can send with ten lines of its own.

    POST /hooks/plain/{instance}
    X-Signature: sha256={HMAC-SHA256 of the body, hex}
    {"session": "order-17", "event_id": "paid-17", "content": "The order was paid."}

A body may say `sender`, `sent_at`, `source`, `sequence`, `when_busy`, `expires_after`, `metadata` and `agent` beside
that, as `inturn.EventOptions` has them. Without an `event_id` the `Idempotency-Key` header is it; one must be there.
What can never be taken is answered with 422 and why, or with 410 where the session was closed.

Invariant: the tenant is the instance's, never the body's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from inturn.channels.call import Call, Reply, Unreadable
from inturn.channels.channel import Channel, Out
from inturn.channels.ident import ident
from inturn.channels.inbound import Inbound, Message, Taken
from inturn.channels.outgoing import Callback
from inturn.channels.signatures import Secrets, hmac_hex, secrets_of
from inturn.tools.context import ToolContext

_NEVER: Final = {"refused": 422, "closed": 410}
_FIELDS: Final = ("sender", "sent_at", "source", "sequence", "sequencing", "when_busy", "expires_after", "agent")


class Plain(Channel):
    """The channel of one producer, or of several that share a secret."""

    name = "plain"

    def __init__(
        self,
        secret: Secrets,
        *,
        instance: str = "",
        tenant: str | None = None,
        agent: str | None = None,
        callback: Callback | None = None,
    ) -> None:
        """Take what is signed with a secret; answers go to `callback`, or are only kept."""
        self._secrets = secrets_of(secret)
        self._callback = callback
        self.instance, self.tenant, self.agent = instance, tenant, agent

    def verify(self, call: Call) -> bool:
        """Return whether the body has this signature."""
        return hmac_hex(self._secrets, call.body, call.header("x-signature"), prefix="sha256=")

    def read(self, call: Call) -> Iterable[Inbound]:
        """Return the one message.

        Raises:
            Unreadable: It has no session, no content or no id.
        """
        said = call.json()
        event_id = said.get("event_id") or _key(call)
        session, content = said.get("session"), said.get("content")
        if not (isinstance(session, str) and session and isinstance(event_id, str) and isinstance(content, str | list)):
            raise Unreadable("a message has a session, a content, and an event_id (or an Idempotency-Key)")
        metadata = said.get("metadata")
        address = metadata if isinstance(metadata, dict) else {}
        given: dict[str, Any] = {name: said[name] for name in _FIELDS if said.get(name) is not None}
        return [Message(session=session, event_id=event_id, content=content, address=address, **given)]

    def answer(self, taken: Sequence[Taken]) -> Reply:
        """Return 200, 503 where it should come again, or why it is never taken: 422, or 410 for a closed session."""
        for each in taken:
            if each.status in _NEVER:
                return Reply.text(each.reason, _NEVER[each.status])
        return super().answer(taken)

    async def deliver(self, out: Out, ctx: ToolContext) -> None:
        """Bring it to the callback."""
        if self._callback is not None:
            await self._callback.deliver(out, ctx)


def _key(call: Call) -> str | None:
    key = call.header("idempotency-key")
    return ident("ik", key) if key else None

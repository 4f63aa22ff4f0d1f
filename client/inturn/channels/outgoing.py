"""Answers to an address of the operator's own, signed as Standard Webhooks has it: `POST {url}`.

    webhook-id         the part's key: whoever gets it twice knows it
    webhook-signature  v1,… of id, time and body
    body               {"type": "turn" | "approval" | "notice", "session": …, "tenant": …, "data": {…}}

Invariant: where it goes is configured, never taken from a message; what is sent twice has one id.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from inturn.channels.channel import Out
from inturn.channels.platform import Platform
from inturn.channels.sending import outbox
from inturn.channels.signatures import standard_signature
from inturn.tools.context import ToolContext
from inturn.values import Approval, Turn

ACCEPTED: Final = 300
"""Statuses below this are success."""


class Callback:
    """An address that gets answers."""

    def __init__(self, url: str, secret: str) -> None:
        """Send there, signed with a secret (`whsec_…`).

        Raises:
            ValueError: The address or the secret is none.
        """
        standard_signature(secret, b"", "check", 0)
        self._platform = Platform(url)
        self._secret = secret

    async def deliver(self, out: Out, ctx: ToolContext) -> None:
        """Bring it out: one request, however long the answer is."""
        kind = "turn" if isinstance(out, Turn) else "approval" if isinstance(out, Approval) else "notice"
        metadata = ctx.event.metadata or {}
        told = {
            "type": kind,
            "tenant": ctx.tenant,
            "session": ctx.session_id,
            "metadata": {name: value for name, value in metadata.items() if name != "channel"},
            "data": out.model_dump(mode="json", exclude_none=True),
        }
        async with outbox(ctx, secrets=self._secret) as send:
            await send(self._post, told)

    async def _post(self, told: dict[str, Any], *, idempotency_key: str) -> str:
        body = json.dumps(told, separators=(",", ":")).encode()
        now = int(time.time())
        headers = {
            "webhook-id": idempotency_key,
            "webhook-timestamp": str(now),
            "webhook-signature": standard_signature(self._secret, body, idempotency_key, now),
        }
        await self._platform.ask("POST", "", body, headers=headers)
        return idempotency_key

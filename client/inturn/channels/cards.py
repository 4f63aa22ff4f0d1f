"""The buttons of an approval: what they carry, and where cards are.

    y:{approval_id}:{asker}:{proof}                 where the place names the session
    y:{approval_id}:{asker}:{proof}|{session}       where it does not, and there is room

Invariant: what a button carries was made by this channel for this session, approval and asker, or it is nobody's. It
authorises nothing: that is the platform's proof of the person, and `approvers=`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Final

from inturn.channels.approvers import mark
from inturn.tools.context import ToolContext
from inturn.values import Approval

PROOF: Final = 8
"""Hex digits."""
MOST: Final = 600
"""Characters that are looked at."""


@dataclass(frozen=True, slots=True)
class Button:
    """What one carries."""

    session: str
    approval_id: str
    asker: str
    yes: bool

    def written(self, secret: str, *, at_place: bool) -> str:
        """Return it as a text; `at_place`: the session follows from where it is shown."""
        head = f"{'y' if self.yes else 'n'}:{self.approval_id}:{self.asker}:{self._proof(secret)}"
        return head if at_place else f"{head}|{self.session}"

    def _proof(self, secret: str) -> str:
        said = "\0".join((self.session, self.approval_id, self.asker)).encode()
        return hmac.new(secret.encode(), b"button:" + said, hashlib.sha256).hexdigest()[:PROOF]


def pressed(text: str, secrets: tuple[str, ...], place: str) -> Button | None:
    """Return what a button carries that was pressed at a place; `None`: it is none of ours."""
    if len(text) > MOST:
        return None
    head, has_session, session = text.partition("|")
    parts = head.rsplit(":", 2)
    if len(parts) != 3 or parts[0][:2] not in ("y:", "n:"):
        return None
    button = Button(session if has_session else place, parts[0][2:], parts[1], parts[0].startswith("y"))
    given = parts[2].encode(errors="replace")
    if any(hmac.compare_digest(button._proof(secret).encode(), given) for secret in secrets):
        return button
    return None


def buttons(approval: Approval, ctx: ToolContext, secret: str, *, at_place: bool) -> tuple[str, str]:
    """Return what the two buttons of an approval carry: yes, and no."""
    asker = mark(secret, ctx.event.sender)
    yes, no = (Button(ctx.session_id, approval.approval_id, asker, yes) for yes in (True, False))
    return yes.written(secret, at_place=at_place), no.written(secret, at_place=at_place)


def card_name(session: str, approval_id: str) -> str:
    """Return under which name of the tenant's shared state it stands where an approval's card is."""
    return "card:" + hashlib.blake2b(f"{session}/{approval_id}".encode(), digest_size=16).hexdigest()


async def keep_card(ctx: ToolContext, approval: Approval, channel: str, place: dict[str, Any]) -> None:
    """Keep where the card is until it is over, so that whoever answers elsewhere can tell it there."""
    left = 24 * 3600.0
    if approval.expires_at is not None and approval.asked_at is not None:
        left += max((approval.expires_at - approval.asked_at).total_seconds(), 0.0)
    name = card_name(ctx.session_id, approval.approval_id)
    await ctx.shared.put_if_absent(name, {"channel": channel, **place}, left, key=f"{name}:{channel}"[:200])

"""The buttons of an approval: what they carry, and where cards are.

    y:{approval_id}:{asker}:{proof}                 where the place names the session
    y:{approval_id}:{asker}:{proof}|{session}       where it does not, and there is room
    y:~{token}:{asker}:{proof}                      where the id is too long: the tenant's shared state has it

Invariant: what a button carries was made by this channel for this session, approval and asker, or it is nobody's. It
authorises nothing: that is the platform's proof of the person, and `approvers=`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from typing import Any, Final

from inturn.channels.approvers import mark
from inturn.channels.inbound import Click
from inturn.tools.context import ToolContext
from inturn.tools.shared_state import State
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


def buttons(approval: Approval, ctx: ToolContext, secret: str, *, at_place: bool, most: int = MOST) -> tuple[str, str]:
    """Return what the two buttons of an approval carry, yes and no, in at most so many bytes each."""
    asker = mark(secret, ctx.event.sender)

    def both(approval_id: str) -> tuple[str, str]:
        yes, no = (Button(ctx.session_id, approval_id, asker, yes) for yes in (True, False))
        return yes.written(secret, at_place=at_place), no.written(secret, at_place=at_place)

    whole = both(approval.approval_id)
    return whole if len(whole[0].encode()) <= most else both(f"~{token_of(ctx.session_id, approval.approval_id)}")


def click_of(button: Button) -> dict[str, Any]:
    """Return the fields of a `Click` that a button gives."""
    if button.approval_id.startswith("~"):
        named: dict[str, Any] = {"token": button.approval_id[1:]}
    else:
        named = {"approval_id": button.approval_id}
    return {**named, "session": button.session, "asker": button.asker, "yes": button.yes}


async def named(click: Click, shared: State) -> Click | None:
    """Return a click with its approval, where only a token names that; `None`: nobody knows the token any more."""
    if not click.token:
        return click
    found = await shared.get(f"card:{click.token[:64]}")
    card = found.value if found is not None else None
    if not isinstance(card, dict) or card.get("session") != click.session:
        return None
    approval_id = card.get("approval_id")
    return replace(click, approval_id=approval_id) if isinstance(approval_id, str) else None


def token_of(session: str, approval_id: str) -> str:
    """Return what names an approval in short."""
    return hashlib.blake2b(f"{session}/{approval_id}".encode(), digest_size=16).hexdigest()


def card_name(session: str, approval_id: str) -> str:
    """Return under which name of the tenant's shared state it stands where an approval's card is."""
    return f"card:{token_of(session, approval_id)}"


async def keep_card(ctx: ToolContext, approval: Approval, channel: str, place: dict[str, Any]) -> None:
    """Keep where the card is until it is over, so that whoever answers elsewhere can tell it there."""
    left = 24 * 3600.0
    if approval.expires_at is not None and approval.asked_at is not None:
        left += max((approval.expires_at - approval.asked_at).total_seconds(), 0.0)
    of = {"session": ctx.session_id, "approval_id": approval.approval_id}
    name = card_name(ctx.session_id, approval.approval_id)
    await ctx.shared.put_if_absent(name, {**of, "channel": channel, **place}, left, key=f"{name}:{channel}"[:200])

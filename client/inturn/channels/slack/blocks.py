"""An approval's card, in Slack's blocks.

Invariant: a card that has buttons shows all arguments; one that cannot, or that nobody may answer, only leads to the
page.
"""

from __future__ import annotations

from typing import Any, Final

from inturn.channels.chunks import split
from inturn.channels.inbound import Answered
from inturn.channels.rendering import arguments
from inturn.channels.slack.reading import NO, YES
from inturn.channels.slack.texts import escaped, length
from inturn.values import Approval

SECTION: Final = 2_900
"""Characters of a section's text; Slack takes 3,000."""
SECTIONS: Final = 8
"""Sections with arguments; more of them nobody reads."""
_SAID: Final = {"approved": "✅ approved", "denied": "⛔ denied", "expired": "⌛ expired", "refused": "not counted"}

Block = dict[str, Any]


def card(approval: Approval, *, asker: str | None, buttons: tuple[str, str] | None, page: str | None) -> list[Block]:
    """Return the card of an approval; without `buttons`, or with too much to show, it only leads to the page."""
    told = f"*{_inline(approval.tool)}* wants to run"
    if asker:
        told += f" · asked by {_inline(asker)}"
    if approval.expires_at is not None:
        told += f" · until {approval.expires_at:%Y-%m-%d %H:%M} UTC"
    shown = _arguments(approval)
    blocks = [_section(told), *map(_section, shown or ["(There is more to it than fits here.)"])]
    acts = list[Block]()
    if buttons is not None and shown is not None:
        acts += [_button(YES, "Approve", buttons[0], "primary"), _button(NO, "Deny", buttons[1], "danger")]
    if page is not None:
        acts.append({"type": "button", "text": {"type": "plain_text", "text": "Open"}, "url": page})
    return [*blocks, {"type": "actions", "elements": acts}] if acts else blocks


def settled(shown: list[Block], answered: Answered) -> list[Block]:
    """Return a card without its buttons, with how it was answered."""
    line = _SAID[answered.answer] + (f" by {_inline(answered.by)}" if answered.by else "")
    if answered.reason:
        line += f": {_inline(answered.reason)}"
    kept = [block for block in shown if block.get("type") != "actions"]
    return [*kept, {"type": "context", "elements": [{"type": "mrkdwn", "text": line[:SECTION]}]}]


def _arguments(approval: Approval) -> list[str] | None:
    """Return all arguments as code, in so many sections; `None`: they are too many."""
    text = arguments(approval)
    if len(text) > SECTION * SECTIONS:
        return None
    parts = split(f"```\n{text}\n```", SECTION, length=length)
    return [escaped(part) for part in parts] if len(parts) <= SECTIONS else None


def _section(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _button(action: str, label: str, value: str, style: str) -> Block:
    text = {"type": "plain_text", "text": label}
    return {"type": "button", "action_id": action, "text": text, "value": value, "style": style}


def _inline(text: str) -> str:
    return escaped(" ".join(text.split())[:200]).replace("*", "·").replace("`", "'")

"""What is delivered, as a text for people.

Invariant: a text says no more than happened; what a model did not say is not said for it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from inturn.values import Approval, Notice, Turn

if TYPE_CHECKING:
    from inturn.channels.channel import Out

_WITHOUT: Final = {
    "refusal": "(The model refused to answer.)",
    "budget_reached": "(Stopped: the turn's budget is used up.)",
    "max_tokens": "(Stopped: the answer became too long.)",
    "interrupted": "(Stopped.)",
}


def render(out: Out) -> str:
    """Return the text of an answer, an approval's question or a notice; of an answer without words none."""
    match out:
        case Turn():
            return out.text if out.text.strip() else _WITHOUT.get(out.stop_reason, "")
        case Approval():
            return f"May `{out.tool}` run?\n```json\n{arguments(out)}\n```"
        case Notice():
            events = "one message was" if out.count == 1 else f"{out.count} messages were"
            return f"({events.capitalize()} not answered: {out.reason or out.kind}.)"


def arguments(approval: Approval) -> str:
    """Return all arguments of a call, as JSON in which no fence can end."""
    text = json.dumps(approval.args or {}, ensure_ascii=False, indent=2)
    return text.replace("```", "\\u0060" * 3)

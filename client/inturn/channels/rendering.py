"""What is delivered, as a text for people.

Invariant: a text says no more than happened; what a model did not say is not said for it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from inturn.values import Approval, Notice, Turn

if TYPE_CHECKING:
    from inturn.channels.channel import Out

_UNSEEN: Final = re.compile(
    r"[\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Characters that nobody sees, or that turn the direction of what stands behind them."""
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
    """Return all arguments of a call, as JSON in which no fence ends, nothing is hidden and nothing turned round."""
    text = json.dumps(approval.args or {}, ensure_ascii=False, indent=2)
    return _UNSEEN.sub(_escaped, text.replace("```", "\\u0060" * 3))


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]

"""Test kit: run an agent without a server, a scripted model, and a strict stand-in for the Messages API.

Invariant: importing it needs nothing beyond `inturn` itself. `StrictClaude` and `ClaudeProcess` need the extra
`inturn[testing]`, and ask for it only when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inturn.models.scripted import ScriptedModel
from inturn.models.scripted_answers import Answer, ToolCall
from inturn.testing.contexts import context
from inturn.testing.loop import run
from inturn.testing.uploads import Uploads

if TYPE_CHECKING:
    from inturn.testing.channels import channel
    from inturn.testing.claude import ClaudeProcess, Fault, StrictClaude

__all__ = [
    "Answer",
    "ClaudeProcess",
    "Fault",
    "ScriptedModel",
    "StrictClaude",
    "ToolCall",
    "Uploads",
    "channel",
    "context",
    "run",
]

_SERVER = ("ClaudeProcess", "Fault", "StrictClaude")


def __getattr__(name: str) -> Any:
    if name == "channel":
        from inturn.testing import channels

        return channels.channel
    if name not in _SERVER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from inturn.testing import claude
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{name} needs the extra: pip install 'inturn[testing]' ({error})") from error
    return getattr(claude, name)

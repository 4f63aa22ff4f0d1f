"""`remember`: the tool with which an agent writes the documents of its memory.

Invariant: a document is replaced only at the version that the model knows; else it is told what it says now, and writes
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from inturn.errors import ToolError
from inturn.tools.context import ToolContext
from inturn.tools.tool import Tool
from inturn.turns.memory import is_within

REMEMBER: Final = "remember"


class MemoryTool(Tool[..., Any]):
    """The tool of one agent's memory."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Let these documents be written: by names, and by prefixes with a * behind."""

        async def remember(name: str, text: str, version: int, ctx: ToolContext) -> str:
            if not is_within(name, patterns):
                raise ToolError(f"{name!r:.200} is none of your documents: {', '.join(patterns)}")
            made = await ctx._remember(name, text, version)
            return f"{name} is at version {made} now."

        remember.__doc__ = (
            "Write a document of your long-term memory; it outlasts this conversation. What you write replaces the "
            f"whole text. Documents: {', '.join(patterns)}.\n\n"
            "Args:\n"
            "    name: The document's name.\n"
            "    text: Its whole new text, at most 64 KiB.\n"
            "    version: The version that you know; 0 for a new document. Where it was changed since, you get the "
            "newest text and write again.\n"
        )
        super().__init__(remember, name=REMEMBER, idempotent=True)

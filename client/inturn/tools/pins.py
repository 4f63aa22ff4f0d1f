"""What a session's model is told for good: `ctx.pin`.

Invariant: it is the application's word, said where it was pinned and again behind each summary; so it is short, and all
of a session's together are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from inturn.errors import ToolError
from inturn.tools.secrets import CallSecrets

MAX_PINNED: Final = 4 * 1024
"""Bytes of a session's pins."""


def check_pin(text: str, pinned: Iterable[str], secrets: CallSecrets) -> bool:
    """Check what a call wants to pin beside what is pinned; return whether it is new.

    Raises:
        ToolError: It cannot be.
    """
    if not isinstance(text, str) or not text.strip():
        raise ToolError("a pin has to say something")
    if secrets.found_in(text):
        raise ToolError("a pin must not hold a secret")
    before = list(pinned)
    if text in before:
        return False
    size = sum(len(each.encode(errors="replace")) for each in [*before, text])
    if size > MAX_PINNED:
        raise ToolError(f"with this one {size:,} bytes would be pinned in the session: {MAX_PINNED:,} are the most")
    return True

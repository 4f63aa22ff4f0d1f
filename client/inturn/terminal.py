"""Texts for terminals and logs.

Invariant: no text of a user, a model or a tool can move the cursor, change the terminal, or look like a line of its
own; and what is JSON stays JSON, whatever the encoding of where it goes.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Everything that a terminal acts on, but line feed and tab; what makes text run backwards; halves of characters."""


def clean(text: str) -> str:
    """Return a text without what a terminal would act on."""
    return _CONTROLS.sub("�", text)


def one_line(text: str) -> str:
    """Return a text on one line, clean."""
    return clean(" ".join(text.split()))


def as_json(value: Any, *, encoding: str | None = None, **how: Any) -> str:
    """Return a value as JSON; what a terminal would act on is written as an escape.

    Args:
        value: What JSON can say.
        encoding: Where it goes: characters that this lacks are written as escapes, too.
        how: As `json.dumps` takes it.
    """
    text = json.dumps(value, ensure_ascii=False, **how)
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        text = json.dumps(value, ensure_ascii=True, **how)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

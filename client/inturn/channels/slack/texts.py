"""Slack's own way to write text, in and out.

Invariant: what a person wrote reaches the model as they see it; what a model wrote mentions nobody, and shows no
picture: Slack reads commands in `<…>` alone, and `<` goes out escaped.
"""

from __future__ import annotations

import re
from typing import Any, Final

from inturn.channels.markdown import outside_code

_ENTITY: Final = re.compile(r"<([@#!]?)([^<>|]{0,2000})(?:\|([^<>]{0,500}))?>")
MAX_FILES: Final = 20


def plain(text: str, own: frozenset[str]) -> str:
    """Return a message as people see it, without the mention of the bot itself."""

    def entity(found: re.Match[str]) -> str:
        kind, name, label = found[1], found[2], found[3]
        if kind == "@":
            return "" if name in own else f"@{label or name}"
        if kind == "#":
            return f"#{label or name}"
        if kind == "!":
            return f"@{name.partition('^')[0]}" if not label else label
        return f"{label} ({name})" if label and label != name else name

    said = _ENTITY.sub(entity, text)
    return said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()


def files(listed: object) -> str:
    """Return a line for each file of a message."""
    some = [each for each in listed[:MAX_FILES] if isinstance(each, dict)] if isinstance(listed, list) else []
    return "".join(f"\n[file: {_short(each.get('name'))} ({_short(each.get('mimetype'))})]" for each in some)


def escaped(text: str) -> str:
    """Return a model's text as it goes out."""
    shown = outside_code(text, lambda part: part.replace("![", "!\u200b["))  # whoever looks would ask for the picture
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def length(text: str) -> int:
    """Return how long a text is once it is escaped, at most."""
    return len(text) + 4 * text.count("&") + 3 * (text.count("<") + text.count(">")) + text.count("![")


def _short(value: Any) -> str:
    return " ".join(str(value or "?").split())[:120]

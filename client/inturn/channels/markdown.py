"""What of a Markdown text is code, and what is not.

Invariant: only what every Markdown reader shows as a block of code counts as code, whatever the text pretends: what
stands outside can call people and fetch pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Final

from markdown_it import MarkdownIt

_PARSER: Final = MarkdownIt("commonmark").disable(["inline", "text_join"])
MAX_LINES: Final = 1_000
"""Of a text with more of them nothing counts as code: reading lists takes the square of their length."""
_CODE: Final = ("fence",)
"""Indented lines are none: platforms that know footnotes show them as text behind one."""


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Return a text in which all that is no block of code was changed."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(lines) > MAX_LINES:
        return change(text)
    code = set[int]()
    for token in _PARSER.parse("\n".join(lines)):
        if token.type in _CODE and token.map is not None:
            code.update(range(*token.map))
    parts = list[str]()
    for is_code, group in groupby(range(len(lines)), code.__contains__):
        part = "\n".join(lines[number] for number in group)
        parts.append(part if is_code else change(part))
    return "\n".join(parts)

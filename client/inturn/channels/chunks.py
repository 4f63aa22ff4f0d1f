"""A long text in parts that a platform takes.

Invariant: no part is longer than asked, counted as the platform counts; none cuts a character; each code fence is
whole: one that is cut is closed, and opened again in the next part.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

LEAST: Final = 64
"""The smallest size of a part: a fence has to fit in it, and words beside it."""
_ENDS: Final = ("\n\n", "\n", ". ", "! ", "? ", " ")
"""Where a text is cut, the best first; a cut leaves a part at least half full."""
_FENCE: Final = re.compile(r"^ {0,3}(`{3,8}(?!`)|~{3,8}(?!~))([^\n`]*)$", re.MULTILINE)
MAX_INFO: Final = 12
"""Characters of a fence's language that are said again."""
_JOINERS: Final = "\u200d\ufe0e\ufe0f\u20e3"
_LOOSE: Final = 16
"""Characters by which a cut is put off where it would part an emoji or an accent from what it belongs to."""


def units(text: str) -> int:
    """Return how long a text is in UTF-16, as chats count."""
    return len(text) + sum(character > "\uffff" for character in text)


def split(text: str, most: int, *, length: Callable[[str], int] = units) -> list[str]:
    """Return a text in parts of at most `most`, cut at a paragraph, a line, a sentence, a word, else anywhere.

    Args:
        text: The text; of an empty one there is no part.
        most: How long a part may be.
        length: How that is counted: UTF-16 units by default. It must not shrink with more text.

    Raises:
        ValueError: `most` is too small to keep fences whole.
    """
    if most < LEAST:
        raise ValueError(f"parts of {most} are too small: at least {LEAST}")
    parts, left, fence = list[str](), text.strip("\n"), ""
    while left.strip():
        opening = f"{fence}\n" if fence else ""
        end = _end(left, most - length(opening), length)
        open_after = _open_fence(left[:end], fence)
        if end < len(left) and open_after:
            end = _end(left, most - length(opening) - length(_closing(open_after)), length)
            open_after = _open_fence(left[:end], fence)
        part = opening + left[:end].rstrip()
        if end < len(left) and open_after:
            part += _closing(open_after)
        if part.strip():
            parts.append(part)
        fence, left = open_after, left[end:].lstrip("\n")
    return parts


def _end(text: str, room: int, length: Callable[[str], int]) -> int:
    """Return where to cut."""
    if length(text) <= room:
        return len(text)
    low, high = 1, min(len(text), max(room, 1))
    while low < high:  # the longest start that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if length(text[:middle]) <= room else (low, middle - 1)
    for mark in _ENDS:
        found = text.rfind(mark, 0, low)
        if found >= low // 2:
            return found + len(mark)
    whole = next((at for at in range(low, max(low - _LOOSE, 0), -1) if not _joined(text, at)), low)
    return whole


def _joined(text: str, at: int) -> bool:
    """Whether the character there belongs to the one before it."""
    one, before = text[at], text[at - 1]
    return (
        bool(unicodedata.combining(one)) or one in _JOINERS or before == "\u200d" or "\U0001f3fb" <= one <= "\U0001f3ff"
    )


def _open_fence(text: str, fence: str) -> str:
    """Return the line that opens the fence which is open at the end of a text, or nothing."""
    for found in _FENCE.finditer(text):
        marks, info = found[1], found[2].strip()
        if not fence:
            fence = marks + info[:MAX_INFO]
        elif marks.startswith(_marks(fence)) and not info:
            fence = ""
    return fence


def _closing(fence: str) -> str:
    return f"\n{_marks(fence)}"


def _marks(fence: str) -> str:
    return fence[: len(fence) - len(fence.lstrip(fence[0]))]

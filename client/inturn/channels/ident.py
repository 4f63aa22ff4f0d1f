"""Ids of sessions and events, made of what a platform says.

Invariant: the same parts give the same id, and other parts another one; every id is one that a session takes.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

MOST: Final = 128
"""Characters of an id."""
PART: Final = 64
"""Characters of a part that stands as it is."""
_PLAIN: Final = re.compile(rf"[A-Za-z0-9._@+-]{{1,{PART}}}")


def ident(*parts: str | int) -> str:
    """Return an id of parts, joined by `:`.

    A part that has other characters, or too many, stands as `=` and 16 hex digits of its hash; so does the end of an id
    that would be too long.
    """
    shown = [part if _PLAIN.fullmatch(part) else _hashed(part) for part in map(str, parts)]
    if len(joined := ":".join(shown)) <= MOST:
        return joined
    kept = list[str]()
    while shown and len(":".join([*kept, shown[0]])) <= MOST - 18:
        kept.append(shown.pop(0))
    return ":".join([*kept, _hashed(":".join(shown))])


def _hashed(part: str) -> str:
    return "=" + hashlib.blake2b(part.encode(errors="surrogatepass"), digest_size=8).hexdigest()

"""The tool by which a model reads on in a result that was cut.

Invariant: it reads what results of its own session left behind and nothing else, a bounded piece at a time.
"""

from __future__ import annotations

from typing import Final

from inturn.errors import ToolError
from inturn.tools.context import ToolContext
from inturn.tools.tool import Tool

NAME: Final = "read_result"
PIECE: Final = 16 * 1024
"""Bytes of a result that it gives at once."""


async def _read_result(ref: str, offset: int, ctx: ToolContext) -> str:
    """Read on in a result of a tool that was cut. `ref` and `offset` (in bytes) are as the cut result names them."""
    data = await ctx._result(ref)
    if data is None:
        raise ToolError("no result of this session was cut under this reference: use one that a cut result names")
    if not 0 <= offset < len(data):
        raise ToolError(f"the offset lies outside: this result has {len(data):,} bytes")
    piece = data[offset : offset + PIECE]
    text = piece.decode(errors="ignore")  # characters that begin before it or end behind it are in the next piece
    end = offset + len(piece)
    if end >= len(data):
        return f"{text}\n[this is its end]"
    end -= _begun(piece)
    return f"{text}\n[bytes {offset:,} to {end:,} of {len(data):,}; it goes on at offset {end}]"


def _begun(piece: bytes) -> int:
    """Return the bytes at the end that only begin a character."""
    for back in range(1, min(4, len(piece)) + 1):
        byte = piece[-back]
        if byte & 0xC0 != 0x80:  # the first of its character
            needs = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return back if needs > back else 0
    return 0


READ_RESULT: Final = Tool(_read_result, name=NAME, idempotent=True)

"""What a tool returned, as the transcript takes it.

Invariant: an entry stays small whatever a tool returns; what is larger lies beside the journal, under a reference
that the model and readers see.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic_core import to_json

from inturn.journal.log import codec
from inturn.sizes import UPLOAD
from inturn.turns import tokens
from inturn.turns.blocks import REFERRED, Block, are_blocks, content_blocks

MAX_TEXT: Final = 32 * 1024
"""Bytes; a larger result goes beside the transcript, with a preview and a reference in it."""
MAX_BLOCKS: Final = 256 * 1024
"""The same for content blocks: an image cannot be cut, and an event may be as large."""
EMPTY: Final = "(empty)"
NOTE: Final = 192
"""Bytes of what says so."""
PREVIEW: Final = 4 * 1024
"""Bytes that the model sees of a larger one."""


async def render_result(
    value: Any,
    put_blob: Callable[[bytes], Awaitable[str]],
    most: int | None = None,
    *,
    put_upload: Callable[[bytes, str], Awaitable[str]] | None = None,
) -> dict[str, Any]:
    """Return `text` or `content` of a result; for one that is too large a preview with `ref` and `bytes`.

    Args:
        value: What the tool returned.
        put_blob: Keeps bytes, and returns a reference to them.
        most: Bytes of text that it may have, where the conversation has no room for as many as usual.
        put_upload: Keeps what a block shows, for one to refer to it: of blocks that are too large together.
    """
    if are_blocks(value) and (data := _json(value)) is not None:
        if len(data) > MAX_BLOCKS and put_upload is not None:
            value = [await _referring(block, put_upload) for block in content_blocks(value)]
            data = _json(value) or b""
        blocks = content_blocks(value)
        fits = most is None or tokens.of_message({"content": blocks}) * tokens.BYTES <= most
        if len(data) <= MAX_BLOCKS and fits:
            return {"content": blocks} if blocks else {"text": EMPTY}
    else:
        text = as_text(value)
        data = text.encode(errors="replace")
        if len(data) <= min(MAX_TEXT, most or MAX_TEXT):
            return {"text": text}
    ref = await put_blob(data)
    start = data[: min(PREVIEW, max(0, (most or MAX_TEXT) - NOTE))].decode(errors="ignore")
    goes_on = f"read_result goes on at offset {len(start.encode())} of {ref}"
    return {"text": f"{start}\n[cut: it has {len(data):,} bytes; {goes_on}]", "ref": ref, "bytes": len(data)}


async def _referring(block: Block, put_upload: Callable[[bytes, str], Awaitable[str]]) -> Block:
    """Return a block that refers to what it showed; what is too large for that, or shown otherwise, stays."""
    source = block.get("source", {})
    if source.get("type") != "base64":
        return block
    shown = base64.b64decode(source["data"])
    if len(shown) > UPLOAD:
        return block
    ref = await put_upload(shown, source["media_type"])
    return {**block, "source": {"type": REFERRED, "ref": ref}}


def as_text(value: Any) -> str:
    """Return a result as text: strings as they are, all else as JSON."""
    if isinstance(value, str):
        text = str.__str__(value)  # one of an author's own class may have methods of its own
        return text if text.strip() else EMPTY
    if value is None:
        return "(no result)"
    if (data := _json(value)) is not None:
        return data.decode(errors="replace")
    with contextlib.suppress(Exception):
        return codec.dumps(value)  # less exact, but it takes bytes and half characters
    return unshown(value)


def unshown(value: Any) -> str:
    """Return what stands for a result that cannot be looked at."""
    return f"(a result of type {type(value).__name__} that cannot be shown)"


def _json(value: Any) -> bytes | None:
    """Return a value as JSON; `None` where it cannot be: its tool did its work, and must not fail for that."""
    try:
        return to_json(value, fallback=str)
    except Exception:
        return None

"""Requests that show what was uploaded: each reference as the bytes that it stands for.

Invariant: nothing is read before it is known to fit into a request. Bytes are sent in the request itself: a file that
the provider keeps is open to all who share the account, so to every tenant.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from inturn.errors import ModelError
from inturn.models import ModelRequest
from inturn.models.encoding import Committed
from inturn.sizes import SHOWN
from inturn.turns.blocks import Block, reference_of
from inturn.turns.media import TEXT
from inturn.turns.references import encoded_size, not_shown, references, replaced


async def shown(request: ModelRequest) -> ModelRequest:
    """Return a request in which each reference is what it refers to.

    Raises:
        ModelError: Together they are more than the API takes in a request.
    """
    load = request.load
    found = [block for message in request.messages if _may_refer(message) for block in references(message["content"])]
    if load is None or not found:
        return request
    if (size := sum(map(encoded_size, found))) > SHOWN:
        raise ModelError(
            f"request_too_large: what is shown by reference has {size:,} bytes, {SHOWN:,} are the most", kind="own"
        )
    data = {named: await load(named) for named in _names(found)}
    return dataclasses.replace(request, messages=[_with(message, data) for message in request.messages], load=None)


def _may_refer(message: Mapping[str, Any]) -> bool:
    """Return whether it is worth a look: most of a thousand messages are words."""
    content = message["content"]
    if message["role"] != "user" or not isinstance(content, list):
        return False
    for block in content:
        if "source" in block or "content" in block:
            return True
    return False


def _names(blocks: Iterable[Block]) -> dict[str, None]:
    return dict.fromkeys(named for block in blocks if (named := reference_of(block)) is not None)


def _with(message: dict[str, Any], data: Mapping[str, bytes | None]) -> dict[str, Any]:
    if not _may_refer(message) or not any(references(message["content"])):
        return message
    made = {**message, "content": replaced(message["content"], lambda block: _held(block, data))}
    return Committed(made) if isinstance(message, Committed) else made


def _held(block: Block, data: Mapping[str, bytes | None]) -> Block:
    """Return a block that holds what it referred to."""
    source = block["source"]
    media, held = source.get("media_type"), data.get(source["ref"])
    if held is None or media is None:
        return not_shown(block, "what was uploaded is gone")
    if media == TEXT:
        given = {"type": "text", "media_type": media, "data": held.decode(errors="replace")}
    else:
        given = {"type": "base64", "media_type": media, "data": base64.b64encode(held).decode()}
    return {**block, "source": given}

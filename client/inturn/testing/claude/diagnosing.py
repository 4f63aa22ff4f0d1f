"""Diagnostics of the cache: why a request could not read what an earlier one wrote.

Invariant: the reason is the first part of the prompt that differs, in the order of the prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from inturn.testing.claude.prefix import Position

REMEMBERED: Final = 10_000


def diagnosed(
    seen: dict[str, dict[str, Any]], message_id: str, body: dict[str, Any], line: Sequence[Position]
) -> dict[str, Any]:
    """Return a message's diagnostics, where its request asked for them; remember the request under its id."""
    seen[message_id] = _request(body, line)
    while len(seen) > REMEMBERED:
        del seen[next(iter(seen))]
    asked = body.get("diagnostics")
    if not asked:
        return {}
    earlier = seen.get(asked.get("previous_message_id") or "")
    reason = _reason(earlier, seen[message_id], line) if earlier else {"type": "previous_message_not_found"}
    return {"diagnostics": {"cache_miss_reason": reason}}


def _request(body: dict[str, Any], line: Sequence[Position]) -> dict[str, Any]:
    parts: dict[str, Any] = {"model": body["model"], "end": line[-1].digest, "tokens": line[-1].tokens}
    for role in ("tools", "system"):
        blocks = [repr(sorted(p.block.items(), key=str)) for p in line if p.role == role and p.message < 0]
        parts[role] = hashlib.sha256("\n".join(blocks).encode(errors="surrogatepass")).digest()
    return parts


def _reason(earlier: dict[str, Any], now: dict[str, Any], line: Sequence[Position]) -> dict[str, Any] | None:
    for part in ("model", "system", "tools"):
        if earlier[part] != now[part]:
            return {"type": f"{part}_changed", "cache_missed_input_tokens": earlier["tokens"]}
    if any(position.digest == earlier["end"] for position in line):
        return None
    return {"type": "messages_changed", "cache_missed_input_tokens": earlier["tokens"]}

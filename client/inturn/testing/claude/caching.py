"""The prompt cache, counted and not kept.

Invariant: input, cache read and cache write tokens of a request sum up to its whole prompt; a request reads no more
than an earlier one with the same prefix wrote.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from inturn.testing.claude.prefix import Position

LOOKBACK: Final = 20
"""Blocks before a marker in which a cached prefix is looked for."""
_SECONDS: Final = {"5m": 300.0, "1h": 3600.0}


class Cache:
    """What is cached, and until when.

    Attributes:
        minimum: Tokens below which a prefix is not cached.
    """

    def __init__(self, minimum: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Make an empty cache."""
        self.minimum = minimum
        self._clock = clock
        self._until: dict[tuple[str, bytes], float] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._until.clear()

    def count(self, body: dict[str, Any], line: Sequence[Position]) -> dict[str, Any]:
        """Count a request's prompt, read what is cached and write what is marked; gives the API's usage fields."""
        markers = _markers(body, line)
        read_at = self._longest(body["model"], markers, line)
        read = line[read_at].tokens if read_at >= 0 else 0
        written = {"5m": 0, "1h": 0}
        reached = read
        if read_at >= 0:
            self._keep(body["model"], line[read_at].digest, "5m")
        for at, ttl in sorted(markers.items()):
            if line[at].tokens < max(1, self.minimum):
                continue
            written[ttl] += max(0, line[at].tokens - reached)
            reached = max(reached, line[at].tokens)
            self._keep(body["model"], line[at].digest, ttl)
        return {
            "input_tokens": line[-1].tokens - reached,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": sum(written.values()),
            "cache_creation": {
                "ephemeral_5m_input_tokens": written["5m"],
                "ephemeral_1h_input_tokens": written["1h"],
            },
        }

    def _longest(self, model: str, markers: dict[int, str], line: Sequence[Position]) -> int:
        now = self._clock()
        for marker in sorted(markers, reverse=True):
            for at in range(marker, max(-1, marker - LOOKBACK - 1), -1):
                if self._until.get((model, line[at].digest), 0.0) > now:
                    return at
        return -1

    def _keep(self, model: str, digest: bytes, ttl: str) -> None:
        key = (model, digest)
        self._until[key] = max(self._until.get(key, 0.0), self._clock() + _SECONDS[ttl])


def _markers(body: dict[str, Any], line: Sequence[Position]) -> dict[int, str]:
    marked = {
        at: position.block["cache_control"].get("ttl", "5m")
        for at, position in enumerate(line)
        if position.block.get("cache_control")
    }
    if top := body.get("cache_control"):
        last = max(at for at, p in enumerate(line) if p.block.get("type") not in ("thinking", "redacted_thinking"))
        marked.setdefault(last, top.get("ttl", "5m"))
    return marked

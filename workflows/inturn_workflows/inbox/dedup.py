"""The dedup window: which event ids a session has taken.

Invariant: the last `SIZE` accepted ids are known, across continue-as-new, in a few bytes each. Older ids are the
journal's.

An id is kept as an 8-byte hash keyed by the session's salt (so nobody can craft collisions between sessions). The
newest stand in a dict with their disposition; the rest is one block in order of arrival, so that the oldest fall out at
its front.
"""

from __future__ import annotations

import hashlib
from typing import Final

from pydantic import ConfigDict, Field

from inturn.wire import Message

SIZE: Final = 10_000
RECENT: Final = 256
"""Ids whose disposition is known, at least. Replayed, as `SIZE` is: neither ever changes."""
_WIDTH: Final = 8


class DedupWindow(Message):
    """Remembered ids. Carried by continue-as-new: 120 KiB of JSON, 1 KiB more where most turns were interrupted."""

    model_config = ConfigDict(extra="allow", ser_json_bytes="base64", val_json_bytes="base64")

    salt: str = ""
    recent: dict[str, str] = Field(default_factory=dict[str, str])
    """Hash (hex) -> the event's disposition, or where it stands; in order of arrival."""
    block: bytes = b""

    def __contains__(self, event_id: str) -> bool:
        digest = self._hash(event_id)
        return digest.hex() in self.recent or self._find(digest) >= 0

    def __len__(self) -> int:
        return len(self.recent) + len(self.block) // _WIDTH

    def add(self, event_id: str, disposition: str) -> None:
        """Remember an id that is not in the window yet."""
        self.recent[self._hash(event_id).hex()] = disposition
        if len(self.recent) >= 2 * RECENT:
            self._compact()

    @staticmethod
    def reaches(then: int, now: int) -> bool:
        """Return whether the window, at event number `now`, surely knows the one that was accepted as number `then`."""
        return now - then <= SIZE

    def note(self, event_id: str, disposition: str) -> None:
        """Note where a remembered event stands now; ids that are no longer recent keep no disposition."""
        key = self._hash(event_id).hex()
        if key in self.recent:
            self.recent[key] = disposition

    def disposition_of(self, event_id: str) -> str | None:
        """Return how a remembered event ended or where it stands, if that is still known."""
        return self.recent.get(self._hash(event_id).hex())

    def forget(self, event_id: str) -> None:
        """Forget an id: it may come again."""
        digest = self._hash(event_id)
        self.recent.pop(digest.hex(), None)
        at = self._find(digest)
        if at >= 0:
            self.block = self.block[:at] + self.block[at + _WIDTH :]

    def _compact(self) -> None:
        """Move the older half of the recent ids into the block."""
        old = list(self.recent)[:RECENT]
        for key in old:
            del self.recent[key]
        block = self.block + b"".join(bytes.fromhex(key) for key in old)
        self.block = block[max(0, len(block) - SIZE * _WIDTH) :]

    def _find(self, digest: bytes) -> int:
        at = self.block.find(digest)
        while at >= 0 and at % _WIDTH:
            at = self.block.find(digest, at + 1)
        return at

    def _hash(self, event_id: str) -> bytes:
        return hashlib.blake2b(event_id.encode(), digest_size=_WIDTH, key=self.salt.encode()).digest()

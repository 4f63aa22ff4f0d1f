"""The dedup window: which event ids a session has taken.

Invariant: the last `SIZE` accepted ids are known, across continue-as-new, in a few bytes each. Older ids are the
journal's.

An id is kept as an 8-byte hash keyed by the session's salt (so nobody can craft collisions between sessions). The
newest stand in a dict with how they ended; the rest is one block in order of arrival, so that the oldest fall out at
its front.
"""

from __future__ import annotations

import hashlib
from typing import Final

from pydantic import BaseModel, ConfigDict

SIZE: Final = 10_000
RECENT: Final = 256
"""Ids whose standing is known, at least. Replayed, as `SIZE` is: neither ever changes."""
_WIDTH: Final = 8


class Window(BaseModel):
    """Remembered ids. Carried by continue-as-new: 120 KiB of JSON, 1 KiB more where most turns were interrupted."""

    model_config = ConfigDict(extra="allow", ser_json_bytes="base64", val_json_bytes="base64")

    salt: str = ""
    recent: dict[str, str] = {}
    """Hash (hex) -> how the event stands; in order of arrival."""
    block: bytes = b""

    def __contains__(self, event_id: str) -> bool:
        digest = self._hash(event_id)
        return digest.hex() in self.recent or self._find(digest) >= 0

    def add(self, event_id: str, standing: str) -> None:
        """Remember an id that is not in the window yet."""
        self.recent[self._hash(event_id).hex()] = standing
        if len(self.recent) >= 2 * RECENT:
            self._settle()

    def note(self, event_id: str, standing: str) -> None:
        """Note how a remembered event stands now; ids that are no longer recent keep no standing."""
        key = self._hash(event_id).hex()
        if key in self.recent:
            self.recent[key] = standing

    def standing(self, event_id: str) -> str | None:
        """Give how a remembered event stands, where that is still known."""
        return self.recent.get(self._hash(event_id).hex())

    def forget(self, event_id: str) -> None:
        """Let an id come again."""
        digest = self._hash(event_id)
        self.recent.pop(digest.hex(), None)
        at = self._find(digest)
        if at >= 0:
            self.block = self.block[:at] + self.block[at + _WIDTH :]

    def __len__(self) -> int:
        return len(self.recent) + len(self.block) // _WIDTH

    def _settle(self) -> None:
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

"""The dedup window: which event ids a session has taken.

Invariant: the last `SIZE` ids are known, own ones and aliases, across continue-as-new, in a few bytes each. Older ids
are the journal's.

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
_ALIAS: Final = "~"
"""What an event's other id begins with here: no id does, so one that was no event's keeps its own place."""
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
    aliases: int = 0
    """How many other ids came, ever."""
    newest: int = 0
    """The number of the event whose id came last."""
    settled: int = 0
    """That number as it was when ids went into the block last."""
    marks: list[int] = Field(default_factory=list[int])
    """For each `RECENT` ids of the block, the oldest first: no event above this number is among them."""
    forgotten: int = 0
    """The ids of events above this number are all known."""

    def __contains__(self, event_id: str) -> bool:
        digest = self._hash(event_id)
        return digest.hex() in self.recent or self._find(digest) >= 0

    def __len__(self) -> int:
        return len(self.recent) + len(self.block) // _WIDTH

    def add(self, event_id: str, disposition: str, number: int = 0) -> None:
        """Remember an id that is not in the window yet. `number`: its event's, in the order of acceptance."""
        self.recent[self._hash(event_id).hex()] = disposition
        self.newest = max(self.newest, number)
        if len(self.recent) >= 2 * RECENT:
            self._compact()

    def add_alias(self, alias: str, number: int) -> None:
        """Remember another id of an event, where it is not remembered as one."""
        if not self.has_alias(alias):
            self.aliases += 1
            self.add(_ALIAS + alias, "", number)

    def has_alias(self, alias: str) -> bool:
        """Return whether an event has come with this for another of its ids."""
        return self.aliases > 0 and _ALIAS + alias in self

    def forget_alias(self, alias: str) -> None:
        """Forget another id of an event that may come again."""
        self.forget(_ALIAS + alias)

    def reaches(self, number: int) -> bool:
        """Return whether the window surely knows the ids of the event that was accepted as this number."""
        return number > self.forgotten

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
        self.marks.append(self.settled)
        self.settled = self.newest
        while len(self.marks) > SIZE // RECENT:
            self.forgotten = self.marks.pop(0)

    def _find(self, digest: bytes) -> int:
        at = self.block.find(digest)
        while at >= 0 and at % _WIDTH:
            at = self.block.find(digest, at + 1)
        return at

    def _hash(self, event_id: str) -> bytes:
        return hashlib.blake2b(event_id.encode(), digest_size=_WIDTH, key=self.salt.encode()).digest()

"""Texts of the journal's columns, encrypted where there are keys.

Invariant: what a user or a model said goes into a column, and is read from it, through `Sealing` alone. It is bound to
its column, tenant, session and row, so no row reads as another one. Keys, types, seqs, times, hashes and numbers stay
clear: the rules look for rows by them. The log's chain covers what is stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar, overload

from inturn.encryption.box import Broken, Locked, check_of, seal, unseal
from inturn.encryption.keys import KeyRing
from inturn.errors import JournalUnavailable

T = TypeVar("T")
Place = tuple[str | int, ...]
"""Where a text belongs: column, tenant, session, and what names the row in it."""

COLUMNS: Final = (
    "entries.body",
    "steps.checkpoint",
    "steps.result",
    "steps.late_result",
    "outcomes.reason",
    "blobs.data",
    "uploads.data",
    "contents.data",
    "shared_values.value",
    "queue_items.item",
    "documents.text",
    "operations.result",
    "rewritten.proof",
    "deltas.data",
)
"""What is encrypted."""
_TEXT: Final = "\x01inturn:"
"""What an encrypted text begins with: no JSON does."""
_BYTES: Final = _TEXT.encode()
_PLAIN: Final = _BYTES + b":"
"""What bytes in clear begin with that would look encrypted: whoever uploads them names no key."""
_NO_KEYS: Final = (
    "the journal is encrypted, and there are no keys here. To do: set INTURN_ENCRYPTION_KEYS as for the workers"
)
_IN_CLEAR: Final = (
    "the journal has rows in clear, from before INTURN_ENCRYPTION_KEYS was set. To do: `inturn journal reencrypt "
    "SOURCE TARGET` makes an encrypted copy; or take the keys away"
)


class Sealing:
    """Encrypts columns with the first key of a ring and decrypts them with any; without a ring it does neither."""

    def __init__(self, ring: KeyRing | None = None) -> None:
        """Use a ring."""
        self._ring = ring

    @property
    def on(self) -> bool:
        """Whether columns are encrypted."""
        return self._ring is not None

    @property
    def names(self) -> str:
        """Its keys, by their names and checks."""
        return ", ".join(self._ring.names) if self._ring else ""

    @overload
    def seal(self, text: str, *place: str | int) -> str: ...
    @overload
    def seal(self, text: str | None, *place: str | int) -> str | None: ...
    def seal(self, text: str | None, *place: str | int) -> str | None:
        """Return a text as it is stored."""
        if self._ring is None or text is None:
            return text
        return f"{_TEXT}{self._ring.first.id}:{base64.b64encode(self._sealed(text.encode(), place)).decode()}"

    @overload
    def unseal(self, stored: str, *place: str | int) -> str: ...
    @overload
    def unseal(self, stored: str | None, *place: str | int) -> str | None: ...
    def unseal(self, stored: str | None, *place: str | int) -> str | None:
        """Return a text that was stored.

        Raises:
            JournalUnavailable: Its key is not here; or it is in clear where there are keys.
        """
        if stored is None or not self._is_sealed(stored.startswith(_TEXT)):
            return stored
        key_id, _, encoded = stored.removeprefix(_TEXT).partition(":")
        return _read(lambda: base64.b64decode(encoded, validate=True), self._unsealed, key_id, place).decode()

    def seal_bytes(self, data: bytes, *place: str | int) -> bytes:
        """Return bytes as they are stored."""
        if self._ring is None:
            return _PLAIN + data if data.startswith(_BYTES) else data
        return b"%b%b:%b" % (_BYTES, self._ring.first.id.encode(), self._sealed(data, place))

    def unseal_bytes(self, stored: bytes, *place: str | int) -> bytes:
        """Return bytes that were stored.

        Raises:
            JournalUnavailable: As `unseal`.
        """
        if not self._is_sealed(stored.startswith(_BYTES) and not stored.startswith(_PLAIN)):
            return stored.removeprefix(_PLAIN)
        key_id, _, box = stored.removeprefix(_BYTES).partition(b":")
        return _read(lambda: box, self._unsealed, key_id.decode("utf-8", "replace"), place)

    def digest(self, data: bytes, *scope: str) -> str:
        """Return the hash by which bytes are named: with keys a keyed one, which tells nobody what they are."""
        if self._ring is None:
            return hashlib.sha256(data).hexdigest()
        return hmac.new(self._ring.first.derived("digest", *scope), data, hashlib.sha256).hexdigest()

    def _is_sealed(self, sealed: bool) -> bool:
        """Return whether there is something to decrypt."""
        if sealed and self._ring is None:
            raise JournalUnavailable(_NO_KEYS)
        if not sealed and self._ring is not None:
            raise JournalUnavailable(_IN_CLEAR)
        return sealed

    def _sealed(self, text: bytes, place: Place) -> bytes:
        assert self._ring is not None
        return seal(self._ring.first, _purpose(place), _bound(place), text)

    def _unsealed(self, key_id: str, place: Place, box: bytes) -> bytes:
        assert self._ring is not None
        return unseal(self._ring, key_id, _purpose(place), _bound(place), box)


CLEAR: Final = Sealing()


def key_of(stored: str | bytes | memoryview) -> str | None:
    """Return the key that a column's value is encrypted with, as `KeyRing.names` has it; `None`: it is in clear."""
    data = stored.encode("utf-8", "replace") if isinstance(stored, str) else bytes(stored)
    if not data.startswith(_BYTES) or data.startswith(_PLAIN):
        return None
    name, _, box = data.removeprefix(_BYTES).partition(b":")
    if isinstance(stored, str):
        with suppress(ValueError):
            box = base64.b64decode(box[:8])
    return f"{name.decode('utf-8', 'replace')}:{check_of(box).hex()}"


def _read(box: Callable[[], bytes], opened: Callable[[str, Place, bytes], bytes], key_id: str, place: Place) -> bytes:
    try:
        return opened(key_id, place, box())
    except Locked as error:
        raise JournalUnavailable(
            f"the journal cannot be read: {error}. To do: add it to INTURN_ENCRYPTION_KEYS, behind the first"
        ) from error
    except (Broken, ValueError) as error:
        raise JournalUnavailable(
            f"the journal is damaged: {place[0]} of {'/'.join(map(str, place[1:]))} does not decrypt ({error}). "
            "To do: `inturn audit --deep`, and restore what was changed from a backup"
        ) from error


def _purpose(place: Place) -> tuple[str, str, str]:
    """Return what a key is derived for: a session's texts have one of their own."""
    return "journal", str(place[1]), str(place[2])


def _bound(place: Place) -> bytes:
    return json.dumps(place).encode()

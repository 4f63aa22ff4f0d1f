"""One encrypted text: AES-256-GCM under a key that is derived for where the text belongs.

Layout: version (1), which key it was (4), nonce (12), ciphertext and tag. Invariant: what opens was sealed by somebody
who has the key, for exactly this place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from inturn.encryption.keys import Key, KeyRing

_VERSION: Final = b"\x01"
_CHECK: Final = slice(1, 5)
_NONCE: Final = slice(5, 17)
_TEXT: Final = 17
_TAG: Final = 16


def is_box(data: bytes) -> bool:
    """Return whether it may have been sealed, by anybody."""
    return len(data) >= _TEXT + _TAG and data[:1] == _VERSION


def check_of(box: bytes) -> bytes:
    """Return the check of the key that sealed it."""
    return box[_CHECK]


def shown(key_id: str) -> str:
    """Return a key's name as people see it: it is whatever somebody wrote there."""
    return key_id[:32] if key_id.isprintable() else "?"


class Locked(Exception):
    """It was sealed with a key that is not in this ring: whoever has that one can open it."""

    def __init__(self, key_id: str, *, another: bool = False) -> None:
        """Name the key; `another`: one of that name is here."""
        why = "which is another one than the key of that name here" if another else "which is not among the keys here"
        super().__init__(f"it is encrypted with key {shown(key_id)!r}, {why}")


class Broken(Exception):
    """No key of that name opens it: it was changed, or was sealed for another place."""


def seal(key: Key, purpose: Sequence[str], place: bytes, text: bytes) -> bytes:
    """Return a text sealed.

    Args:
        key: The key.
        purpose: What the key is derived for: so much belongs together.
        place: Where in there the text belongs; it opens nowhere else.
        text: What to seal.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # an extra

    nonce = os.urandom(12)
    sealed: bytes = AESGCM(key.derived(*purpose)).encrypt(nonce, text, place)
    return _VERSION + key.check + nonce + sealed


def unseal(ring: KeyRing, key_id: str, purpose: Sequence[str], place: bytes, box: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        Locked: Its key is not here.
        Broken: It does not open at this place.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not is_box(box):
        raise Broken("it is not as this version encrypts")
    key = ring.find(key_id, box[_CHECK])
    if key is None:
        raise Locked(key_id, another=any(here.id == key_id for here in ring.keys))
    try:
        text: bytes = AESGCM(key.derived(*purpose)).decrypt(box[_NONCE], box[_TEXT:], place)
    except InvalidTag:
        raise Broken("it was changed, or encrypted for something else") from None
    return text

"""Ed25519: the proof that Discord gives. Needs `cryptography`: the extra `inturn[discord]`.

Invariant: as in `signatures`: a verdict is a bool, and nothing that comes makes it raise.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE = 64
"""Bytes."""


def public_key(hex_digits: str) -> Ed25519PublicKey:
    """Return a public key.

    Raises:
        ValueError: It is none.
    """
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(hex_digits))


def is_signed(key: Ed25519PublicKey, message: bytes, signature: str) -> bool:
    """Return whether a message has this signature, in hex."""
    if len(signature) != 2 * SIGNATURE or not signature.isascii():
        return False
    try:
        key.verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True

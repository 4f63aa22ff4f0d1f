"""The keys: a ring of them, of which the first encrypts and all decrypt.

Invariant: key material is in no message, `repr` or traceback. An error says which key it is by its place; what stands
there may be a key in the wrong order.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from inturn.dotenv_file import read_dotenv
from inturn.errors import Misconfigured

VARIABLE: Final = "INTURN_ENCRYPTION_KEYS"
FILE_VARIABLE: Final = "INTURN_ENCRYPTION_KEYS_FILE"
BYTES: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")
_FORM: Final = (
    "It must be ID:KEY, several of them separated by commas; KEY is the base64 of 32 bytes (openssl rand -base64 32), "
    "and ID at most 32 letters, digits, dots, dashes and underscores"
)


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes:
        id: Its name, which stands beside all that it encrypted. Never give a name to another key.
    """

    id: str
    material: bytes = field(repr=False)

    def derived(self, *purpose: str) -> bytes:
        """Return a key of its own for a purpose.

        Of each at most 2^32 texts may be encrypted with random nonces, which one for a whole fleet would reach in days.
        """
        return _derived(self.material, purpose)

    @property
    def check(self) -> bytes:
        """Return what tells this key from others that were given the same name; it says nothing about the key."""
        return self.derived("check")[:4]


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys that a process has; the first encrypts."""

    keys: tuple[Key, ...]

    @property
    def first(self) -> Key:
        """Return the key that encrypts."""
        return self.keys[0]

    @property
    def names(self) -> tuple[str, ...]:
        """What tells whether two processes have the same keys, and nothing about them."""
        return tuple(f"{key.id}:{key.check.hex()}" for key in self.keys)

    def find(self, key_id: str, check: bytes) -> Key | None:
        """Return the key of that name, where it is the same one."""
        return next((key for key in self.keys if key.id == key_id and hmac.compare_digest(key.check, check)), None)


def read_keys() -> KeyRing | None:
    """Return the keys that the environment, `.env`, or the file that one of them names, give; `None` without any.

    Raises:
        Misconfigured: They cannot be read; or both a list and a file are given; or `cryptography` is not installed.
    """
    environment: Mapping[str, str] = read_dotenv() | dict(os.environ)
    given, file = (environment.get(name, "").strip() for name in (VARIABLE, FILE_VARIABLE))
    if given and file:
        raise Misconfigured(f"{VARIABLE} and {FILE_VARIABLE} are both set: take one of them away")
    if file:
        return parse_keys(_read(file), source=FILE_VARIABLE)
    return parse_keys(given) if given else None


def parse_keys(text: str, *, source: str = VARIABLE) -> KeyRing:
    """Return the keys of a list, `id:base64,…`; in a file each may stand on a line of its own.

    Args:
        text: The list.
        source: The setting that it came from, for messages.

    Raises:
        Misconfigured: It is none.
    """
    _need_cryptography(source)
    listed = [part.strip() for part in re.split(r"[,\n]", text) if part.strip()]
    if not listed:
        raise Misconfigured(f"{source} holds no key. {_FORM}")
    keys = tuple(_parsed(part, f"{source}: key {place}") for place, part in enumerate(listed, 1))
    for place, key in enumerate(keys, 1):
        if any(key.id == other.id or key.material == other.material for other in keys[: place - 1]):
            raise Misconfigured(f"{source}: key {place} is there twice, or has the ID of another")
    return KeyRing(keys)


def _parsed(part: str, place: str) -> Key:
    key_id, colon, encoded = part.partition(":")
    if not colon or not _ID.fullmatch(key_id.strip()):
        raise Misconfigured(f"{place} does not begin with an ID and a colon. {_FORM}")
    try:
        material = base64.b64decode(encoded.strip().translate(str.maketrans("-_", "+/")), validate=True)
    except ValueError:
        raise Misconfigured(f"{place} is not base64. {_FORM}") from None
    if len(material) != BYTES:
        raise Misconfigured(f"{place} has {len(material)} bytes instead of {BYTES}. {_FORM}")
    return Key(key_id.strip(), material)


def _read(file: str) -> str:
    try:
        return Path(file).read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Misconfigured(f"{FILE_VARIABLE}: the file {file} cannot be read: {reason}") from None


def _need_cryptography(source: str) -> None:
    if find_spec("cryptography") is None:
        raise Misconfigured(
            f"{source} is set, and the package `cryptography` is not installed. Run: pip install 'inturn[encryption]'"
        )


@lru_cache(maxsize=4096)
def _derived(material: bytes, purpose: tuple[str, ...]) -> bytes:
    named = b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in ("inturn", *purpose))
    return hmac.digest(material, named, hashlib.sha256)

"""API keys: a file of their hashes.

Invariant: a key is shown once, when it is made; the file holds its SHA-256 (a key has 256 random bits, which no slow
hash makes safer). What cannot be read lets nobody in.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inturn.errors import Misconfigured
from inturn.keys import ID_PATTERN
from inturn_gateway import bounds
from inturn_gateway.auth.caller import Caller, Scope

_PREFIX: Final = "ik_"
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"


class Key(BaseModel):
    """A key, without what is secret of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^ik_[a-z0-9]{8}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    tenant: str = Field(pattern=f"^{ID_PATTERN}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    agent: str | None = Field(default=None, pattern=f"^{ID_PATTERN}$")
    prefix: str = Field(default="", max_length=128)
    name: str = Field(default="", max_length=128)
    created_at: float = 0
    expires_at: float | None = None

    def caller(self) -> Caller:
        """Return who has it."""
        return Caller(self.tenant, f"key:{self.id}", frozenset(self.scopes), self.agent, self.prefix, self.expires_at)


class KeyList(BaseModel):
    """The file's content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what a file holds.

        Raises:
            Misconfigured: It cannot be read, or holds something else.
        """
        try:
            if path.stat().st_size > bounds.KEY_FILE:
                raise Misconfigured(f"the file of keys {path} has more than {bounds.KEY_FILE:,} bytes")
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise Misconfigured(f"the file of keys {path} cannot be read: {error.strerror}") from error
        except ValidationError as error:  # its text would show what is in the file
            raise Misconfigured(
                f"the file of keys {path} is not one that `inturn keys create` writes: "
                f"{error.error_count()} mistakes, first at {error.errors(include_input=False)[0]['loc']}"
            ) from None


def made(
    tenant: str,
    scopes: tuple[Scope, ...],
    *,
    agent: str | None = None,
    prefix: str = "",
    name: str = "",
    expires_at: float | None = None,
) -> tuple[str, Key]:
    """Return a new key as it is shown, and what is kept of it.

    Raises:
        Misconfigured: A field breaks its rule.
    """
    key_id = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(8))
    shown = f"{key_id}_{secrets.token_urlsafe(32)}"
    try:
        key = Key(
            id=key_id,
            sha256=_hash(shown),
            tenant=tenant,
            scopes=scopes,
            agent=agent,
            prefix=prefix,
            name=name,
            created_at=time.time(),
            expires_at=expires_at,
        )
    except ValidationError as error:
        wrong = "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors(include_input=False))
        raise Misconfigured(f"no key can be made: {wrong}") from error
    return shown, key


@contextmanager
def edited(path: Path) -> Iterator[list[Key]]:
    """Give a file's keys to be changed, and write them when the block ends: whole or not at all, one editor at a time.

    Raises:
        Misconfigured: It cannot be read or written.
    """
    try:
        with open(path.with_name(path.name + ".lock"), "a+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = list(KeyList.read(path).keys) if path.exists() else []
            yield keys
            _written(path, keys)
    except OSError as error:
        raise Misconfigured(f"the file of keys {path} cannot be written: {error.strerror}") from error


def _written(path: Path, keys: list[Key]) -> None:
    document = {"keys": [key.model_dump(mode="json") for key in keys]}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


@dataclass
class KeyFile:
    """The keys of a file, read again when it changes.

    Attributes:
        path: Where it is.
        clock: Seconds since 1970.
    """

    path: Path
    clock: Callable[[], float] = time.time
    _seen: tuple[int, int, int] | None = field(default=None, init=False)
    _keys: dict[str, Key] = field(default_factory=dict, init=False)

    def caller(self, shown: str) -> Caller | None:
        """Return who has a key; `None`: nobody.

        Raises:
            Misconfigured: The file cannot be read (any more).
        """
        self.refresh()
        key = self._keys.get(shown[: len(_PREFIX) + 8])
        if key is None or not hmac.compare_digest(key.sha256, _hash(shown)):
            return None
        return key.caller() if key.expires_at is None or self.clock() < key.expires_at else None

    def refresh(self) -> None:
        """Read the file, if it is another one than before.

        Raises:
            Misconfigured: It cannot be read.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            self._seen = None
            raise Misconfigured(f"the file of keys {self.path} cannot be read: {error.strerror}") from error
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen != self._seen:
            self._seen = None
            self._keys = {key.id: key for key in KeyList.read(self.path).keys}
            self._seen = seen


def _hash(shown: str) -> str:
    return hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()

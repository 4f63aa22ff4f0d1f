"""Credentials that the worker processes of one machine share.

Invariant: only the owner can read a credential's file, whoever holds its lock is alone with it on this machine, and
the lock is gone with its holder, however that one dies. Nothing goes into the journal: it is kept for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from inturn.errors import InturnError

POLL: Final = 0.02
"""Seconds between two tries for a lock that another process holds."""


class Slot:
    """One credential's file, while its lock is held."""

    def __init__(self, path: Path) -> None:
        """Stand for a file."""
        self._path = path

    def read(self) -> dict[str, Any] | None:
        """Return what is kept; `None` where there is nothing, or nothing that can be read."""
        try:
            kept = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        return kept if isinstance(kept, dict) and "value" in kept else None

    def write(self, kept: dict[str, Any]) -> None:
        """Keep it, as a whole and durably."""
        staged = self._path.with_suffix(".new")
        with contextlib.suppress(FileNotFoundError):
            staged.unlink()
        fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "w") as file:
            json.dump(kept, file)
            file.flush()
            os.fsync(fd)
        os.replace(staged, self._path)


class CredentialStore:
    """A directory with a file per credential, for `Credentials(store=…)`."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Use a directory of one's own: it is made with mode 0700. Not for a directory on several machines."""
        self._directory = Path(directory)

    @asynccontextmanager
    async def alone(self, key: tuple[str | None, str]) -> AsyncGenerator[Slot, None]:
        """Have a credential alone, after waiting for whoever has it.

        Raises:
            InturnError: Others may write into the directory.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = self._directory.stat()
        if about.st_uid != os.getuid() or about.st_mode & 0o077:
            raise InturnError(f"the credential store {self._directory} must belong to this user alone: chmod 700")
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
        fd = os.open(self._directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _locked(fd):  # noqa: ASYNC110 - it is another process that lets go
                await asyncio.sleep(POLL)
            yield Slot(self._directory / f"{name}.json")
        finally:
            os.close(fd)  # and with it the lock


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""`.inturn/`: what `inturn dev` keeps from one start to the next, for one directory.

Invariant: at most one `inturn dev` holds it, by a lock that ends with its process; git never sees what is in it.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from inturn.cli.dev_environment import DIRECTORY, ENVIRONMENT, LOCK
from inturn.errors import Misconfigured

_KEPT: Final = ("temporal.db*", "journal.sqlite*")
_LOCK_WITHIN: Final = 0.5
"""Seconds to try: other commands hold the lock for a moment to see whether somebody else does."""


class StateDirectory:
    """The directory, made where it is not there."""

    def __init__(self, parent: Path) -> None:
        self.path = parent / DIRECTORY
        self.log = self.path / "dev.jsonl"
        self.temporal = self.path / "temporal.db"
        try:
            self.path.mkdir(exist_ok=True)
            (self.path / ".gitignore").write_text("*\n")
            self._file = (self.path / LOCK).open("a")
        except OSError as error:
            raise Misconfigured(
                f"{self.path} cannot be written ({error.strerror}): the server and the journal keep their state in it. "
                f"Run `inturn dev` in a directory of your own"
            ) from error

    @property
    def journal(self) -> str:
        """The journal's URL, relative to the working directory."""
        return f"sqlite:///{DIRECTORY / 'journal.sqlite'}"

    def acquire(self) -> bool:
        """Take the directory for this process; returns whether it was free."""
        until = time.monotonic() + _LOCK_WITHIN
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    return False
                time.sleep(0.05)
            else:
                return True

    def forget(self) -> None:
        """Remove every session's state."""
        for pattern in _KEPT:
            for path in self.path.glob(pattern):
                path.unlink()

    def publish(self, environment: Mapping[str, str]) -> None:
        """Write down where server and journal are, for other commands in the directory while this process lives."""
        text = "".join(f"{name}={value}\n" for name, value in environment.items())
        (self.path / ENVIRONMENT).write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Release the directory."""
        (self.path / ENVIRONMENT).unlink(missing_ok=True)
        self._file.close()

"""The directory of `inturn dev`, and what other commands in the same directory learn from it.

Invariant: only a running `inturn dev` counts. It holds the lock; what one left behind that was killed is not read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(".inturn")
LOCK: Final = "lock"
ENVIRONMENT: Final = "env"


def load_dev_environment() -> None:
    """Put the server and journal of the `inturn dev` that runs here into the environment; what is set stays.

    Where another server is set, nothing of this one is: a server's address and its TLS belong together.
    """
    if not (DIRECTORY / ENVIRONMENT).is_file() or not is_running(DIRECTORY):
        return
    elsewhere = "TEMPORAL_ADDRESS" in os.environ
    for line in (DIRECTORY / ENVIRONMENT).read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if not (elsewhere and name.startswith("TEMPORAL_")):
            os.environ.setdefault(name, value)


def is_running(directory: Path) -> bool:
    """Return whether an `inturn dev` holds the directory."""
    import fcntl

    try:
        with (directory / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False

"""The directory of `inturn dev`, and what other commands in the same directory learn from it.

Invariant: only a running `inturn dev` counts. It holds the lock; what one left behind that was killed is not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(".inturn")
LOCK: Final = "lock"
ENVIRONMENT: Final = "env"


def load_dev_environment() -> None:
    """Put the server and journal of the `inturn dev` that runs here into the environment; what is set stays."""
    if not (DIRECTORY / ENVIRONMENT).is_file() or not is_running(DIRECTORY):
        return
    from dotenv import load_dotenv

    load_dotenv(DIRECTORY / ENVIRONMENT)


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

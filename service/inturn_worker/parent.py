"""Children that end with their parent, however that ends."""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import Final

_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux only); a `preexec_fn`."""
    if _libc is not None:
        _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)


def stop_with_parent() -> None:
    """Have the kernel send SIGTERM instead, for a process that has to end others (Linux only); a `preexec_fn`."""
    if _libc is not None:
        _libc.prctl(_SET_PDEATHSIG, signal.SIGTERM)

"""What takes long, shown on standard error: one line that changes on a terminal, a line now and then elsewhere.

Invariant: work that is over at once leaves no line.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final

_QUIET: Final = 1.0
"""Seconds of work before the first line."""
_EVERY: Final = 15.0
"""Seconds between two lines where they cannot change in place."""


class Progress:
    """One long work; `show` is called often while it runs."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = time.monotonic()
        self._next = self._began + _QUIET
        self._in_place = False

    def show(self, detail: str = "") -> None:
        """Show how long it has taken, and `detail`."""
        now = time.monotonic()
        if now < self._next:
            return
        line = ", ".join(filter(None, (f"{self._what}: {now - self._began:.0f} s", detail)))
        self._in_place = sys.stderr.isatty()
        if self._in_place:
            print(f"\r\x1b[Ktemporal: {line}", end="", file=sys.stderr, flush=True)
        else:
            say(line)
        self._next = now + (_QUIET if self._in_place else _EVERY)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._in_place:
            print(file=sys.stderr, flush=True)


def say(words: str) -> None:
    """Print a line of the Temporal CLI's set-up on standard error."""
    print(f"temporal: {words}", file=sys.stderr, flush=True)

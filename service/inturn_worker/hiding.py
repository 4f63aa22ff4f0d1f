"""What a worker's log leaves out where there are keys: what a user or a model said.

Invariant: an error is shown by its types and places and never by its text: not in its trace, not in a message that
quotes it, and not by what would write past the log, threads and finalizers.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any, Final

logger = logging.getLogger("inturn.worker")

_SHORT: Final = 4
"""Characters of an error's text that is looked for in a message: a shorter one stands everywhere."""
_HEADING: Final = re.compile(r"[\w .]*")
"""asyncio's messages go on with tasks and callbacks, and what these were called with."""
_WARNING: Final = re.compile(r".*?:\d+: \w+")
"""Where a warning is from, and of which kind; what it says may be a value."""


def message(record: logging.LogRecord) -> str:
    """Return what a record says, without what may quote somebody."""
    if record.name == "asyncio":
        return _start(_HEADING, record.getMessage())
    if record.name == "py.warnings":
        return _start(_WARNING, record.getMessage())
    if not (record.exc_info or getattr(record, "quotes", False)):
        said = record.getMessage()
        # Temporal's SDK fills some in by itself.
        return _cut(said, sys.exception()) if record.name.startswith("temporalio") else said
    return _cut(str(record.msg), record.exc_info[1] if record.exc_info else None)


def trace(error: BaseException | None) -> str:
    """Return an error's trace by types and places."""
    lines = list[str]()
    for each in _chain(error):
        lines = [*traceback.format_tb(each.__traceback__), f"{type(each).__name__}\n", *lines]
    return "".join(lines).rstrip()


def log_uncaught() -> None:
    """Log what threads and finalizers raise, which Python would print with its text."""

    def of_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            _log("an error of a thread that nobody took", args)

    threading.excepthook = of_thread
    sys.unraisablehook = lambda args: _log("an error of what is cleared away", args)


def _log(what: str, args: Any) -> None:
    error = (args.exc_type, args.exc_value, args.exc_traceback)
    logger.error(what, exc_info=error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came of, each once: who raises one from what it led to makes a circle."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _cut(said: str, error: BaseException | None) -> str:
    for each in _chain(error):
        for text in (repr, str):
            try:
                quoted = text(each)
            except Exception:  # users' code: then nobody could quote it either
                continue
            if len(quoted) >= _SHORT and quoted in said:
                said = said.partition(quoted)[0] + type(each).__name__
    return said


def _start(pattern: re.Pattern[str], said: str) -> str:
    found = pattern.match(said)
    return found[0] if found else ""

"""What `inturn dev` prints: each line under the name of whose it is, or as one JSON object per line.

Invariant: whatever is printed is recorded too, so that a second `inturn dev` in the directory shows the same.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from inturn.terminal import clean

_COLOURS: Final = {"dev": "1;35", "server": "34", "worker": "32"}
LINE: Final = "line"
"""The event of what a process printed by itself."""


class Output:
    """Prints events on standard output, and records them in a file."""

    def __init__(self, *, as_json: bool, record: Path | None = None) -> None:
        self._json = as_json
        self._closed = False
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._record = record.open("w", encoding="utf-8") if record else None
        if isinstance(sys.stdout, io.TextIOWrapper):  # what a terminal cannot show ends nothing
            sys.stdout.reconfigure(errors="backslashreplace")

    def say(self, text: str, *, event: str = "note", source: str = "dev", **fields: Any) -> None:
        """Print and record one event.

        Args:
            text: For people; may have several lines.
            event: What happened, for tools.
            source: Whose it is: `dev`, `server` or `worker`.
            fields: More for tools.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.show({"at": at, "from": source, "event": event, "text": text, **fields})

    def line(self, source: str, text: str) -> None:
        """Print and record a line of a process."""
        self.say(text, event=LINE, source=source)

    def show(self, event: Mapping[str, Any]) -> None:
        """Print and record an event that was made before."""
        raw = json.dumps(event)  # in ASCII: it goes through any locale, and so does half a surrogate pair
        if self._record:
            with suppress(OSError):  # a full disk is told of by those that need it
                print(raw, file=self._record, flush=True)
        if not self._closed:
            try:
                print(raw if self._json else self._rendered(event), flush=True)
            except OSError:  # the reader (`head`, a pager) has seen enough, or the terminal is gone: end in good order
                self._closed = True
                signal.raise_signal(signal.SIGTERM)

    def close(self) -> None:
        """Close the record."""
        if self._record:
            self._record.close()
            self._record = None

    def _rendered(self, event: Mapping[str, Any]) -> str:
        prefix = self._prefix(str(event["from"]))
        return "\n".join(f"{prefix} {clean(line)}" for line in str(event["text"]).splitlines())

    def _prefix(self, source: str) -> str:
        name = f"{source:<6} |"
        return f"\x1b[{_COLOURS.get(source, '0')}m{name}\x1b[0m" if self._coloured else name

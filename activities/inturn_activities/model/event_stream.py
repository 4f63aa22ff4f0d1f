"""The events of a stream (`text/event-stream`), out of bytes as they come.

Invariant: how the bytes are cut into chunks changes nothing, and no event outgrows its bound. What the stream ends in
the middle of is no event.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from inturn import sizes

_BOM: Final = b"\xef\xbb\xbf"


class TooLarge(ValueError):
    """An event is larger than any of the API's."""


class EventStream:
    """The data of one stream's events. What the API names its events by (`event:`) stands in their data, too."""

    def __init__(self, *, most: int = sizes.STREAM_EVENT) -> None:
        """Begin a stream; `most`: the bytes that an event may have, in all of its lines."""
        self._most = most
        self._size = 0
        self._data: list[bytes] = []
        self._line: list[bytes] = []
        self._after_cr = False
        self._begun = False

    def take(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes; yield the data of each event that they complete.

        Raises:
            TooLarge: An event has no end within its bound.
        """
        if not chunk:
            return
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")  # the other half of a CRLF
        self._after_cr = chunk.endswith(b"\r")
        for line in chunk.splitlines(keepends=True):  # of bytes: at CRLF, CR and LF alone
            part = line.rstrip(b"\r\n")
            self._size += len(part)
            if self._size > self._most:
                raise TooLarge(f"more than {self._most} bytes without an end")
            if len(part) == len(line):
                self._line.append(part)
            elif data := self._ended(part):
                yield data

    def _ended(self, part: bytes) -> bytes:
        """Take the end of a line; return the data of the event that it ends, where there is any."""
        line = b"".join([*self._line, part]) if self._line else part
        self._line = []
        if not self._begun:
            self._begun, line = True, line.removeprefix(_BOM)
        if not line:
            data, self._data, self._size = self._data, [], 0
            return b"\n".join(data)
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        return b""

"""What one attempt's model says, on its way to those who look at it.

Invariant: text is kept in the order in which it came, in rows that a journal takes; a character whose halves come in
two pieces is one. Nothing that a model calls it with, from whichever thread, can make an answer fail, and while nobody
looks a piece costs an append to a list.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import groupby
from typing import Any, Final

from inturn import sizes
from inturn.journal import Claim, NewDelta
from inturn.journal.log import codec
from inturn.keys import StepKey
from inturn.models import DeltaKind

Piece = tuple[int, str, str]
"""A content block, what it is, and some of it."""

_CODES: Final = {"text": "t", "thinking": "k", "input": "j"}
_NAME: Final = "n"
_COMPACTS: Final = "c"
_BLOCKS: Final = 2**31


class Pen:
    """The preview of one attempt.

    Attributes:
        live: Whether what is written is published now.
        published: Whether anything was.
    """

    def __init__(self, step: StepKey, claim: Claim, *, live: bool, ready: Callable[[], None]) -> None:
        """Begin; `ready` is called, from whichever thread, when there is something to publish."""
        self.step = step
        self.fence = claim.fence
        self.live = live
        self.published = False
        self._token = claim.token
        self._ready = ready
        self._asked = False
        self._over = False
        self._index = 0
        self._rows: list[list[Piece]] = []
        self._last: list[Piece] = []
        self._size = 0
        self._sum = 0
        self._calls: set[int] = set()
        self._texts: list[str] = []
        self._kept = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Note that the model is asked; asked once more, what it says then is another answer, and is not shown."""
        if self._asked and self._sum:
            self.give_up()
        self._asked, self._texts, self._kept = True, [], 0

    def add(self, block: int, kind: DeltaKind, text: str) -> None:
        """Write a piece; some models do so from a thread."""
        if not _is_piece(block, kind, text):
            return
        with self._lock:
            self._add(block, kind, text)

    def _add(self, block: int, kind: DeltaKind, text: str) -> None:
        if kind == "text" and self._kept < sizes.PARTIAL:
            self._texts.append(text)
            self._kept += len(text)
        if self._over:
            return
        code = _CODES[kind]
        if code == "j" and block not in self._calls:
            self._calls.add(block)
            code = _NAME
        self._last.append((block, code, text))
        self._size += len(text)
        self._sum += len(text)
        if self._sum > sizes.STREAMED:
            return self.give_up()
        if self._size >= sizes.DELTAS:
            self._pack()
        if self.live:
            self._ready()

    def compacts(self) -> None:
        """Tell that the conversation is summarised before the model answers: it takes a while."""
        with self._lock:
            if self._over:
                return
            self._last.append((0, _COMPACTS, "…"))
            self._size += 1
            if self.live:
                self._ready()

    @property
    def said(self) -> str:
        """The text that it has written, or its beginning."""
        return codec.whole("".join(self._texts)[: sizes.PARTIAL])

    def take(self, most: int) -> list[NewDelta]:
        """Return the next rows to publish."""
        with self._lock:
            self._pack()
            if not self._rows or self._over:
                return []
            rows, self._rows = self._rows[:most], self._rows[most:]
        said: list[Any] = [*([self._header()] if self._index == 0 else []), *rows]
        made = [NewDelta(self.step, self._token, self.fence, self._index + n, one) for n, one in enumerate(said)]
        self._index += len(made)
        self.published = True
        return made

    def give_up(self) -> None:
        """Publish nothing more: what comes would stand behind a hole."""
        self._over = True
        self._rows, self._last = [], []

    def _header(self) -> dict[str, str]:
        return {"event": self.step.turn.event_id, "step": self.step.step}

    def _pack(self) -> None:
        """Make rows of the last pieces; half of a character waits for the other one."""
        pieces, self._last, self._size = self._last, [], 0
        if pieces and "\ud800" <= pieces[-1][2][-1] <= "\udbff":
            block, code, text = pieces.pop()
            pieces.append((block, code, text[:-1]))
            self._last = [(block, code, text[-1])]
        row, room = list[Piece](), sizes.DELTAS
        for (block, code), some in groupby(pieces, key=lambda piece: piece[:2]):
            text, at = codec.whole("".join(piece[2] for piece in some)), 0
            while part := text[at : at + room]:
                row.append((block, code, part))
                at, room = at + len(part), room - len(part)
                if not room:
                    self._rows.append(row)
                    row, room = [], sizes.DELTAS
        self._rows += [row] if row else []


def _is_piece(block: object, kind: object, text: object) -> bool:
    """Return whether a model called with what the port asks for: it is users' code."""
    said = isinstance(kind, str) and kind in _CODES and isinstance(text, str) and bool(text)
    return said and type(block) is int and 0 <= block < _BLOCKS

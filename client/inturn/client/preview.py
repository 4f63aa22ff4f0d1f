"""An answer as it comes, out of the rows that its attempts publish.

Invariant: what is shown is one attempt's, from its beginning and without a hole, and never what an entry holds already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from inturn.journal.values import BEGINNING, DeltaPlace, DeltaRow
from inturn.values import Delta, DeltaKind, Entry

_KINDS: Final[dict[str, DeltaKind]] = {"t": "text", "k": "thinking", "n": "input", "j": "input", "c": "compacting"}


class Preview:
    """What is shown of answers, of one event's or of all.

    Attributes:
        place: Behind which rows are new to it.
    """

    def __init__(self, event_id: str | None) -> None:
        """Show this event's; `None`: every one's."""
        self.place: DeltaPlace = BEGINNING
        self._wanted = event_id
        self._recorded = 0
        self._of: tuple[str, str] | None = None
        self._pieces = 0

    def note(self, entry: Entry, *, upto: int | None = None) -> None:
        """Note an entry that its reader has: what an answer's attempts said is not shown any more."""
        if entry.type == "agent.message" and (upto is None or entry.seq <= upto):
            self._recorded = max(self._recorded, int(entry.body.get("attempt") or 0))

    def shown(self, row: DeltaRow) -> Iterator[Delta]:
        """Yield what the next row says; nothing where it is another event's, an entry's, or behind a hole.

        One that says nothing which this version knows is a hole.
        """
        follows, self.place = self.place == (row.fence, row.index - 1), (row.fence, row.index)
        if row.fence <= self._recorded:
            return
        if row.index == 0:
            self._of, self._pieces = self._header(row.said), 0
            if self._of:
                yield self._delta(row.fence, "start", 0, "")
        elif self._of and follows and isinstance(row.said, list) and all(map(_is_piece, row.said)):
            for block, kind, text in row.said:
                if kind in _KINDS:  # others are a newer worker's
                    yield self._delta(row.fence, _KINDS[kind], block, text)
        else:
            self._of = None

    def _header(self, said: Any) -> tuple[str, str] | None:
        """Return of which event and step an attempt is; `None`: of none that is wanted."""
        if not isinstance(said, dict):
            return None
        event, step = str(said.get("event")), str(said.get("step"))
        return (event, step) if self._wanted in (None, event) else None

    def _delta(self, fence: int, kind: DeltaKind, block: int, text: str) -> Delta:
        assert self._of is not None
        index, self._pieces = self._pieces, self._pieces + 1
        event, step = self._of
        return Delta(event_id=event, step=step, attempt=fence, index=index, kind=kind, block=block, text=text)


def _is_piece(piece: Any) -> bool:
    if not isinstance(piece, list) or len(piece) != 3:
        return False
    return isinstance(piece[0], int) and isinstance(piece[1], str) and isinstance(piece[2], str)

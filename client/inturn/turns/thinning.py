"""Pictures and documents of which a conversation has shown more than a request takes: the oldest are left out.

Invariant: what is left out is written down before a request relies on it, so every worker leaves out the same; and it
is so much at once that the requests after it leave what is kept unchanged. What is new is never left out here: an event
that shows too much by itself is its own failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from inturn.journal.views.doubts import Place, doubt, is_shown
from inturn.journal.views.requests import Message
from inturn.journal.views.transcript import Transcript
from inturn.sizes import SHOWN
from inturn.turns import tokens
from inturn.turns.blocks import Block, inside
from inturn.turns.pictures import length

_WHY: Final = "the conversation shows more than a request takes: the oldest pictures and documents were left out"


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown: how many pictures and pages, and their bytes in a request."""

    count: int = 0
    size: int = 0

    def __add__(self, other: Shown) -> Shown:
        """Return both together."""
        return Shown(self.count + other.count, self.size + other.size)

    def __sub__(self, other: Shown) -> Shown:
        """Return what is left without the other."""
        return Shown(self.count - other.count, self.size - other.size)

    def fits(self, most: int, part: int = 1) -> bool:
        """Return whether a request takes it that takes so many; `part`: whether that many times of it fit."""
        return self.count * part <= most and self.size * part <= SHOWN


def thinned(transcript: Transcript, messages: Iterable[Message], most: int) -> dict[str, Any] | None:
    """Return the body of the entry that leaves out the oldest of what is shown; `None`: there is room.

    Args:
        transcript: The conversation.
        messages: The request that is to be made of it.
        most: How many pictures and pages that takes.
    """
    blocks = [block for message in messages if message["role"] == "user" for block in message["content"]]
    everything = _sum(blocks)
    if everything.fits(most):
        return None
    said = [(block, place) for block, place in transcript.committed.said() if is_shown(block)]
    kept = _sum(block for block, _ in said)
    new, left_out = everything - kept, list[Place]()
    if not new.fits(most):  # who sends that takes nothing from the conversation
        return None
    # What fits into no request goes before what is old.
    for block, place in sorted(said, key=lambda each: _shown(each[0]).fits(most)):
        if kept.fits(most, 2) and (kept + new).fits(most):
            break
        kept -= _shown(block)
        left_out.append(place)
    return doubt(left_out, _WHY) | {"shown": True} if left_out else None


def _sum(blocks: Iterable[Block]) -> Shown:
    return sum((_shown(block) for block in blocks if is_shown(block)), Shown())


def _shown(block: Block) -> Shown:
    if block["type"] not in ("image", "document"):
        held = [item for item in inside(block) if isinstance(item, dict)]
        return sum(map(_shown, held), Shown())
    return Shown(tokens.pages_of(block) if block["type"] == "document" else 1, length(block))

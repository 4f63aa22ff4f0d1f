"""How large a conversation is, without counting all of it again for each of its turns.

Invariant: the size is that of the messages as JSON, to the byte; what they show counts by its tokens. A conversation
whose last request is remembered costs what is new of it, which keeps a session's thousandth turn as cheap as its first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from inturn.turns import tokens

REMEMBERED: Final = 256
BYTES: Final = 4
"""That count as one token."""
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Start:
    """The messages up to an answer: what comes later stands behind them."""

    first: Message
    last: Message
    count: int
    size: int

    def begins(self, messages: Sequence[Message]) -> bool:
        """Return whether these are the first messages. Those in between are then the same, too: messages are shared."""
        return self.count <= len(messages) and messages[0] is self.first and messages[self.count - 1] is self.last


class Sizes:
    """Sizes of conversations; those asked for least recently are forgotten."""

    def __init__(self) -> None:
        """Begin without any."""
        self._starts: OrderedDict[int, _Start] = OrderedDict()

    def of(self, messages: Sequence[Message]) -> int:
        """Return the bytes of messages as a JSON list."""
        if not messages:
            return 2
        start = self._starts.pop(id(messages[0]), None)
        if start is None or not start.begins(messages):
            start = _Start(messages[0], messages[0], 1, _size(messages[0]))
        upto = next((n for n in range(len(messages), start.count, -1) if _is_answer(messages[n - 1])), start.count)
        size = start.size + sum(map(_size, messages[start.count : upto]))
        self._remember(_Start(messages[0], messages[upto - 1], upto, size))
        return size + sum(map(_size, messages[upto:])) + len(messages) + 1  # brackets and commas

    def _remember(self, start: _Start) -> None:
        self._starts[id(start.first)] = start
        while len(self._starts) > REMEMBERED:
            self._starts.popitem(last=False)


def _is_answer(message: Message) -> bool:
    return message.get("role") == "assistant"


def _size(message: Message) -> int:
    said, shown = tokens.sizes(message)
    return said + BYTES * shown

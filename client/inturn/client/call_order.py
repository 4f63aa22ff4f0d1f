"""What one handle's calls follow.

Invariant: what one handle sends is taken in the order of its calls, in a session that an operator reset, too. There all
signals come before all updates, so a signal names the update that its handle made last before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from inturn import names
from inturn.client.temporal.transport import Message


@dataclass
class CallOrder:
    """The order of one handle's calls."""

    _update: str | None = None

    def updates(self, key: str) -> None:
        """Note that an event or control goes as an update."""
        self._update = key

    def signalled(self, message: Message) -> Message:
        """Return a message that goes as a signal, with what it follows: nothing where all came so."""
        return message if self._update is None else {**message, names.AFTER: self._update}

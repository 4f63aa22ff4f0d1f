"""What only the server itself can know of a conversation.

Invariant: a request is judged by itself and by this; each memory says which later requests it lets pass or refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Memory:
    """What the server did before.

    Attributes:
        invented: Ids of calls that it made of tools that were not declared.
        paused: Digests of conversations that it paused: they may end with the assistant, and with open calls.
        refused: Conversations that a model refused, by digest: it refuses every one that still begins so.
        gone: Addresses behind which there is nothing any more.
        containers: Ids of the containers in which it ran code, but for those that are gone.
        withdrawn: Betas that there are no more.
        messages: Message id → what its request looked like, for diagnostics of the cache.
    """

    invented: set[str] = field(default_factory=set)
    paused: set[bytes] = field(default_factory=set)
    refused: set[tuple[str, bytes]] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    containers: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def lose(self, things: Iterable[str]) -> None:
        """Let there be nothing behind these addresses any more, and these containers be gone."""
        lost = set(things)
        self.gone |= lost
        self.containers -= lost

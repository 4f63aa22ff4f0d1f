"""What only the server itself can know of a conversation.

Invariant: a request is judged by itself and by this; each memory says which later requests it lets pass or refuses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Memory:
    """What the server did before.

    Attributes:
        invented: Ids of calls that it made of tools that were not declared.
        paused: Digests of conversations that it paused: they may end with the assistant, and with open calls.
        refused: Digests of conversations that it refused: it refuses every one that still begins so.
        gone: Addresses behind which there is nothing any more.
        messages: Message id → what its request looked like, for diagnostics of the cache.
    """

    invented: set[str] = field(default_factory=set)
    paused: set[bytes] = field(default_factory=set)
    refused: set[bytes] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)

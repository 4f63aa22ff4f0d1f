"""What an answer's request left in the model's cache of prompts.

Invariant: careful: where it may be gone by right (its time is over, another model is asked) nothing is expected of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from inturn.values import Entry

_LIVES: Final = 270.0
"""Seconds: of the five minutes that the API keeps a prompt, with some for the way."""
_SLOW: Final = 30.0
"""Tokens of an answer in a second, at least: its request had come before it by as long as it took."""
_FOUND: Final = 0.95
"""A request that reads this part of what it should is none that missed."""


@dataclass(frozen=True, slots=True)
class Cached:
    """The prompt of an answer, in the cache.

    Attributes:
        id: The answer's.
        model: Whose cache it is.
        tokens: How many of the prompt's are in it.
        until: Until when it is there for sure, in seconds since 1970.
    """

    id: str | None
    model: str
    tokens: int
    until: float

    @classmethod
    def of(cls, answer: Entry) -> Cached:
        """Return what an answer's request left, as far as its entry tells."""
        body = answer.body
        told: dict[str, Any] = body.get("raw_usage") or {}
        counts = (told.get("cache_read_input_tokens"), told.get("cache_creation_input_tokens"))
        tokens = sum(count for count in counts if isinstance(count, int)) if not body.get("without") else 0
        took = (told.get("output_tokens") or 0) / _SLOW
        message_id = body.get("id")
        return cls(
            message_id if isinstance(message_id, str) else None,
            str(body.get("asked", body.get("model"))),
            tokens,
            answer.at.timestamp() + _LIVES - took,
        )

    def missed(self, model: str, read: int, *, now: float) -> bool:
        """Return whether a request that begins with this prompt should have found it, and did not."""
        return model == self.model and now < self.until and read < self.tokens * _FOUND

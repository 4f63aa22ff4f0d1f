"""A request as the rules read it.

Consecutive messages of one role are one turn to the API, so all rules about neighbours look at merged turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inturn.models.facts import ModelFacts
from inturn.testing.claude.memory import Memory
from inturn.testing.claude.prefix import Block, Position, blocks_of

Body = dict[str, Any]


@dataclass(slots=True)
class Turn:
    """Messages of one role in a row. `at` is the first one's index."""

    role: str
    at: int
    blocks: list[Block]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its body, what holds for its model, its turns, its line of blocks, what the server remembers."""

    body: Body
    facts: ModelFacts
    turns: Sequence[Turn]
    line: Sequence[Position]
    memory: Memory

    @property
    def paused(self) -> bool:
        """Whether the server itself paused this conversation here."""
        return bool(self.line) and self.line[-1].digest in self.memory.paused


def merged(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Merge messages of one role that stand in a row."""
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        if turns and turns[-1].role == message["role"]:
            turns[-1].blocks.extend(blocks_of(message["content"]))
        else:
            turns.append(Turn(message["role"], index, list(blocks_of(message["content"]))))
    return turns

"""What a compaction is taken back to.

Invariant: a value; nothing of it changes behind the transcript's back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inturn.journal.views.conversation import CallIds, Conversation
from inturn.values import Entry


@dataclass(frozen=True, slots=True)
class Undo:
    """What stood before a compaction that took up results of a running turn.

    Attributes:
        events: Whose end takes the compaction back.
        taken: The entries that it took up.
    """

    events: frozenset[str]
    before: Conversation
    taken: Sequence[Entry]
    manifest: dict[str, Any] | None
    manifest_hash: str | None
    call_ids: CallIds
    since: int

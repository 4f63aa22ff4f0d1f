"""Transcripts in memory.

Invariant: a cached transcript is a view of the journal and nothing else; dropping any of them changes no answer. One
per session, all of them together bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from inturn.journal import Journal
from inturn.journal.views.compactions import base_of
from inturn.journal.views.transcript import LASTING, TYPES, Transcript
from inturn.keys import SessionKey
from inturn.values import Entry

LONG: Final = 1_000
"""Entries of a log from which on a compaction is looked for before it is read."""
MANIFESTS: Final = 64
"""Different ones that sessions share; agents of one worker rarely have more."""


@dataclass(slots=True)
class _Cached:
    """A transcript, the seq up to which the journal was read for it, and its estimated bytes."""

    transcript: Transcript = field(default_factory=Transcript)
    upto: int = 0
    size: int = 0
    counted: int = 0
    """Of these bytes, those in the sum over all."""


class Transcripts:
    """The least recently used go first."""

    def __init__(self, journal: Journal, *, sessions: int, size: int, long: int = LONG) -> None:
        """Keep so many, of so many bytes together; of a session with a `long` log read what matters of it."""
        self._long = long
        self._journal = journal
        self._sessions = sessions
        self._size = size
        self._bytes = 0
        self._kept: OrderedDict[SessionKey, _Cached] = OrderedDict()
        self._manifests: dict[str, dict[str, Any]] = {}

    def known(self, session: SessionKey) -> int | None:
        """Return the seq up to which a session that has begun for sure was read; `None` for any other."""
        kept = self._kept.get(session)
        return kept.upto if kept is not None and kept.transcript.manifest is not None else None

    async def load(
        self, session: SessionKey, head: int, *, after: int | None = None, entries: Sequence[Entry] | None = None
    ) -> Transcript:
        """Return the session's transcript as of `head` or later; `entries` are all those between `after` and `head`."""
        kept = self._kept.get(session)
        if kept is None or kept.upto > head:  # beyond the head: the journal was restored to an older state
            kept = _Cached()
        if entries is not None and after is not None and after <= kept.upto:
            self._extend(kept, entries)
            kept.upto = max(kept.upto, head)
        if kept.upto == 0 and head > self._long:
            await self._skip(session, kept)
        if kept.upto < head:
            async for entry in self._journal.conversation(session, after=kept.upto, types=TYPES):
                self._extend(kept, [entry])
        kept.upto = max(kept.upto, head)
        self._keep(session, kept)
        return kept.transcript

    async def _skip(self, session: SessionKey, kept: _Cached) -> None:
        """Begin behind what a compaction stands for."""
        made = [entry async for entry in self._journal.conversation(session, types=("session.compacted",))]
        base = base_of(made)
        if not base:
            return
        async for entry in self._journal.conversation(session, types=LASTING):
            if entry.seq > base:
                break
            if not entry.body.get("consumed"):  # which was perhaps taken back; the last one says what holds
                self._extend(kept, [entry])
        kept.transcript.begin_behind(base)
        kept.upto = base

    def _keep(self, session: SessionKey, kept: _Cached) -> None:
        before = self._kept.pop(session, None)
        self._bytes += kept.size - kept.counted - (before.counted if before and before is not kept else 0)
        kept.counted = kept.size
        self._kept[session] = kept
        # Also the only one: who is larger than all may be is read anew, step by step.
        while self._kept and (len(self._kept) > self._sessions or self._bytes > self._size):
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.counted

    def _extend(self, kept: _Cached, entries: Sequence[Entry]) -> None:
        """Apply what is new; two loads of one session may run at once, and read the same."""
        for entry in entries:
            if entry.seq > kept.upto:
                kept.transcript.apply(entry)
                kept.size += 2 * _weight(entry.body)  # as it is, and as the bytes that are sent
                kept.upto = entry.seq
                if entry.type == "session.compacted":
                    kept.size = 2 * sum(_weight(part.message) for part in kept.transcript.committed.parts)
                if entry.type == "session.started":
                    kept.transcript.manifest = self._shared(kept.transcript)

    def _shared(self, transcript: Transcript) -> dict[str, Any] | None:
        """Return the same manifest to all sessions that froze the same: tools are large, and sessions many."""
        manifest, name = transcript.manifest, transcript.manifest_hash
        if manifest is None or name is None:
            return manifest
        if len(self._manifests) >= MANIFESTS and name not in self._manifests:
            self._manifests.clear()
        known = self._manifests.setdefault(name, manifest)
        return known if known == manifest else manifest


def _weight(value: Any) -> int:
    """Estimate the bytes of a JSON value in memory."""
    if isinstance(value, str):
        return 60 + 2 * len(value)  # and once more in the bytes that are sent
    if isinstance(value, dict):
        return 100 + sum(_weight(item) for item in value.values())
    if isinstance(value, list):
        return 60 + sum(map(_weight, value))
    return 30

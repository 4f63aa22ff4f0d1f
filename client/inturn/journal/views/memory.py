"""Which versions of its agent's documents a session's model was told.

Invariant: a document is known at the version that was told or written last. A summary may lose what was told since the
session froze its memory, so from then on that alone is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inturn.values import Entry

REMEMBERED: Final = "session.remembered"


def told(before: Mapping[str, int], manifest: Mapping[str, Any] | None, entry: Entry) -> dict[str, int]:
    """Return what is known behind an entry; `manifest`: what the session froze."""
    body = entry.body
    match entry.type:
        case "system.message":
            return {**before, **body.get("memory", {})}
        case "session.remembered":
            return {**before, str(body["name"]): int(body["version"])}
        case "session.started" | "session.compacted":
            return dict(((manifest or {}).get("memory") or {}).get("versions") or {})
        case _:
            return dict(before)

"""What goes out about events that expired or were rejected.

Invariant: what is recorded together makes one notice for each source and kind, to the source's latest address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from inturn import names
from inturn_activities.messages import Decision


def notices_of(decisions: Sequence[Decision], *, overflow: str) -> list[dict[str, Any]]:
    """Return the notices of what is about to be recorded; with overflow "reject" there is none of a full inbox."""
    groups: dict[tuple[str, str], list[Decision]] = {}
    for decision in decisions:
        kind, body = decision.type.removeprefix("event."), decision.body
        if overflow == "reject" and names.BACKPRESSURE in (body.get("error"), body.get("reason")):
            continue
        if kind in ("expired", "rejected"):
            groups.setdefault((kind, str(body.get("source", "client"))), []).append(decision)
    return [_notice(kind, source, group) for (kind, source), group in groups.items()]


def notice_name(number: int, notice: dict[str, Any]) -> str:
    """Return a notice's name, by its content, too: after a termination numbers begin anew, in the same journal."""
    digest = hashlib.blake2b(to_json(notice), digest_size=6).hexdigest()
    return f"~notice{number}-{digest}"


def _notice(kind: str, source: str, group: Sequence[Decision]) -> dict[str, Any]:
    count = sum(int(decision.body.get("count", 1)) for decision in group)
    ids = [decision.turn for decision in group if decision.turn][:20]
    reason = str(group[0].body.get("reason", ""))
    notice = {"kind": kind, "source": source, "count": count, "event_ids": ids, "reason": reason}
    return notice | ({"metadata": address} if (address := _address_of(group)) else {})


def _address_of(group: Sequence[Decision]) -> Any:
    """Return the latest address of a source: what was only counted has none."""
    return next((address for decision in reversed(group) if (address := decision.body.get("metadata"))), None)

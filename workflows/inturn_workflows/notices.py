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
from inturn_workflows import patches


def notices_of(decisions: Sequence[Decision], *, overflow: str) -> list[dict[str, Any]]:
    """Make the notices of what is about to be recorded; the policy's overflow "reject" tells nobody of a full inbox."""
    groups: dict[tuple[str, str], list[Decision]] = {}
    for decision in decisions:
        kind, body = decision.type.removeprefix("event."), decision.body
        if overflow == "reject" and names.BACKPRESSURE in (body.get("error"), body.get("reason")):
            continue
        if kind in ("expired", "rejected"):
            groups.setdefault((kind, _source_of(body)), []).append(decision)
    return [_notice(kind, source, group) for (kind, source), group in groups.items()]


def notice_name(number: int, notice: dict[str, Any]) -> str:
    """Name a notice by what it says, too: after a termination the numbers begin anew, in the same journal."""
    if not patches.notices_by_content():
        return f"~notice{number}"
    said = hashlib.blake2b(to_json(notice), digest_size=6).hexdigest()
    return f"~notice{number}-{said}"


def _notice(kind: str, source: str, group: Sequence[Decision]) -> dict[str, Any]:
    count = sum(int(decision.body.get("count", 1)) for decision in group)
    ids = [decision.turn for decision in group if decision.turn][:20]
    reason = str(group[0].body.get("reason", ""))
    notice = {"kind": kind, "source": source, "count": count, "event_ids": ids, "reason": reason}
    return notice | ({"metadata": address} if (address := _address_of(group)) else {})


def _source_of(body: dict[str, Any]) -> str:
    if "count" in body and "source" in body and not patches.addressed():
        return "client"
    return str(body.get("source", "client"))


def _address_of(group: Sequence[Decision]) -> Any:
    """Give the latest address of a source: what was only counted has none."""
    known = [decision.body["metadata"] for decision in group if decision.body.get("metadata")]
    last = group[-1].body.get("metadata")
    return known[-1] if known and (last or patches.addressed()) else last

"""Which workers serve which agents, and since when a step has found none that serves its own.

Invariant: a row is a worker's own word, and good for as long as it is repeated. Nothing is decided by it alone: a step
that finds no row is judged as it would be without this table. No word of one worker, a newer one's or a mangled one,
makes another one fail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ValidationError

from inturn.journal.log import codec
from inturn.journal.log.log import micros
from inturn.journal.log.sweeps import sweep
from inturn.journal.store.store import Transaction
from inturn.journal.values import Serving
from inturn.keys import StepKey

LIVE: Final = 20.0
"""Seconds after which a worker that said nothing counts no more."""
SAME: Final = 60.0
"""Seconds without a lack after which the next one is another."""
_FORGOTTEN: Final = 24 * 3600.0


class _About(BaseModel):
    """What a worker says of itself, as far as this version knows it."""

    manifest: str = ""
    tools: tuple[str, ...] = ()
    deliver: bool = False
    trouble: str = ""
    version: str | None = None
    limits: dict[str, float | None] = {}
    keys: tuple[str, ...] = ()


def register(tx: Transaction, rows: Sequence[Serving]) -> None:
    """Write what a worker serves; the time of its first word is kept."""
    now = micros(tx.now)
    for row in rows:
        about = {"manifest": row.manifest, "tools": row.tools, "deliver": row.deliver, "trouble": row.trouble}
        about |= {"version": row.version, "limits": row.limits, "keys": row.keys}
        tx.execute(
            "INSERT INTO agents (worker, agent, queue, about, since, seen) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (worker, agent) DO UPDATE SET queue = excluded.queue, about = excluded.about, "
            "seen = excluded.seen",
            (row.worker, row.agent, row.queue, codec.dumps(about), now, now),
        )
    sweep(tx, "agents", "worker, agent", "seen < ?", (now - micros(_FORGOTTEN),))


def retire(tx: Transaction, worker: str) -> None:
    """Forget what a worker serves: it ends."""
    tx.execute("DELETE FROM agents WHERE worker = ?", (worker,))


def serving(tx: Transaction, agent: str | None = None) -> list[Serving]:
    """Return what workers serve that live, or only one agent; the newest worker first."""
    rows = tx.execute(
        "SELECT worker, agent, queue, about, since, seen FROM agents WHERE seen > ? AND agent = coalesce(?, agent) "
        "ORDER BY since DESC, worker DESC, agent",
        (micros(tx.now - LIVE), agent),
    )
    found: list[Serving] = []
    for worker, name, queue, about, since, seen in rows:
        try:
            said = _About.model_validate_json(about)
            since, seen = since / 1e6, seen / 1e6
        except (ValidationError, TypeError):  # nothing that this version can go by
            continue
        limits = {limit: value for limit, value in said.limits.items() if value and 0 < value < math.inf}
        found.append(
            Serving(worker, name, queue, limits=limits, since=since, seen=seen, **said.model_dump(exclude={"limits"}))
        )
    return found


def lacking(tx: Transaction, step: StepKey) -> float:
    """Note that a step finds no worker that can do it; return for how many seconds that has been so."""
    now = micros(tx.now)
    [(since,)] = tx.execute(
        "INSERT INTO lacks (tenant, session, step, since, seen) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, session, step) DO UPDATE SET seen = excluded.seen, "
        "since = CASE WHEN lacks.seen < ? THEN excluded.since ELSE lacks.since END RETURNING since",
        (step.session.tenant, step.session.session_id, step.within_session, now, now, now - micros(SAME)),
    )
    sweep(tx, "lacks", "tenant, session, step", "seen < ?", (now - micros(_FORGOTTEN),))
    return (now - int(since)) / 1e6

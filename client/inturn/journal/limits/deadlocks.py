"""The wait-for graph: who waits for whom, from the rows of `places`.

Only a call that holds something and waits can be part of a cycle, and only locks taken inside a body are waited for
like that.

Invariant: a cycle is broken once, in one transaction that finds it again and marks one victim; what only looked like a
cycle (a wait that is over, a lease that ran out) is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inturn.journal.limits import counters
from inturn.journal.limits.places import Call, call_of
from inturn.journal.limits.requests import Deadlock, Victim, Want
from inturn.journal.log import codec, log
from inturn.journal.log.log import micros
from inturn.journal.store.store import Transaction
from inturn.journal.values import NewEntry
from inturn.keys import SessionKey, StepKey

_JOINED: Final = (
    "FROM places w JOIN places o ON o.scope = w.scope AND o.resource = w.resource "
    "AND NOT (o.turn = w.turn AND o.step = w.step) "
    "WHERE w.scope = ? AND w.turn = ? AND w.step = ? AND w.state IN ('waiting', 'away') "
    "AND w.until > ? AND o.until > ? "
)
_BLOCKED: Final = (
    f"SELECT DISTINCT o.turn, o.step {_JOINED} AND (o.state = 'held' OR (o.state = 'waiting' AND o.number < w.number)) "
    "AND (w.mode <> 'read' OR o.mode = 'write')"
)
_LOCKED_OUT: Final = (
    f"SELECT w.resource, w.part, w.number, o.turn, o.step {_JOINED} AND o.state = 'held' AND w.part <> '' "
    "AND w.deadlock_victim = '' AND (w.mode = 'write' OR (w.mode = 'read' AND o.mode = 'write')) "
    "ORDER BY w.number, o.turn"
)


@dataclass(frozen=True, slots=True)
class Edge:
    """A call's wait for a lock that another one holds."""

    call: Call
    resource: str
    part: str
    number: int
    holder: Call


def reaches(tx: Transaction, scope: str, start: Call, goal: Call) -> bool:
    """Return whether one call waits for another, directly or through others, those before it in a queue too."""
    seen, ahead = {start}, [start]
    now = micros(tx.now)
    while ahead:
        call = ahead.pop()
        for found in tx.execute(_BLOCKED, (scope, *call, now, now)):
            if found == goal:
                return True
            if found not in seen:
                seen.add(found)
                ahead.append(found)
    return False


def cycle(tx: Transaction, scope: str, call: Call) -> list[Edge]:
    """Return the calls that wait for one another, from `call` round to it; empty where there is no such circle."""
    return _cycle(tx, scope, call, call, set()) or []


def break_cycle(tx: Transaction, step: StepKey, victim: Victim) -> Deadlock | None:
    """Break the cycle that a call is part of, if there is one that was not found before."""
    scope, call = step.session.tenant, call_of(step)
    locked = _lock(tx, scope, cycle(tx, scope, call))
    edges = cycle(tx, scope, call)  # it may be another by now
    if not edges or not locked.issuperset(map(_session, edges)) or any(_reported(tx, edge) for edge in edges):
        return None
    chosen = max(edges, key=lambda e: e.number) if victim == "youngest" else min(edges, key=lambda e: e.number)
    named = [_described(tx, edge) for edge in edges]
    text = f"deadlock: {'; '.join(named)}"
    report_only = victim == "report_only"
    column = "deadlock_reported" if report_only else "deadlock_victim"
    tx.execute(
        f"UPDATE places SET {column} = ? WHERE turn = ? AND step = ? AND part = ?",
        (codec.whole(text), *chosen.call, chosen.part),
    )
    for edge in sorted(edges, key=lambda e: e.call):
        _note(tx, edge, text, None if report_only else chosen)
    return Deadlock(text, None if report_only else "/".join(chosen.call))


def _lock(tx: Transaction, scope: str, edges: list[Edge]) -> set[SessionKey]:
    """Lock the sessions of a cycle, and then the scope: nobody finds the same one, or ends a wait of it, meanwhile."""
    sessions = set(map(_session, edges))
    for session in sorted(sessions, key=str):
        with log.locked(tx, session):
            pass  # it is locked until the transaction ends
    counters.lock(tx, [Want(scope, "", "write")])
    return sessions


def _session(edge: Edge) -> SessionKey:
    return StepKey.parse("/".join(edge.call)).session


def _cycle(tx: Transaction, scope: str, call: Call, goal: Call, seen: set[Call]) -> list[Edge] | None:
    seen.add(call)
    now = micros(tx.now)
    for resource, part, number, turn, step in tx.execute(_LOCKED_OUT, (scope, *call, now, now)):
        edge = Edge(call, resource, part, number, (turn, step))
        if edge.holder == goal:
            return [edge]
        if edge.holder not in seen and (rest := _cycle(tx, scope, edge.holder, goal, seen)):
            return [edge, *rest]
    return None


def _reported(tx: Transaction, edge: Edge) -> bool:
    where = "turn = ? AND step = ? AND part = ? AND deadlock_reported <> ''"
    return bool(tx.execute(f"SELECT 1 FROM places WHERE {where}", (*edge.call, edge.part)))


def _described(tx: Transaction, edge: Edge) -> str:
    holder = "/".join(edge.holder)
    return f"{_tool(tx, edge.call)} of {'/'.join(edge.call)} waits for {edge.resource}, held by {holder}"


def _tool(tx: Transaction, call: Call) -> str:
    return str(_use(tx, call).get("tool", "a call"))


def _use(tx: Transaction, call: Call) -> dict[str, object]:
    """Return what the model asked for with a call."""
    step = StepKey.parse("/".join(call))
    rows = tx.execute(
        "SELECT seq, body FROM entries WHERE tenant = ? AND session = ? AND key = ?",
        (step.session.tenant, step.session.session_id, f"{step.within_session}/use"),
    )
    found: dict[str, object] = log.body(tx, step.session, *rows[0]) if rows else {}
    return found


def _note(tx: Transaction, edge: Edge, text: str, victim: Edge | None) -> None:
    """Append why a call waits, or ends, for the readers of its session."""
    step = StepKey.parse("/".join(edge.call))
    role = "none: it is only reported" if victim is None else "/".join(victim.call)
    body = {
        "call_id": _use(tx, edge.call).get("call_id"),
        "text": text,
        "deadlock": {"waits_for": edge.resource, "held_by": "/".join(edge.holder), "victim": role},
    }
    entry = NewEntry("tool.progress", body, event_id=step.turn.event_id, step=edge.call[1])
    with log.locked(tx, step.session) as journal:
        journal.append([entry])

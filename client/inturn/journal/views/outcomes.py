"""How events ended: one row per event.

Invariant: an outcome never replaces one of the same or a later redrive, other than `parked` by `discarded`; so however
often an end is written, and by whom, the first one of a turn stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from inturn.journal.log import codec
from inturn.journal.log.log import Log, body, micros
from inturn.journal.store.store import Statement, Transaction
from inturn.journal.values import Ending, Outcome, Spent
from inturn.journal.views import aliases
from inturn.keys import SessionKey, TurnKey, redrive_of
from inturn.values import Disposition

_COLUMNS: Final = "event_id, turn, redrive, disposition, stop, reason, host, first_seq, last_seq"
_SPENT: Final = "agent, model, input, output, cache_read, cache_write, usd_nanos, failed_usd_nanos"
_DISPOSITIONS: Final[dict[str, Disposition]] = {
    "turn.completed": "applied",
    "turn.interrupted": "cancelled",
    "turn.failed": "parked",
    "event.merged": "merged",
    "event.cancelled": "cancelled",
    "event.expired": "expired",
    "event.parked": "parked",
}
"""Entries that are written along with an outcome, and which. An event that was rejected has none: it may come again."""
_EVENT: Final = "tenant = ? AND session = ? AND event_id = ?"
_REASON: Final = "outcomes.reason"
_DISCARDED: Final = "discarded"
_ALL: Final = 2**63 - 1
"""A seq that no log reaches."""
Span = tuple[int | None, int | None]
"""First and last seq."""
Known = tuple[tuple[Any, ...] | None, Span]
"""An event's row, and the span of its entries."""


def get(tx: Transaction, session: SessionKey, event_id: str) -> Outcome | None:
    """Return how an event ended, where it did."""
    rows = tx.execute(*asking(session, event_id)[0])
    return _outcome(tx, session, rows[0]) if rows else None


def answering(session: SessionKey, ids: Sequence[str]) -> Statement:
    """Return the statement that reads how the event ended that is known by one of these ids, own or other."""
    where, events = (session.tenant, session.session_id), ", ".join(["?"] * len(ids) + [aliases.EVENT] * len(ids))
    parameters = [*where, *ids, *(value for id_ in ids for value in (*where, id_))]
    return f"SELECT {_COLUMNS} FROM outcomes WHERE tenant = ? AND session = ? AND event_id IN ({events})", parameters


def known(tx: Transaction, session: SessionKey, ids: Sequence[str]) -> Outcome | None:
    """Return how the event ended that is known by one of these ids, where it did: by the first as its own, best."""
    rows = sorted(tx.execute(*answering(session, ids)), key=lambda row: row[0] != ids[0])
    return _outcome(tx, session, rows[0]) if rows else None


def ended(tx: Transaction, turn: TurnKey, others: Sequence[str] = ()) -> Outcome | None:
    """Return the outcome that keeps a turn from running: any, but for `parked` of an earlier redrive.

    `others`: its event's other ids; it is a duplicate of what ended under one of them.
    """
    outcome = known(tx, turn.session, (turn.event_id, *others))
    if outcome and outcome.event_id != turn.event_id:
        return outcome
    if outcome and outcome.disposition == "parked" and redrive_of(outcome.turn) < redrive_of(turn.turn):
        return None
    return outcome


def asking(session: SessionKey, event_id: str) -> list[Statement]:
    """Return the statements that read what `look` reads."""
    where = _where(session, event_id)
    return [
        (f"SELECT {_COLUMNS} FROM outcomes WHERE tenant = ? AND session = ? AND event_id = ?", where),
        ("SELECT MIN(seq), MAX(seq) FROM entries WHERE tenant = ? AND session = ? AND event_id = ?", where),
    ]


def look(tx: Transaction, session: SessionKey, event_id: str) -> Known:
    """Return what there is of an event, before more of it is written."""
    rows, [span] = (tx.execute(*statement) for statement in asking(session, event_id))
    return (rows[0] if rows else None), span


def put(log: Log, outcome: Outcome, known: Known | None = None) -> bool:
    """Write an outcome where it may be; return whether it was. `known`: from a `look` before its entries were."""
    tx, session, redrive = log.tx, log.session, redrive_of(outcome.turn)
    row, span = known or look(tx, session, outcome.event_id)
    if row and not _replaces((redrive, outcome.disposition), (int(row[2]), row[3])):
        return False
    first, last = outcome.seqs or _seqs(log, outcome, span)
    values = (
        outcome.event_id,
        outcome.turn,
        redrive,
        outcome.disposition,
        outcome.stop,
        tx.sealing.seal(codec.column(outcome.reason), _REASON, *_where(session, outcome.event_id)),
        outcome.into,
        first,
        last,
        micros(tx.now),
    )
    spent = _spent(outcome.spent)
    if row:
        where = _where(session, outcome.event_id)
        spent = _and_before(spent, tx.execute(f"SELECT {_SPENT} FROM outcomes WHERE {_EVENT}", where)[0])
        tx.execute(f"DELETE FROM outcomes WHERE {_EVENT}", where)
    tx.execute(
        f"INSERT INTO outcomes (tenant, session, {_COLUMNS}, at, {_SPENT}) VALUES ({', '.join('?' * 20)})",
        (session.tenant, session.session_id, *values, *spent),
    )
    return True


def _spent(spent: Spent | None) -> tuple[Any, ...]:
    """Return what a turn used as its row has it."""
    if spent is None:
        return (None,) * 8
    used = spent.usage
    tokens = used.input_tokens, used.output_tokens, used.cache_read_tokens, used.cache_write_tokens
    return codec.column(spent.agent), codec.column(spent.model), *tokens, used.usd_nanos, used.failed_usd_nanos


def _and_before(spent: tuple[Any, ...], before: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what an event's turns used, with those before this one: they are paid, too."""
    names = [now or then for now, then in zip(spent[:2], before[:2], strict=True)]
    sums = [
        None if now is None and then is None else (now or 0) + (then or 0)
        for now, then in zip(spent[2:], before[2:], strict=True)
    ]
    return *names, *sums


def counts(tx: Transaction, session: SessionKey) -> dict[str, int]:
    """Count a session's ended events by disposition."""
    return dict(
        tx.execute(
            "SELECT disposition, COUNT(*) FROM outcomes WHERE tenant = ? AND session = ? GROUP BY disposition",
            (session.tenant, session.session_id),
        )
    )


def endings(tx: Transaction, session: SessionKey) -> dict[str, Ending]:
    """Return how each event ended, by its outcome and by the entries."""
    where = (session.tenant, session.session_id)
    recorded: dict[str, tuple[Disposition, str | None]] = {
        event_id: (disposition, host)
        for event_id, disposition, host in tx.execute(
            "SELECT event_id, disposition, host FROM outcomes WHERE tenant = ? AND session = ?", where
        )
    }
    by_entries = _by_entries(tx, session, _ALL)
    unknown = (None, None)
    return {
        event_id: _ending(recorded.get(event_id, unknown), by_entries.get(event_id, unknown))
        for event_id in recorded.keys() | by_entries.keys()
    }


def ended_by(tx: Transaction, session: SessionKey, upto: int) -> dict[str, Disposition]:
    """Return how each event had ended when the log ended at a seq, by its entries: later ones change that no more."""
    return {event_id: disposition for event_id, (disposition, _) in _by_entries(tx, session, upto).items()}


def _ending(
    recorded: tuple[Disposition | None, str | None], by_entries: tuple[Disposition | None, str | None]
) -> Ending:
    return Ending(recorded[0], by_entries[0], recorded[1], by_entries[1])


def standing(tx: Transaction, session: SessionKey, decided: Mapping[str, tuple[str, int]]) -> dict[str, Outcome]:
    """Return the outcomes of those events that ended otherwise than decided, or under another number of acceptance.

    They are duplicates of events that a session has forgotten, or it was reset to before their ends: each has one
    outcome, the first one's.
    """
    found: dict[str, Outcome] = {}
    for event_id, (disposition, number) in decided.items():
        outcome = get(tx, session, event_id)
        if outcome is None:
            continue
        if outcome.disposition != disposition or _first_number(tx, session, outcome) not in (0, number):
            found[event_id] = outcome
    return found


def _first_number(tx: Transaction, session: SessionKey, outcome: Outcome) -> int:
    """Return the number under which an event ended first: of the entry of that end, else of its turn; 0: unknown."""
    ended = "parked" if outcome.disposition == _DISCARDED else outcome.disposition
    ends = [type_ for type_, disposition in _DISPOSITIONS.items() if disposition == ended]
    begun = 0
    for type_, seq, stored in tx.execute(
        "SELECT type, seq, body FROM entries WHERE tenant = ? AND session = ? AND event_id = ? "
        f"AND type IN ('turn.started', {', '.join('?' * len(ends))}) ORDER BY seq",
        (session.tenant, session.session_id, outcome.event_id, *ends),
    ):
        number = int(_field(body(tx, session, seq, stored), "n") or 0)
        if type_ != "turn.started":
            return number or begun
        begun = number or begun
    return begun


def _by_entries(tx: Transaction, session: SessionKey, upto: int) -> dict[str, tuple[Disposition, str | None]]:
    """Return each event's disposition, and its host where it was merged, by its entries up to a seq.

    Under the rule that outcomes keep to: one by one, in order.
    """
    found: dict[str, tuple[int, Disposition, str | None]] = {}
    for event_id, type_, key, seq, stored in tx.execute(
        "SELECT event_id, type, key, seq, body FROM entries WHERE tenant = ? AND session = ? AND event_id IS NOT NULL "
        f"AND seq <= ? AND type IN ({', '.join('?' * len(_DISPOSITIONS))}) ORDER BY seq",
        (session.tenant, session.session_id, upto, *_DISPOSITIONS),
    ):
        turn, _, kind = str(key).partition("/")
        if "/" in kind:
            continue  # a delivery that was set aside: the event itself has ended otherwise
        into = _field(body(tx, session, seq, stored), "into") if type_ == "event.merged" else None
        end = (redrive_of(turn), _DISCARDED if kind == _DISCARDED else _DISPOSITIONS[type_])
        if event_id not in found or _replaces(end, found[event_id][:2]):
            found[event_id] = (*end, into)
    return {event_id: (disposition, into) for event_id, (_, disposition, into) in found.items()}


def _field(read: object, name: str) -> Any:
    """Return a field of a body, `None` where somebody made that no object."""
    return read.get(name) if isinstance(read, dict) else None


def _replaces(end: tuple[int, Disposition], before: tuple[int, Disposition]) -> bool:
    """Return whether an end (redrive, disposition) may replace another."""
    if end[0] != before[0]:
        return end[0] > before[0]
    return (before[1], end[1]) == ("parked", _DISCARDED)


def _outcome(tx: Transaction, session: SessionKey, row: tuple[Any, ...]) -> Outcome:
    name, turn, _, disposition, stop, sealed, host, first, last = row
    reason = tx.sealing.unseal(sealed, _REASON, *_where(session, name))
    return Outcome(name, turn, disposition, stop, reason, host, None if first is None else (first, last))


def _where(session: SessionKey, event_id: str) -> tuple[str, str, str]:
    return session.tenant, session.session_id, event_id


def _seqs(log: Log, outcome: Outcome, span: Span) -> Span:
    """Find the first and last entry of a turn: a redriven one begins at its own opening."""
    tx, where = log.tx, (log.session.tenant, log.session.session_id)
    seqs = [seq for seq in (*span, *log.seqs_of(outcome.event_id)) if seq is not None]
    first, last = min(seqs, default=None), max(seqs, default=None)
    if first is not None and outcome.turn != outcome.event_id:
        [(opened,)] = tx.execute(
            "SELECT MIN(seq) FROM entries WHERE tenant = ? AND session = ? AND key IN (?, ?)",
            (*where, f"{outcome.turn}/user", f"{outcome.turn}/started"),
        )
        first = opened or first
    return first, last

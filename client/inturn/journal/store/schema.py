"""The journal's tables.

Invariant: a database's tables say which versions may use them. Versions only add to them, so an older one goes on
beside a newer one until that says otherwise (`oldest`); any other is left alone: nothing is read, nothing is written.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final

from inturn.errors import JournalUnavailable
from inturn.journal.store.store import Transaction

VERSION: Final = 15
"""Counts up with each change of a table. Versions below were never released."""

# `{bytes}` is the backend's type for bytes, `{clustered}` what makes a table of small rows its own index, `{unlogged}`
# what makes one that a crash may empty.
_LOG: Final = (
    """CREATE TABLE sessions (
        tenant TEXT NOT NULL, session TEXT NOT NULL,
        head BIGINT NOT NULL, hash TEXT NOT NULL, first TEXT NOT NULL,
        fence BIGINT NOT NULL, closed BIGINT NOT NULL,
        PRIMARY KEY (tenant, session)) {clustered}""",
    """CREATE TABLE entries (
        tenant TEXT NOT NULL, session TEXT NOT NULL, seq BIGINT NOT NULL,
        key TEXT, type TEXT NOT NULL, event_id TEXT, step TEXT, at BIGINT NOT NULL,
        body TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL,
        PRIMARY KEY (tenant, session, seq), UNIQUE (tenant, session, key))""",
    "CREATE INDEX entries_of_event ON entries (tenant, session, event_id, seq) WHERE event_id IS NOT NULL",
    """CREATE TABLE forks (
        tenant TEXT NOT NULL, session TEXT NOT NULL, parent TEXT NOT NULL, upto BIGINT NOT NULL,
        PRIMARY KEY (tenant, session)) {clustered}""",
    "CREATE INDEX forks_of ON forks (tenant, parent)",
    """CREATE TABLE steps (
        tenant TEXT NOT NULL, session TEXT NOT NULL, turn TEXT NOT NULL, step TEXT NOT NULL, call BIGINT NOT NULL,
        state TEXT NOT NULL, token TEXT NOT NULL, fence BIGINT,
        began BIGINT NOT NULL, began_before BIGINT NOT NULL, lease_until BIGINT NOT NULL,
        scheduled BIGINT NOT NULL, checkpoint TEXT, attempts TEXT NOT NULL, result TEXT, late_result TEXT,
        PRIMARY KEY (tenant, session, turn, step, call)) {clustered}""",
    """CREATE TABLE outcomes (
        tenant TEXT NOT NULL, session TEXT NOT NULL, event_id TEXT NOT NULL,
        turn TEXT NOT NULL, redrive BIGINT NOT NULL, disposition TEXT NOT NULL,
        stop TEXT, reason TEXT, host TEXT, first_seq BIGINT, last_seq BIGINT,
        agent TEXT, model TEXT, input BIGINT, output BIGINT, cache_read BIGINT, cache_write BIGINT,
        usd_nanos BIGINT, failed_usd_nanos BIGINT, at BIGINT NOT NULL,
        PRIMARY KEY (tenant, session, event_id)) {clustered}""",
    "CREATE INDEX outcomes_at ON outcomes (tenant, at)",
    "CREATE INDEX outcomes_parked ON outcomes (tenant, session) WHERE disposition = 'parked'",
    """CREATE TABLE aliases (
        tenant TEXT NOT NULL, session TEXT NOT NULL, alias TEXT NOT NULL, event_id TEXT NOT NULL,
        PRIMARY KEY (tenant, session, alias)) {clustered}""",
    """CREATE TABLE blobs (
        tenant TEXT NOT NULL, session TEXT NOT NULL, ref TEXT NOT NULL, data {bytes} NOT NULL,
        PRIMARY KEY (tenant, session, ref))""",
    """CREATE TABLE uploads (
        tenant TEXT NOT NULL, ref TEXT NOT NULL, media_type TEXT NOT NULL, shown_as TEXT NOT NULL,
        measure BIGINT NOT NULL, size BIGINT NOT NULL, at BIGINT NOT NULL, data {bytes} NOT NULL,
        PRIMARY KEY (tenant, ref))""",
    """CREATE TABLE upload_uses (
        tenant TEXT NOT NULL, session TEXT NOT NULL, ref TEXT NOT NULL,
        PRIMARY KEY (tenant, session, ref)) {clustered}""",
    "CREATE INDEX upload_uses_of_ref ON upload_uses (tenant, ref)",
    """CREATE TABLE contents (
        tenant TEXT NOT NULL, session TEXT NOT NULL, event_id TEXT NOT NULL, hash TEXT NOT NULL,
        gen BIGINT NOT NULL, data {bytes} NOT NULL, at BIGINT NOT NULL,
        PRIMARY KEY (tenant, session, event_id, hash, gen))""",
    """CREATE TABLE rewritten (
        tenant TEXT NOT NULL, session TEXT NOT NULL, identity TEXT NOT NULL, proof TEXT NOT NULL,
        PRIMARY KEY (tenant, session, identity))""",
    """CREATE TABLE cursors (
        tenant TEXT NOT NULL, name TEXT NOT NULL, session TEXT NOT NULL, seq BIGINT NOT NULL,
        PRIMARY KEY (tenant, name, session)) {clustered}""",
)

# Shared state. Session '' is the tenant's own. Documents are what a tenant's agents remember.
_STATE: Final = (
    """CREATE TABLE shared_values (
        tenant TEXT NOT NULL, session TEXT NOT NULL, name TEXT NOT NULL,
        version BIGINT NOT NULL, value TEXT, expires BIGINT, forget BIGINT,
        PRIMARY KEY (tenant, session, name)) {clustered}""",
    "CREATE INDEX shared_values_forget ON shared_values (forget) WHERE forget IS NOT NULL",
    """CREATE TABLE documents (
        tenant TEXT NOT NULL, name TEXT NOT NULL, version BIGINT NOT NULL, text TEXT, size BIGINT NOT NULL,
        writer TEXT NOT NULL, at BIGINT NOT NULL, forget BIGINT,
        PRIMARY KEY (tenant, name)) {clustered}""",
    "CREATE INDEX documents_forget ON documents (forget) WHERE forget IS NOT NULL",
    """CREATE TABLE queues (
        tenant TEXT NOT NULL, session TEXT NOT NULL, queue TEXT NOT NULL, last BIGINT NOT NULL,
        PRIMARY KEY (tenant, session, queue)) {clustered}""",
    """CREATE TABLE queue_items (
        tenant TEXT NOT NULL, session TEXT NOT NULL, queue TEXT NOT NULL, seq BIGINT NOT NULL,
        item TEXT NOT NULL, token TEXT NOT NULL, lease_until BIGINT NOT NULL, claims BIGINT NOT NULL,
        PRIMARY KEY (tenant, session, queue, seq))""",
    """CREATE TABLE operations (
        tenant TEXT NOT NULL, session TEXT NOT NULL, turn TEXT NOT NULL, step TEXT NOT NULL, call BIGINT NOT NULL,
        ordinal BIGINT NOT NULL, what TEXT NOT NULL, final BIGINT NOT NULL, result TEXT, at BIGINT NOT NULL,
        PRIMARY KEY (tenant, session, turn, step, call, ordinal)) {clustered}""",
    "CREATE INDEX operations_of_keys ON operations (at) WHERE turn = '~key'",
)

# Locks, permits and rates. A row of `places` is a caller's place at one resource, held or waiting (grants.py).
_LIMITS: Final = (
    """CREATE TABLE places (
        turn TEXT NOT NULL, step TEXT NOT NULL, part TEXT NOT NULL, scope TEXT NOT NULL, resource TEXT NOT NULL,
        mode TEXT NOT NULL, state TEXT NOT NULL, number BIGINT NOT NULL, fence BIGINT NOT NULL,
        since BIGINT NOT NULL, until BIGINT NOT NULL, done_by BIGINT NOT NULL,
        deadlock_victim TEXT NOT NULL DEFAULT '', deadlock_reported TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (turn, step, part, scope, resource)) {clustered}""",
    "CREATE INDEX places_of_resource ON places (scope, resource, until, state)",
    "CREATE INDEX places_of_waiters ON places (until) WHERE state <> 'held'",
    """CREATE TABLE buckets (
        scope TEXT NOT NULL, resource TEXT NOT NULL, tokens DOUBLE PRECISION NOT NULL, at BIGINT NOT NULL,
        PRIMARY KEY (scope, resource)) {clustered}""",
    "CREATE TABLE counters (scope TEXT NOT NULL PRIMARY KEY, number BIGINT NOT NULL) {clustered}",
)

# Money, in whole nanodollars: what was paid and set aside in a day, and of that what requests have set aside (money/).
_MONEY: Final = (
    """CREATE TABLE reservations (
        tenant TEXT NOT NULL, session TEXT NOT NULL, turn TEXT NOT NULL, step TEXT NOT NULL, token TEXT NOT NULL,
        scope TEXT NOT NULL, resource TEXT NOT NULL, day BIGINT NOT NULL, nanos BIGINT NOT NULL,
        max_tokens BIGINT NOT NULL,
        PRIMARY KEY (tenant, session, turn, step, token, scope, resource)) {clustered}""",
    "CREATE INDEX reservations_of_day ON reservations (scope, resource, day) WHERE scope <> '' OR resource <> ''",
    """CREATE TABLE spend (
        scope TEXT NOT NULL, resource TEXT NOT NULL, day BIGINT NOT NULL, nanos BIGINT NOT NULL,
        PRIMARY KEY (scope, resource, day)) {clustered}""",
)

# Workers: which agents they serve, since when a step has found none for it (serving.py), and which steps are being
# stopped (stops.py).
_WORKERS: Final = (
    """CREATE TABLE agents (
        worker TEXT NOT NULL, agent TEXT NOT NULL, queue TEXT NOT NULL, about TEXT NOT NULL,
        since BIGINT NOT NULL, seen BIGINT NOT NULL,
        PRIMARY KEY (worker, agent)) {clustered}""",
    """CREATE TABLE lacks (
        tenant TEXT NOT NULL, session TEXT NOT NULL, step TEXT NOT NULL,
        since BIGINT NOT NULL, seen BIGINT NOT NULL,
        PRIMARY KEY (tenant, session, step)) {clustered}""",
    "CREATE INDEX lacks_seen ON lacks (seen)",
    """CREATE {unlogged} TABLE stops (
        tenant TEXT NOT NULL, session TEXT NOT NULL, step TEXT NOT NULL, at BIGINT NOT NULL,
        PRIMARY KEY (tenant, session, step)) {clustered}""",
    "CREATE INDEX stops_at ON stops (at)",
)

# Previews of answers, and who looks at them (live/).
_LIVE: Final = (
    """CREATE {unlogged} TABLE deltas (
        tenant TEXT NOT NULL, session TEXT NOT NULL, fence BIGINT NOT NULL, idx BIGINT NOT NULL,
        at BIGINT NOT NULL, data TEXT NOT NULL,
        PRIMARY KEY (tenant, session, fence, idx)) {clustered}""",
    "CREATE INDEX deltas_at ON deltas (at)",
    """CREATE {unlogged} TABLE watches (
        tenant TEXT NOT NULL, session TEXT NOT NULL, until BIGINT NOT NULL,
        PRIMARY KEY (tenant, session)) {clustered}""",
)

_SEQUENCES: Final = ("CREATE SEQUENCE tickets",)
"""Where rows are locked, a number that all tenants count up would be a lock of all tenants."""

TABLES: Final = (*_LOG, *_STATE, *_LIMITS, *_MONEY, *_WORKERS, *_LIVE)


_TABLE: Final = re.compile(r"\s*CREATE\s+(?:\{unlogged\}\s+)?TABLE\s+(\w+)", re.IGNORECASE)
_INDEX: Final = re.compile(r"\s*CREATE\s+(?:UNIQUE\s+)?INDEX\b.*?\bON\s+(\w+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Migration:
    """What brings the tables from the version before to this one, in one transaction, while workers go on.

    An index is built in it on a table of its own alone: on one that has rows it would keep everybody from writing for
    as long as it takes. None is needed while there is one version: tables are made with theirs. The first that is
    needed later has to be built before this transaction and outside any, `CONCURRENTLY`.

    Attributes:
        version: The version that they have then.
        statements: They only add: what older versions read and write stays as they know it.
        oldest: The oldest version that goes on beside it.
    """

    version: int
    statements: tuple[str, ...]
    oldest: int

    def __post_init__(self) -> None:
        """Refuse what would hold up a fleet."""
        made = {found[1] for statement in self.statements if (found := _TABLE.match(statement))}
        for statement in self.statements:
            if (on := _INDEX.match(statement)) and on[1] not in made:
                raise ValueError(
                    f"version {self.version} builds an index on {on[1]} while everybody waits: {statement}"
                )


MIGRATIONS: tuple[Migration, ...] = ()
"""In order; the first release has none behind it."""
OLDEST: Final = VERSION
"""The oldest version that goes on beside tables made by this one."""
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS journal_schema "
    "(version BIGINT NOT NULL, oldest BIGINT NOT NULL, id TEXT NOT NULL, copying TEXT, moved_to TEXT)"
)


def create(tx: Transaction) -> None:
    """Create the tables where the database has none yet, and bring older ones to this version.

    Raises:
        JournalUnavailable: It has those of a version that leads nowhere from here.
    """
    tx.define(_SCHEMA)
    rows = tx.execute("SELECT version FROM journal_schema")
    if not rows:
        for statement in (*TABLES, *(_SEQUENCES if tx.for_update else ())):
            tx.define(statement)
        made = (VERSION, OLDEST, secrets.token_hex(8))
        tx.execute("INSERT INTO journal_schema (version, oldest, id) VALUES (?, ?, ?)", made)
    for migration in _missing(int(rows[0][0])) if rows else ():
        for statement in migration.statements:
            tx.define(statement)
        tx.execute("UPDATE journal_schema SET version = ?, oldest = ?", (migration.version, migration.oldest))
    check(tx)


def database(tx: Transaction) -> str:
    """Return what tells this database from every other: made at random with its tables."""
    return str(tx.execute("SELECT id FROM journal_schema")[0][0])


def is_behind(tx: Transaction) -> bool:
    """Return whether the tables are of an earlier version, from which migrations lead to this one."""
    rows = tx.execute("SELECT version FROM journal_schema")
    return bool(rows) and bool(_missing(int(rows[0][0])))


def check(tx: Transaction) -> None:
    """Check that this version can use the tables; the database's own error where it has none at all.

    Raises:
        JournalUnavailable: It cannot, or the journal is (or was) being moved.
    """
    rows = tx.execute("SELECT version FROM journal_schema")
    found = int(rows[0][0]) if rows else 0
    if found < VERSION:
        raise JournalUnavailable(_too_old(found))
    [(oldest, copying, moved_to)] = tx.execute("SELECT oldest, copying, moved_to FROM journal_schema")
    if oldest > VERSION:
        raise JournalUnavailable(
            f"the journal has schema version {found}, this inturn reads version {VERSION} alone: a newer inturn wrote "
            "it. To do: upgrade inturn here, or point to another journal"
        )
    if copying is not None:
        raise JournalUnavailable(
            "the journal is the unfinished copy of another one. To do: copy that one again, into a new database"
        )
    if moved_to is not None:
        raise JournalUnavailable(f"the journal was moved. To do: point to {moved_to}")


def _missing(found: int) -> tuple[Migration, ...]:
    """Return the migrations from a version to this one; none where some are not known, or none is needed."""
    steps = tuple(step for step in MIGRATIONS if found < step.version <= VERSION)
    whole = [step.version for step in steps] == list(range(found + 1, VERSION + 1))
    return steps if whole else ()


def _too_old(found: int) -> str:
    said = f"the journal has schema version {found}, this inturn reads version {VERSION}"
    if _missing(found):
        return f"{said}. To do: inturn journal migrate, as the tables' owner; what runs with {found} goes on beside it"
    return (
        f"{said} alone: an inturn from before the first release wrote it. To do: move the file away (a new one is "
        "made), or point to another journal"
    )

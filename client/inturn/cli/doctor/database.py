"""The doctor's look at a journal's PostgreSQL: what a crash or a failover may cost, and what slows it down.

Invariant: it only reads, and what a role may not see is no finding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from inturn.cli.doctor.findings import Finding, failed, fine, warned
from inturn.errors import InturnError, JournalUnavailable
from inturn.journal import open_store
from inturn.journal.store.store import Store, Transaction

OLD_SNAPSHOT: Final = 300.0
"""Seconds for which a transaction may stay open: each one makes every update of a session a little slower."""
DEAD: Final = 100_000
"""Dead rows of a table that autovacuum ought to have taken."""

_SETTINGS: Final = ("autovacuum", "fsync", "full_page_writes", "server_version", "synchronous_standby_names")
_STANDBYS: Final = "SELECT count(*), coalesce(sum((sync_state IN ('sync', 'quorum'))::int), 0) FROM pg_stat_replication"
_OLDEST: Final = (
    "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_DEAD: Final = (
    "SELECT relname, n_dead_tup FROM pg_stat_user_tables WHERE n_dead_tup > ? ORDER BY n_dead_tup DESC LIMIT 1"
)
_WHICH: Final = "SELECT system_identifier, pg_walfile_name(pg_current_wal_lsn()) FROM pg_control_system()"


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself."""

    settings: dict[str, str]
    standbys: int
    synchronous: int
    oldest: float
    dead: tuple[str, int] | None
    which: str | None
    """Its system and its timeline, where it tells them."""


async def examine_database(url: str | None) -> list[Finding]:
    """Return what is to be known of a journal's server; nothing where it is a file."""
    if url is None or url.startswith("sqlite:"):
        return []
    store = open_store(url)
    try:
        return judge(replace(await store.read(_asked), which=await _which(store)))
    except InturnError as error:
        return [warned("postgresql", f"its state cannot be read: {error}", "GRANT pg_monitor to this role")]
    finally:
        await store.close()


def judge(server: Server) -> list[Finding]:
    """Return the findings on a server."""
    return [_kept(server), _failover(server), _vacuum(server)]


def _asked(tx: Transaction) -> Server:
    settings = {name: str(tx.execute("SELECT current_setting(?)", (name,))[0][0]) for name in _SETTINGS}
    [(standbys, synchronous)] = tx.execute(_STANDBYS)
    [(oldest,)] = tx.execute(_OLDEST)
    dead: list[tuple[Any, ...]] = tx.execute(_DEAD, (DEAD,))
    found = (str(dead[0][0]), int(dead[0][1])) if dead else None
    return Server(settings, int(standbys), int(synchronous), float(oldest), found, None)


async def _which(store: Store) -> str | None:
    """Return which server it is; managed ones may refuse to say."""
    try:
        [(system, file)] = await store.read(lambda tx: tx.execute(_WHICH))
    except JournalUnavailable:
        return None
    return f"system {system}, timeline {int(str(file)[:8], 16)}"


def _kept(server: Server) -> Finding:
    off = [name for name in ("fsync", "full_page_writes") if server.settings[name] == "off"]
    if off:
        return failed(
            "postgresql",
            f"{' and '.join(off)} is off: a crash of the machine may take or damage what was acknowledged",
            "set it on, and restart the server",
        )
    version = f"version {server.settings['server_version']}"
    if server.which is None:
        return warned(
            "postgresql",
            f"{version}; it does not tell its timeline: after a failover that takes commits back a fence may be given "
            "twice, and no log says when that was",
            "GRANT EXECUTE ON FUNCTION pg_current_wal_lsn(), pg_walfile_name(pg_lsn), pg_control_system() "
            "to this role; a managed server that has none of them needs failovers that keep every commit",
        )
    return fine("postgresql", f"{version}, {server.which}")


def _failover(server: Server) -> Finding:
    if server.synchronous:
        return fine("failover", f"{server.synchronous} of {server.standbys} standbys synchronous: none loses a commit")
    what = f"{server.standbys} standbys, none synchronous" if server.standbys else "no standby"
    return warned(
        "failover",
        f"{what}: a failover takes back what was committed within the replication lag, and such calls run again",
        "synchronous_standby_names = 'ANY 1 (…)' keeps every commit; until then tools' effects outside go by ctx.key",
    )


def _vacuum(server: Server) -> Finding:
    if server.oldest > OLD_SNAPSHOT:
        return warned(
            "vacuum",
            f"a transaction has been open for {server.oldest:.0f} s: nothing is vacuumed, and every turn gets slower",
            "end it (pg_stat_activity shows whose it is), and take dumps from a standby",
        )
    if server.settings["autovacuum"] == "off":
        return warned("vacuum", "autovacuum is off: tables of locks and sessions grow without end", "set it on")
    if server.dead:
        return warned("vacuum", f"{server.dead[0]} has {server.dead[1]} dead rows", "look why autovacuum does not come")
    return fine("vacuum", "no old snapshot, no heap of dead rows")

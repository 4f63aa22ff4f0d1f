"""The doctor's look at a journal's PostgreSQL: what a crash or a failover may cost, and what slows it down.

Invariant: it only reads, and what a role may not see is no finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from inturn.cli.doctor.findings import Finding, failed, fine, warned
from inturn.errors import InturnError
from inturn.journal import open_store
from inturn.journal.store.store import Transaction

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
_WHICH: Final = "SELECT system_identifier, timeline_id FROM pg_control_system(), pg_control_checkpoint()"


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself."""

    settings: dict[str, str]
    standbys: int
    synchronous: int
    oldest: float
    dead: tuple[str, int] | None
    which: str


async def examine_database(url: str | None) -> list[Finding]:
    """Return what is to be known of a journal's server; nothing where it is a file."""
    if url is None or url.startswith("sqlite:"):
        return []
    store = open_store(url)
    try:
        return judge(await store.read(_asked))
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
    [(system, timeline)] = tx.execute(_WHICH)
    found = (str(dead[0][0]), int(dead[0][1])) if dead else None
    return Server(
        settings, int(standbys), int(synchronous), float(oldest), found, f"system {system}, timeline {timeline}"
    )


def _kept(server: Server) -> Finding:
    off = [name for name in ("fsync", "full_page_writes") if server.settings[name] == "off"]
    if off:
        return failed(
            "postgresql",
            f"{' and '.join(off)} is off: a crash of the machine may take or damage what was acknowledged",
            "set it on, and restart the server",
        )
    return fine("postgresql", f"version {server.settings['server_version']}, {server.which}")


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

"""The doctor's look at keys: the same here and at the workers, and what of the journal is encrypted at rest.

Invariant: it decrypts nothing, and needs no worker: what is stored says itself under which key it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from inturn.cli.doctor.findings import Finding, failed, fine, warned
from inturn.encryption.columns import COLUMNS, key_of
from inturn.encryption.keys import KeyRing, read_keys
from inturn.journal import Serving, SessionJournal
from inturn.journal.moving.tables import tables
from inturn.journal.store.store import Transaction

_SAMPLE: Final = 200
"""Rows of each table that are looked at, from its beginning and its end."""
_BEGINNING: Final = 512
"""Characters or bytes of a value that say under which key it is: the rest may be 20 MiB."""
_SET: Final = "set INTURN_ENCRYPTION_KEYS alike for workers and clients, and start them anew"


async def examine_encryption(journal: SessionJournal) -> list[Finding]:
    """Return whether the keys here are the workers', and what the journal is encrypted with."""
    ring = read_keys()
    return [judge_keys(ring, await journal.serving()), judge_rest(ring, await journal.look_within(at_rest))]


def judge_keys(ring: KeyRing | None, rows: Sequence[Serving]) -> Finding:
    """Return whether workers and this process can read each other."""
    here: tuple[str, ...] = () if ring is None else ring.names
    for row in rows:
        worker = f"{row.worker} ({', '.join(_shown(row.keys)) or 'no keys'})"
        own = f"here are {', '.join(_shown(here)) or 'none'}"
        if not here or not row.keys:
            if bool(row.keys) == bool(here):
                continue
            return failed("keys", f"worker {worker} and this process do not both encrypt: {own}", _SET)
        if row.keys[0] not in here or here[0] not in row.keys:
            return failed(
                "keys", f"worker {worker} encrypts with a key that is not here, or lacks this one's: {own}", _SET
            )
    if not here:
        return fine("keys", "none: nothing is encrypted")
    return fine("keys", f"{', '.join(_shown(here))}; the first encrypts")


def judge_rest(ring: KeyRing | None, found: Mapping[str, int]) -> Finding:
    """Return whether all that is stored is under a key that is here.

    Args:
        ring: The keys here.
        found: Rows by the key that they are under, as `KeyRing.names` has it; `''`: in clear.
    """
    here: tuple[str, ...] = () if ring is None else ring.names
    counted = ", ".join(
        f"{count:,} {f'under {_shown([name])[0]}' if name else 'in clear'}" for name, count in sorted(found.items())
    )
    if gone := sorted(found.keys() - {*here, ""}):
        why = "which is another key than that of its name here" if {*_shown(gone)} & {*_shown(here)} else "not here"
        advice = "add the key that they were written with to INTURN_ENCRYPTION_KEYS, behind the first"
        return failed("at rest", f"the journal has rows under {', '.join(_shown(gone))}, {why}: {counted}", advice)
    if ring is not None and found.get(""):
        advice = "point to a journal that was begun with keys: rows in clear are refused where there are some"
        return failed("at rest", f"the journal has rows in clear: {counted}", advice)
    if ring is not None and len(found) > 1:
        return warned("at rest", f"of the rows looked at: {counted}", "keep every key that is named here")
    return fine("at rest", f"of the rows looked at: {counted or 'none'}")


def at_rest(tx: Transaction) -> dict[str, int]:
    """Return how many of some rows are under which key; `''`: in clear."""
    found: Counter[str] = Counter()
    keys = {table.name: table.key for table in tables()}
    for name in COLUMNS:
        table, _, column = name.partition(".")
        where = f"{column} IS NOT NULL" + (" AND state <> 'settled'" if table == "steps" else "")
        for way in ("ASC", "DESC"):
            sorted_by = ", ".join(f"{part} {way}" for part in keys.get(table, ("tenant", "session")))
            began = f"SUBSTR({column}, 1, {_BEGINNING})"
            rows = tx.execute(f"SELECT {began} FROM {table} WHERE {where} ORDER BY {sorted_by} LIMIT {_SAMPLE}")
            found.update(key_of(value) or "" for (value,) in rows)
    return dict(found)


def _shown(names: Sequence[str]) -> list[str]:
    return [name.partition(":")[0] for name in names]

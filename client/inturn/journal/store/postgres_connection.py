"""Connections to PostgreSQL.

Invariant: nothing outlives its transaction on a connection but prepared statements (none with `prepare=off`): every
setting is `SET LOCAL`'s, so a pooler may give each transaction another connection.
"""

from __future__ import annotations

from typing import Any, Final, cast

import psycopg
from psycopg.types.numeric import Int8Dumper

from inturn.journal.store.postgres_transaction import Connection
from inturn.journal.store.postgres_url import Address

_PREPARED: Final = 256
"""Prepared statements that a connection keeps."""


def connect(address: Address) -> Connection:
    """Connect; nothing is set on the connection itself."""
    connection = psycopg.connect(
        "", autocommit=True, cursor_factory=psycopg.RawCursor, **cast("dict[str, Any]", address.parameters)
    )
    connection.adapters.register_dumper(int, Int8Dumper)  # else each size of number prepares a statement of its own
    connection.prepare_threshold = 2 if address.prepare else None
    connection.prepared_max = _PREPARED
    return connection

"""A small shop on SQLite, the outside world of the examples.

Invariant: a change carries its caller's key, and the same key never changes anything twice. That is what banks, mail
services and your own tables offer, too; `ctx.key` is the key to give them.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, customer TEXT, item TEXT, cents INTEGER, status TEXT);
CREATE TABLE IF NOT EXISTS refunds (key TEXT PRIMARY KEY, order_id TEXT, cents INTEGER);
CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, order_id TEXT, text TEXT);
CREATE TABLE IF NOT EXISTS requests (at REAL, pid INTEGER, action TEXT, key TEXT);
"""
_STOCK: Final = (
    ("1001", "ada", "desk lamp", 3_900, "shipped"),
    ("1002", "ben", "kettle", 2_450, "delivered"),
    ("1003", "cleo", "rug", 4_800, "delivered"),
    ("1004", "dora", "armchair", 12_000, "delivered"),
    ("1005", "ada", "picture frame", 1_900, "in transit"),
)


class Refusal(Exception):
    """The shop says no."""


@dataclass(frozen=True)
class Shop:
    """The shop in a file. Several processes may use it at once.

    Attributes:
        path: The file.
        latency: Seconds between booking a change and answering, as over a slow network.
    """

    path: Path
    latency: float = 0.0

    @classmethod
    def from_environment(cls) -> Shop:
        """Open `SHOP_DB` (else `shop.sqlite` in the working directory), and stock it where it is new."""
        shop = cls(Path(os.environ.get("SHOP_DB", "shop.sqlite")), float(os.environ.get("SHOP_LATENCY", "0")))
        shop.stock()
        return shop

    def stock(self) -> None:
        """Make the tables and put the orders in; those that are there stay as they are."""
        with self._open() as db:
            db.executescript(_SCHEMA)
            db.executemany("INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?, ?)", _STOCK)

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Read."""
        with self._open() as db:
            return [dict(row) for row in db.execute(query, values)]

    def order(self, order_id: str) -> dict[str, Any]:
        """Return an order."""
        found = self.rows("SELECT * FROM orders WHERE order_id = ?", order_id)
        if not found:
            raise Refusal(f"there is no order {order_id}")
        return found[0]

    def refund(self, order_id: str, cents: int, *, key: str) -> str:
        """Pay an order back, at most what it cost."""
        with self._request("refund", key) as db:
            if db.execute("SELECT 1 FROM refunds WHERE key = ?", (key,)).fetchone():
                return f"refunded {cents} cents of order {order_id} (booked before)"
            paid = db.execute("SELECT coalesce(sum(cents), 0) FROM refunds WHERE order_id = ?", (order_id,)).fetchone()
            left = self.order(order_id)["cents"] - paid[0]
            if not 0 < cents <= left:
                raise Refusal(f"order {order_id} has {left} cents left to refund, not {cents}")
            db.execute("INSERT INTO refunds VALUES (?, ?, ?)", (key, order_id, cents))
        time.sleep(self.latency)
        return f"refunded {cents} cents of order {order_id}"

    def add_note(self, order_id: str, text: str, *, key: str) -> str:
        """Write a note on an order."""
        self.order(order_id)
        with self._request("note", key) as db:
            db.execute("INSERT OR IGNORE INTO notes VALUES (?, ?, ?)", (key, order_id, text))
        return f"noted on order {order_id}"

    @contextmanager
    def _request(self, action: str, key: str) -> Iterator[sqlite3.Connection]:
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO requests VALUES (?, ?, ?, ?)", (time.time(), os.getpid(), action, key))
            yield db

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=10)) as db, db:
            db.row_factory = sqlite3.Row
            yield db

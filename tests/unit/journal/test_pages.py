"""Whoever reads a whole session, or a whole journal, holds little of it at once, however large its rows are."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inturn.journal import Journal, NewEntry, Recorded, open_journal
from inturn.journal.log import log
from inturn.journal.moving.tables import tables
from inturn.journal.pruning import exports
from inturn.journal.store import pages as paging
from inturn.journal.store.pages import pages
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey
from tests.support.stores import journal_url

pytestmark = [pytest.mark.promise("SUR-15", "SUR-8"), pytest.mark.usefixtures("store")]

SESSION = SessionKey("acme", "large")
MIB = 1024 * 1024
ROWS = 48


async def _large(tmp_path: Path) -> Journal:
    """Return a journal with a session of as many large entries and blobs."""
    journal = open_journal(journal_url(tmp_path))
    await journal.open()
    for n in range(ROWS):
        entry = NewEntry("user.message", {"content": f"{n}{'x' * MIB}"}, event_id=f"e{n}", key=f"e{n}/user")
        await journal.record(SESSION, [Recorded(entry)])
        await journal.put_blob(SESSION, bytes([n]) * MIB)
    return journal


READS: dict[str, Callable[[Transaction, Path], Any]] = {
    "verify": lambda tx, _: log.verify(tx, SESSION),
    "export": lambda tx, path: exports.write(tx, SESSION, ROWS, path).rows,
    "copy": lambda tx, _: [table.digest(tx, None) for table in tables()],
}


@pytest.mark.parametrize("read", READS)
async def test_large_rows_are_read_a_few_at_once(tmp_path: Path, read: str) -> None:
    journal = await _large(tmp_path)
    tracemalloc.start()
    try:
        found = await journal.look_within(lambda tx: READS[read](tx, tmp_path / "out"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await journal.close()
    assert found == [] if read == "verify" else found
    assert most < 6 * paging.PAGE_BYTES < ROWS * MIB


async def test_every_row_is_read_once_whatever_their_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 1_000)
    monkeypatch.setattr(paging, "PAGE", 7)
    journal = open_journal(journal_url(tmp_path))
    await journal.open()
    sizes = [1, 2_000, 1, 1, 500, 499, 1, 5_000, 5_000, *([3] * 20)]
    entries = [NewEntry("note", {"x": "x" * size}, key=f"k{n}") for n, size in enumerate(sizes)]
    await journal.record(SESSION, [Recorded(entry) for entry in entries])
    read = await journal.look_within(
        lambda tx: [
            [seq for seq, _ in page] for page in pages(tx, "entries", ("seq", "body"), key=("seq",), large=("body",))
        ]
    )
    await journal.close()
    assert [seq for page in read for seq in page] == [*range(1, len(sizes) + 1)]
    assert [len(page) for page in read] == [1, 1, 3, 2, 1, 1, 7, 7, 6]

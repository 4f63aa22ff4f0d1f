"""A transcript in memory, on its way there and while it is kept, is bounded in bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from inturn.journal.ledger.answers import MAX_CLAIM_BYTES
from inturn.journal.reader import PAGE_BYTES
from inturn.journal.views.transcript import TYPES
from inturn.sizes import written
from inturn.values import Entry
from inturn_activities.model.transcript_cache import Transcripts
from tests.support.steps import SESSION, StepRunner, rig

pytestmark = pytest.mark.promise("SUR-8")

LARGE = "x" * 200_000


async def said(r: StepRunner, count: int, content: str = LARGE) -> int:
    """Have a session of so many turns; gives its head."""
    for n in range(count):
        await r.ask(f"e{n}", content)
    return await r.journal.head(SESSION)


async def test_a_cold_read_takes_pieces_of_bytes_and_not_of_entries(tmp_path: Path) -> None:
    async with rig(tmp_path, compaction=None) as r:
        head = await said(r, 60)
        pages: list[int] = []
        read = r.journal.read

        async def noting(*args: Any, **options: Any) -> list[Entry]:
            page = await read(*args, **options)
            pages.append(sum(written(entry.body) for entry in page))
            return page

        r.journal.read = noting  # type: ignore[method-assign]
        found = [entry async for entry in r.journal.entries(SESSION, types=TYPES)]
        assert found[-1].seq >= head - 1
        assert len(found) == 121, "and nothing is left out"
        assert len(pages) > 2
        assert all(size < 2 * PAGE_BYTES for size in pages[1:])


async def test_small_entries_are_read_by_the_hundred(tmp_path: Path) -> None:
    async with rig(tmp_path, compaction=None) as r:
        await said(r, 150, "hi")
        reads: list[int] = []
        read = r.journal.read

        async def noting(*args: Any, **options: Any) -> list[Entry]:
            reads.append(options["limit"])
            return await read(*args, **options)

        r.journal.read = noting  # type: ignore[method-assign]
        assert len([entry async for entry in r.journal.entries(SESSION)]) == 601
        assert len(reads) == 3


async def test_a_claim_brings_no_more_bytes_than_fit(tmp_path: Path) -> None:
    async with rig(tmp_path, compaction=None) as r:
        await said(r, 2)
        turn = SESSION.turn("next")
        few = await r.journal.claim_model(turn.step(0), [], after=0, types=TYPES)
        assert few.entries is not None
        await said(r, 10)
        many = await r.journal.claim_model(turn.step(1), [], after=0, types=TYPES)
        assert many.entries is None, f"it would bring more than {MAX_CLAIM_BYTES:,} characters"


@pytest.mark.parametrize("sessions", [1, 3])
async def test_the_bound_of_all_transcripts_holds_for_the_only_one_as_well(tmp_path: Path, sessions: int) -> None:
    async with rig(tmp_path, compaction=None) as r:
        head = await said(r, 5)
        kept = Transcripts(r.journal, sessions=sessions, size=1_000_000)
        loaded = await kept.load(SESSION, head)
        assert len(loaded.request_messages()) == 10
        assert kept.known(SESSION) is None
        assert kept._bytes == 0
        wide = Transcripts(r.journal, sessions=sessions, size=10_000_000)
        await wide.load(SESSION, head)
        assert wide.known(SESSION) is not None


@pytest.mark.parametrize("ref", ["\ud800", "sha256:\udfff", "", "\0", "x" * 10_000])
async def test_a_reference_that_is_none_has_no_bytes(tmp_path: Path, ref: str) -> None:
    async with rig(tmp_path, compaction=None) as r:
        known = await r.journal.put_blob(SESSION, b"bytes")
        assert known == f"sha256:{hashlib.sha256(b'bytes').hexdigest()}"
        assert await r.journal.blob(SESSION, ref) is None
        assert await r.journal.blob(SESSION, known) == b"bytes"

"""What was uploaded is its tenant's alone, stays while a session says it, and is settled for good where it is said."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from inturn.journal import Journal, NewEntry, Outcome, Recorded, open_store
from inturn.journal.log import blobs, uploads
from inturn.journal.moving import copying
from inturn.journal.pruning import exports, prune
from inturn.journal.pruning import uploads as pruning
from inturn.journal.store.store import Store
from inturn.keys import SessionKey
from inturn.testing.memory import MemoryStore
from tests.support.journal import OTHER, SESSION, opening, plain_turn
from tests.support.lock_order import OrderedTransaction
from tests.support.media import block, pdf, png
from tests.support.stores import journal_url

LATER = 2**40
"""When everything was long ago."""
STRANGER = SessionKey("evil", "s1")
GONE = "sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def _on_both(store: str) -> None:
    """Run on SQLite, and again on PostgreSQL."""


@pytest.fixture
async def opened(store: str, tmp_path: Path) -> AsyncIterator[Store]:
    made = open_store(journal_url(tmp_path))
    await made.open()
    yield made
    await made.close()


async def said(journal: Journal, content: Any, event: str = "e1", session: SessionKey = SESSION) -> list[Any]:
    """Have a turn begin with a content; return what its entry says."""
    claim = await journal.claim_model(session.turn(event).step(0), opening(event, content))
    assert claim.status == "claimed"
    [entry] = await journal.read(session, event_id=event, types=["user.message"])
    assert claim.entries is None or entry.body in [each.body for each in claim.entries]
    return list(entry.body["content"])


async def test_an_upload_is_found_by_the_hash_of_its_bytes_and_the_same_one_again_is_no_other(journal: Journal) -> None:
    data = pdf(3)
    ref = await journal.put_upload("acme", data, "application/pdf")
    assert ref == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert await journal.put_upload("acme", data, "text/plain") == ref
    [shown] = await said(journal, [block(ref) | {"title": "bill"}])
    source = {"type": "inturn", "ref": ref, "media_type": "application/pdf", "size": len(data), "measure": 3}
    assert shown == {"type": "document", "title": "bill", "source": source}
    assert await journal.blob(SESSION, ref) == data


@pytest.mark.promise("ISO-1")
async def test_nobody_else_finds_it_neither_another_tenant_nor_a_session_that_does_not_say_it(journal: Journal) -> None:
    ref = await journal.put_upload("acme", png(), "image/png")
    await said(journal, [block(ref, "image")])
    [seen] = await said(journal, [block(ref, "image")], session=STRANGER)
    assert seen == {"type": "text", "text": f"[image: {uploads.UNKNOWN}, {ref}]"}
    assert await journal.blob(STRANGER, ref) is None
    assert await journal.blob(OTHER, ref) is None, "it is another session's to say"
    assert await journal.blob(SESSION, ref) == png()


@pytest.mark.parametrize(
    ("data", "kind", "why"),
    [
        (b"PK\x03\x04 a zip", "document", "no PDF that can be opened, and no text, but application/x-told"),
        (b"PK\x03\x04 a zip", "image", "no PNG, JPEG, GIF or WebP"),
        (pdf(), "image", "no PNG, JPEG, GIF or WebP"),
        (png(), "document", "no PDF"),
        (b"%PDF-1.7 trailer << /Encrypt 4 0 R >>", "document", "no PDF that can be opened"),
        (png(8_001), "image", "larger than 5 MiB or 8,000 pixels"),
        (png(size=5 * 2**20 + 1), "image", "larger than 5 MiB"),
        (b"\x89PNG\r\n\x1a\n", "image", "no PNG"),
        (b"half a character: \xc3", "document", "no text"),
        (b"bell \x07", "document", "no text"),
        (b" \n ", "document", "no text"),
    ],
)
async def test_what_cannot_be_shown_is_a_text_that_says_why(journal: Journal, data: bytes, kind: str, why: str) -> None:
    ref = await journal.put_upload("acme", data, "application/x-told")
    [shown] = await said(journal, [block(ref, kind)])
    assert shown["type"] == "text"
    assert shown["text"].startswith(f"[{kind}: what was uploaded is ")
    assert why in shown["text"]


async def test_what_is_settled_stays_so_whatever_its_sender_said_and_whoever_uploads_later(journal: Journal) -> None:
    forged = block(GONE, "image")
    forged["source"] |= {"media_type": "image/png", "size": 1, "measure": 1}
    data = b"later"
    late = f"sha256:{hashlib.sha256(data).hexdigest()}"
    nested = {"type": "document", "source": {"type": "content", "content": [block(late, "document")]}}
    shown = await said(journal, [forged, block(late), nested])
    texts = [shown[0]["text"], shown[1]["text"], shown[2]["source"]["content"][0]["text"]]
    assert all(uploads.UNKNOWN in text for text in texts)
    assert await journal.put_upload("acme", data, "text/plain") == late
    await journal.claim_model(SESSION.turn("e1").step(0), opening("e1", [block(late)]))
    [entry] = await journal.read(SESSION, event_id="e1", types=["user.message"])
    assert entry.body["content"] == shown


async def test_an_event_that_was_set_aside_keeps_what_it_names_unsettled(journal: Journal) -> None:
    ref = await journal.put_upload("acme", b"a text", "text/plain")
    event = {"event_id": "e1", "content": [block(ref), block(GONE)]}
    joined = {"event_id": "e2", "content": [block(await journal.put_upload("acme", b"more", "text/plain"))]}
    entry = NewEntry("event.parked", {"event": event, "joined": [joined]}, "e1", key="e1/parked")
    await journal.record(SESSION, [Recorded(entry, Outcome("e1", "e1", "parked"))])
    [parked] = await journal.parked(SESSION)
    assert parked.body["event"] == event
    assert parked.body["joined"] == [joined]
    assert await pruning.prune(journal._store, LATER) == 0


async def test_a_result_is_settled_as_an_event_is(journal: Journal) -> None:
    ref = await journal.put_upload("acme", png(64), "image/png")
    step = SESSION.turn("e1").step(0, 0)
    claim = await journal.claim_call(step, lease=5)
    body = {"call_id": "c", "tool": "draw", "status": "ok", "content": [block(ref, "image"), block(GONE, "image")]}
    entry = NewEntry("agent.tool_result", body, "e1", step.within_turn, key=step.within_session)
    await journal.finish(step, claim.token, {"status": "ok"}, [entry])
    [written] = await journal.read(SESSION)
    assert written.body["content"][0]["source"]["measure"] == 64
    assert uploads.UNKNOWN in written.body["content"][1]["text"]
    assert await journal.blob(SESSION, ref) == png(64)


async def test_two_thousand_references_of_one_entry_are_settled(journal: Journal) -> None:
    refs = [await journal.put_upload("acme", f"text {n}".encode(), "text/plain") for n in range(3)]
    content = [block(refs[n % 3]) if n % 2 else block(f"sha256:{n:064x}") for n in range(2_000)]
    shown = await said(journal, content)
    assert sum(each["type"] == "document" for each in shown) == 1_000


async def test_what_no_entry_names_goes_by_age_and_what_one_names_stays(opened: Store) -> None:
    journal = Journal(opened)
    named = await journal.put_upload("acme", b"named", "text/plain")
    for tenant in ("acme", "other"):
        for n in range(7):
            await journal.put_upload(tenant, b"x" * (n + 1), "text/plain")
    await said(journal, [block(named)])
    now = await prune.now(opened)
    assert await pruning.find(opened, now - 60) == (0, 0)
    assert await pruning.prune(opened, now - 60) == 0
    assert await pruning.find(opened, LATER, "acme") == (7, 28)
    assert await pruning.prune(opened, LATER, "acme") == 7
    assert await pruning.find(opened, LATER) == (7, 28)
    assert await pruning.prune(opened, LATER) == 7
    assert await journal.blob(SESSION, named) == b"named"


async def test_what_goes_with_its_last_session_is_exported_with_each(opened: Store, tmp_path: Path) -> None:
    journal, data = Journal(opened), pdf(2)
    ref = await journal.put_upload("acme", data, "application/pdf")
    for session in (SESSION, OTHER):
        await plain_turn(journal, session, "e0")
        await said(journal, [block(ref)], session=session)
        step = session.turn("e1").step(0)
        await journal.fail(step, (await journal.claim_model(step)).token, "unknown")
        await journal.record(session, [], settle=[session.turn("e1")], close=True)
    due = [each async for each in prune.find(opened, LATER)]
    assert [each.session for each in due] == [SESSION, OTHER]
    export = partial(prune.prune, opened, export=tmp_path / "out", by="ann", progress=lambda gone: None)
    assert await export(due[0])
    assert await pruning.prune(opened, LATER) == 0
    assert await journal.blob(OTHER, ref) == data
    assert await export(due[1])
    assert await pruning.prune(opened, LATER) == 1
    files = list((tmp_path / "out").rglob("*.jsonl"))
    assert len(files) == 2
    for file in files:
        assert exports.check(file).rows
        assert '"table":"uploads"' in file.read_text()


async def test_a_copy_has_all_of_it_and_what_was_changed_is_found(opened: Store, tmp_path: Path) -> None:
    journal = Journal(opened)
    ref = await journal.put_upload("acme", b"a text", "text/plain")
    odd = await journal.put_upload("acme", b"\x01inturn:a:no key", "text/plain")
    await said(journal, [block(ref), block(odd)])
    (tmp_path / "other").mkdir()
    target = open_store(journal_url(tmp_path / "other"))
    await target.open()
    copied = await copying.copy(opened, target, name="there")
    assert (copied.rows["uploads"], copied.rows["upload_uses"]) == (2, 2)
    copy = Journal(target)
    assert await copy.blob(SESSION, ref) == b"a text"
    assert await copy.blob(SESSION, odd) == b"\x01inturn:a:no key"
    assert await target.read(lambda tx: list(blobs.faults(tx))) == []
    await target.write(lambda tx: tx.execute("UPDATE uploads SET data = ? WHERE ref = ?", (b"another", ref)))
    [fault] = await target.read(lambda tx: list(blobs.faults(tx)))
    assert fault == f"uploads of acme: {ref} is not what was kept"
    await target.close()


def test_a_sweep_keeps_to_the_order_of_locks() -> None:
    kept = MemoryStore()
    tx = OrderedTransaction(kept._connection)
    uploads.put(tx, "acme", uploads.prepared(tx, "acme", b"a", "text/plain"))
    assert pruning.delete(tx, LATER, None) == 1

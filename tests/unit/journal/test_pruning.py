"""Sessions that ended long ago are exported and go; whoever is still at work, or may ask again, notices nothing."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from inturn import Client
from inturn.client.audit.audit import Auditor
from inturn.encryption import parse_keys
from inturn.encryption.columns import Sealing
from inturn.encryption.keys import VARIABLE
from inturn.errors import JournalUnavailable
from inturn.journal import Journal, NewEntry, Recorded, open_journal, open_sealed, open_store
from inturn.journal.log import pruned
from inturn.journal.moving import copying
from inturn.journal.moving.reencrypting import reencrypt
from inturn.journal.pruning import exports, prune
from inturn.journal.pruning.doomed import doomed
from inturn.journal.pruning.due import Due
from inturn.journal.pruning.exports import ExportFailed
from inturn.journal.state.changes import Operation, Push, Put, Scope
from inturn.journal.store.store import Store, Transaction
from inturn.keys import SessionKey
from inturn.testing.memory import MemoryStore
from tests.support.journal import OTHER, SESSION, calls, memory, opening, plain_turn
from tests.support.keys import keys
from tests.support.lock_order import OrderedTransaction
from tests.support.stores import journal_url
from tests.support.transport import FakeTransport

ROWS = ("entries", "contents", "steps", "outcomes", "blobs", "operations", "shared_values", "queues", "queue_items")
LATER = 2**40
"""When everything was long ago."""


@pytest.fixture
async def opened(store: str, tmp_path: Path) -> AsyncIterator[Store]:
    made = open_store(journal_url(tmp_path))
    await made.open()
    yield made
    await made.close()


async def lived(store: Store, session: SessionKey = SESSION, *, turns: int = 12, close: bool = True) -> Journal:
    """A session that did a little of everything, and ended."""
    journal = Journal(store)
    for n in range(turns):
        await plain_turn(journal, session, f"e{n}", f"answer {n}")
    made = await journal.claim_model(session.turn("c").step(0), opening("c"))
    await journal.finish(session.turn("c").step(0), made.token, {"stop": "tool_use"}, calls("c", ["c0"]))
    step = session.turn("c").step(0, 0)
    claim = await journal.claim_call(step, lease=60)
    scope = Scope(session.tenant, session.session_id)
    await journal.change(scope, Put("v", '"x"', None), Operation(step, claim.token, 0))
    await journal.change(scope, Push("q", '"item"'), Operation(key="once"))
    await journal.change(Scope(session.tenant), Put("everybodys", '"x"', None), Operation())
    await journal.put_blob(session, b"picture" * 100)
    await journal.put_content(session, "large", {"content": "a" * 10_000})
    await journal.finish(step, claim.token, {"status": "ok"})
    if close:
        await journal.record(session, [], settle=[session.turn("c")], close=True)
    return journal


async def found(store: Store, before: float = LATER) -> list[Due]:
    return [one async for one in prune.find(store, before)]


async def pruned_all(store: Store, directory: Path | None = None, before: float = LATER) -> list[int | None]:
    go = [one for one in await found(store, before) if one.kept is None]
    return [await prune.prune(store, one, export=directory, by="op", progress=lambda _: None) for one in go]


async def counted(store: Store, session: SessionKey = SESSION) -> dict[str, int]:
    def count(tx: Transaction) -> dict[str, int]:
        where = (session.tenant, session.session_id)
        counts = {
            table: tx.execute(f"SELECT COUNT(*) FROM {table} WHERE tenant = ? AND session = ?", where) for table in ROWS
        }
        return {table: int(rows[0][0]) for table, rows in counts.items() if rows[0][0]}

    return await store.read(count)


@pytest.mark.promise("ORD-8")
async def test_of_a_closed_session_its_end_and_what_went_is_known_for_ever(opened: Store, tmp_path: Path) -> None:
    journal = await lived(opened)
    before = await journal.position(SESSION)
    entries = await journal.read(SESSION)
    [known] = await found(opened)
    assert (known.session, known.kept, known.head) == (SESSION, None, before.head)
    assert await pruned_all(opened, tmp_path) == [known.rows]
    [entry] = await journal.read(SESSION)
    assert (entry.type, entry.seq, entry.prev) == (pruned.PRUNED, before.head + 1, entries[-1].hash)
    assert (entry.body["upto"], entry.body["by"], entry.body["counts"]) == (before.head, "op", {"applied": 12})
    assert await counted(opened) == {"entries": 1, "operations": 1}, "a key is known for as long as was promised"
    assert await journal.verify(SESSION) == []
    assert await journal.check(SESSION, before.identity, before.head) is False, "it is the log that it was"
    assert await journal.value(Scope("acme"), "everybodys") == ("x", 1)
    made = exports.check(next(tmp_path.glob("tenant-acme/*.jsonl")))
    assert (made.head, made.hash, made.rows) == (before.head, entry.prev, known.rows)
    assert entry.body["export"] == {
        "file": f"tenant-acme/s1.{before.head}.jsonl",
        "sha256": made.sha256,
        "rows": made.rows,
    }


@pytest.mark.promise("EFF-2")
async def test_whoever_comes_late_to_a_pruned_session_does_nothing_again(opened: Store) -> None:
    journal = await lived(opened)
    await pruned_all(opened)
    assert (await journal.claim_model(SESSION.turn("new").step(0), opening("new"))).status == "closed"
    call = await journal.claim_call(SESSION.turn("c").step(0, 0), lease=60)
    assert call.status == "settled", "a reset runs no call of it again"
    reference = await journal.put_content(SESSION, "e1", {"content": "b" * 10_000})
    assert reference["gen"] == 0, "nothing is kept for a session that takes nothing"
    late = NewEntry("event.rejected", {"reason": "closed"}, event_id="late", key="late/rejected")
    await journal.record(SESSION, [Recorded(late)])
    assert [entry.type for entry in await journal.read(SESSION)] == [pruned.PRUNED, "event.rejected"]
    assert await journal.verify(SESSION) == []


async def test_only_what_is_closed_old_read_and_at_rest_goes(opened: Store) -> None:
    journal = await lived(opened)
    await lived(opened, OTHER, close=False)
    assert [one.session for one in await found(opened)] == [SESSION], "one that is open is nobody's to prune"
    assert await found(opened, before=await prune.now(opened) - 3600) == [], "it was closed an hour ago at the latest"
    await journal.move_cursor("acme", "mirror", "s1", 7)
    [known] = await found(opened)
    assert known.kept == "the reader mirror has read no further than entry 7"
    await journal.move_cursor("acme", "mirror", "s1", known.head)
    assert [one.kept for one in await found(opened)] == [None]
    running = await journal.claim_call(SESSION.turn("d").step("deliver", 0), lease=60)
    assert running.status == "claimed"
    assert [one.kept for one in await found(opened)] == ["a step of it still runs"]


@pytest.mark.parametrize("touched", ["call", "entry", "reader"])
async def test_what_is_touched_between_the_look_and_the_deletion_is_left(
    opened: Store, touched: str, tmp_path: Path
) -> None:
    journal = await lived(opened)
    [known] = await found(opened)
    before = await counted(opened)
    if touched == "call":
        await journal.claim_call(SESSION.turn("d").step("deliver", 0), lease=60)
    if touched == "entry":
        await journal.record(SESSION, [Recorded(NewEntry("event.rejected", {}, event_id="l", key="l/rejected"))])
    if touched == "reader":
        await journal.move_cursor("acme", "mirror", "s1", 1)
    assert await prune.prune(opened, known, export=tmp_path, by=None, progress=lambda _: None) is None
    after = await counted(opened)
    assert all(after[table] >= rows for table, rows in before.items())
    assert await journal.pruned(SESSION) is None


@pytest.mark.parametrize("seed", range(3))
async def test_a_prune_that_is_killed_anywhere_is_gone_on_with(opened: Store, seed: int, tmp_path: Path) -> None:
    journal, chance = await lived(opened, turns=5), random.Random(seed)
    [known] = await found(opened)
    assert await opened.write(partial(prune.mark, known=known, export=None, by=None))
    left, steps = known.rows, 0
    while left:
        assert await journal.verify(SESSION) == [], "in the middle, too"
        marker = await journal.pruned(SESSION)
        assert marker is not None
        assert marker.body["upto"] == known.head
        [again] = await found(opened)
        assert (again.rows, again.marked, again.kept) == (left, True, None)
        if chance.random() < 0.2:
            break
        left -= await opened.write(partial(prune.delete, session=SESSION, limit=chance.randint(1, 12)))
        steps += 1
    await pruned_all(opened, tmp_path)
    assert await found(opened) == []
    assert list(tmp_path.glob("**/*.jsonl")) == [], "what is gone in part is exported no more"
    assert await counted(opened) == {"entries": 1, "operations": 1}
    assert await journal.verify(SESSION) == []


async def test_what_a_killed_prune_had_decided_is_gone_on_with_though_that_was_lately(opened: Store) -> None:
    await lived(opened)
    before = await prune.now(opened)
    [known] = await found(opened, before)
    assert await opened.write(partial(prune.mark, known=known, export=None, by=None))
    assert [again.marked for again in await found(opened, before)] == [True]
    assert await pruned_all(opened, before=before) == [known.rows]
    assert await found(opened, before) == []


async def test_pruning_twice_takes_what_came_since_and_keeps_both_exports(opened: Store, tmp_path: Path) -> None:
    journal = await lived(opened)
    await pruned_all(opened, tmp_path)
    assert await pruned_all(opened, tmp_path) == []
    first = await journal.pruned(SESSION)
    late = NewEntry("event.rejected", {"reason": "closed"}, event_id="late", key="late/rejected")
    await journal.record(SESSION, [Recorded(late)])
    assert await pruned_all(opened, tmp_path) == [2], "the entry that said what had gone, and the one that came"
    second = await journal.pruned(SESSION)
    assert first
    assert second
    assert second.seq == first.seq + 2
    assert second.body["counts"] == first.body["counts"] != {}, "what had ended before is counted still"
    assert await journal.verify(SESSION) == []
    one, two = sorted((exports.check(path) for path in tmp_path.glob("**/*.jsonl")), key=lambda export: export.head)
    assert (one.hash, one.head) == (first.prev, first.seq - 1)
    assert (two.hash, two.head) == (second.prev, second.seq - 1)


@pytest.mark.promise("ORD-8")
@pytest.mark.parametrize("attack", ["delete the mark", "delete behind it", "change it", "delete unmarked", "forge"])
async def test_what_was_deleted_by_hand_is_not_taken_for_pruned(opened: Store, attack: str) -> None:
    journal = await lived(opened)
    if attack == "delete unmarked":
        await opened.write(lambda tx: tx.execute("DELETE FROM entries WHERE seq < 20"))
    else:
        await pruned_all(opened)
        for n in range(3):
            late = NewEntry("event.rejected", {}, event_id=f"l{n}", key=f"l{n}/rejected")
            await journal.record(SESSION, [Recorded(late)])
    head = await journal.head(SESSION)
    statement = {
        "delete the mark": f"DELETE FROM entries WHERE seq = {head - 3}",
        "delete behind it": f"DELETE FROM entries WHERE seq = {head - 2}",
        "change it": f"UPDATE entries SET body = '{{}}' WHERE seq = {head - 3}",
        "forge": f"UPDATE entries SET type = 'session.pruned', key = '~pruned/{head - 1}' WHERE seq = {head}",
    }.get(attack)
    if statement:
        await opened.write(lambda tx: tx.execute(statement))
    assert await journal.verify(SESSION) != []


@pytest.mark.parametrize("damage", ["cut", "line", "entry", "rows", "other file"])
async def test_an_export_that_is_not_whole_is_found(opened: Store, damage: str, tmp_path: Path) -> None:
    await lived(opened)
    await pruned_all(opened, tmp_path)
    path = next(tmp_path.glob("**/*.jsonl"))
    lines = path.read_text().splitlines(keepends=True)
    assert exports.check(path).rows == len(lines) - 2
    changed = {
        "cut": lines[:-1],
        "line": [*lines[:5], *lines[6:]],
        "entry": [line.replace("answer 3", "answer 4") for line in lines],
        "rows": [*lines[:-2], lines[-1]],
        "other file": ["{}\n"],
    }[damage]
    path.write_text("".join(changed))
    with pytest.raises(ExportFailed):
        exports.check(path)


async def test_the_export_of_another_session_is_never_written_over(opened: Store, tmp_path: Path) -> None:
    await lived(opened, OTHER)
    await pruned_all(opened, tmp_path)
    [made] = tmp_path.glob("**/*.jsonl")
    await lived(opened)
    before, [known] = await counted(opened), await found(opened)
    here = tmp_path / f"tenant-{SESSION.tenant}" / f"{SESSION.session_id}.{known.head}.jsonl"
    here.parent.mkdir(exist_ok=True)
    made.rename(here)  # as it is there where names are the same but for their case
    kept = here.read_bytes()
    with pytest.raises(ExportFailed, match="is the export of"):
        await pruned_all(opened, tmp_path)
    assert here.read_bytes() == kept
    assert await counted(opened) == before


async def test_where_the_export_cannot_be_written_nothing_goes(opened: Store, tmp_path: Path) -> None:
    journal = await lived(opened)
    (tmp_path / "file").write_text("")
    before = await counted(opened)
    with pytest.raises(ExportFailed, match="To do"):
        await pruned_all(opened, tmp_path / "file")
    assert await counted(opened) == before
    assert await journal.pruned(SESSION) is None


@pytest.mark.parametrize("tenant", ["..", "."])
async def test_no_name_leads_out_of_the_exports_directory(opened: Store, tenant: str, tmp_path: Path) -> None:
    await lived(opened, SessionKey(tenant, ".."))
    await pruned_all(opened, tmp_path / "in")
    assert [path.parent.parent for path in tmp_path.glob("**/*.jsonl")] == [tmp_path / "in"]


async def test_readers_learn_that_a_session_was_closed_and_what_went(opened: Store) -> None:
    journal = await lived(opened)
    await pruned_all(opened)
    session = Client(journal=journal, tenant="acme").session("s1")
    async with asyncio.timeout(10):
        assert [entry.type async for entry in session.entries(follow=True)] == [pruned.PRUNED]
        assert [entry.type async for entry in session.entries(5, follow=True)] == [pruned.PRUNED]
        assert [entry async for entry in session.stream("e1")] == []
    assert await session.transcript() == []


async def test_an_audit_compares_no_more_what_was_pruned_and_says_so(opened: Store) -> None:
    journal = await lived(opened)
    [known] = await found(opened)
    await opened.write(partial(prune.mark, known=known, export=None, by=None))
    await opened.write(partial(prune.delete, session=SESSION, limit=20))
    transport = FakeTransport(journal=journal)
    transport.key = SESSION
    for _ in range(2):
        audit = await Auditor(transport).audit(deep=True)  # type: ignore[arg-type]
        assert (audit.ok, audit.pruned, audit.accepted, audit.counts) == (True, known.head, 12, {"applied": 12})
        await pruned_all(opened)
    await opened.write(lambda tx: tx.execute("UPDATE entries SET body = '{}'"))
    audit = await Auditor(transport).audit(deep=True)  # type: ignore[arg-type]
    assert not audit.ok


async def test_pruned_sessions_move_with_the_rest(opened: Store, tmp_path: Path) -> None:
    journal = await lived(opened)
    await pruned_all(opened)
    await plain_turn(journal, OTHER, "e1")
    there = open_store(f"sqlite:///{tmp_path}/copy.db")
    await copying.copy(opened, there, name="there")
    assert await Journal(there).verify(SESSION) == []
    assert (await Journal(there).claim_call(SESSION.turn("c").step(0, 0), lease=1)).status == "settled"
    await there.close()


@pytest.mark.promise("SEC-2")
async def test_what_was_encrypted_is_exported_so_and_a_pruned_session_is_encrypted_anew(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, keys("a"))
    url = journal_url(tmp_path)
    here = open_sealed(url)
    journal = await lived(here)
    await lived(here, OTHER)
    go = (await found(here))[:1]
    await prune.prune(here, go[0], export=tmp_path, by="op", progress=lambda _: None)
    text = next(tmp_path.glob("tenant-acme/*")).read_text()
    assert "answer 3" not in text
    assert base64.b64encode(b"a" * 99).decode() not in text
    assert exports.check(next(tmp_path.glob("tenant-acme/*"))).rows == go[0].rows
    entry = await journal.pruned(SESSION)
    assert entry is not None
    assert entry.body["by"] == "op"
    without = open_store(url)
    with pytest.raises(JournalUnavailable, match="INTURN_ENCRYPTION_KEYS"):
        await prune.prune(without, (await found(here))[0], export=None, by=None, progress=lambda _: None)
    await without.close()
    url = journal_url(tmp_path, "anew")
    there = open_store(url)
    await reencrypt(here, there, Sealing(parse_keys(keys("b", "a"))), name="there")
    await there.close()
    await here.close()
    monkeypatch.setenv(VARIABLE, keys("b"))
    copy = open_journal(url)
    assert await copy.verify(SESSION) == []
    again = await copy.pruned(SESSION)
    assert again is not None
    assert (again.body, again.prev) == (entry.body, entry.prev), "the export proves it still"
    assert await copy.verify(OTHER) == []
    assert (await copy.read(OTHER, limit=2))[1].body["content"] == "hi"
    await copy.close()


async def test_what_goes_is_locked_in_the_order_of_all() -> None:
    made = MemoryStore()
    await lived(made)
    [known] = await found(made)
    tx = OrderedTransaction(made._connection)
    assert prune.mark(tx, known, None, None)
    assert prune.delete(OrderedTransaction(made._connection), SESSION, 10_000) == known.rows


def test_every_table_of_sessions_goes_with_them() -> None:
    with memory() as tx:
        tables = {each.table.name for each in doomed(tx, SESSION, 1)}
        owned = {
            name
            for (name,) in tx.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            if {"tenant", "session"} <= {column[1] for column in tx.execute(f"PRAGMA table_info({name})")}
        }
    assert owned - tables == {"sessions", "rewritten", "cursors", "stops", "deltas", "watches"}


@pytest.mark.promise("ORD-8")
async def test_live_sessions_notice_nothing(opened: Store, tmp_path: Path) -> None:
    """Turns go on while others' sessions are pruned, and while those are closed under the pruner."""
    journal = Journal(opened)
    for n in range(6):
        await lived(opened, SessionKey("acme", f"old{n}"), turns=8)
    live = [SessionKey("acme", f"live{n}") for n in range(4)]
    over = False

    async def converse(session: SessionKey) -> int:
        n = 0
        while not over or n < 3:
            await plain_turn(journal, session, f"e{n}")
            n += 1
        return n

    talking = [asyncio.create_task(converse(session)) for session in live]
    gone = await pruned_all(opened, tmp_path)
    over = True
    turns = await asyncio.gather(*talking)
    assert len(gone) == 6
    assert None not in gone
    for session, count in zip(live, turns, strict=True):
        assert await journal.verify(session) == []
        assert (await counted(opened, session))["outcomes"] == count

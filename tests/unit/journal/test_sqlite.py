"""The store on SQLite: commits are shared, failures are not, and every trouble says what to do."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inturn.errors import InturnError, JournalUnavailable
from inturn.journal import Journal, NewEntry, Recorded, Superseded, open_journal
from inturn.journal.store import schema, sqlite_writer
from inturn.journal.store.sqlite import SqliteStore
from inturn.journal.store.sqlite_connection import connect
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey
from tests.support import outside
from tests.support.journal import SESSION, plain_turn, result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(path, busy_timeout=5)
    await made.open()
    yield made
    await made.close()


def insert(name: str) -> Callable[[Transaction], int]:
    def work(tx: Transaction) -> int:
        tx.execute("INSERT INTO cursors (tenant, name, session, seq) VALUES ('t', ?, 's', 1)", (name,))
        return 1

    return work


def names(tx: Transaction) -> list[str]:
    return [row[0] for row in tx.execute("SELECT name FROM cursors ORDER BY name")]


def damage(path: Path) -> None:
    path.write_bytes(b"not a database, " * 500)


def move_away(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))


def forbid_writing(path: Path) -> None:
    path.chmod(0o444)


def there(*paths: Path) -> tuple[bool, ...]:
    return tuple(path.exists() for path in paths)


async def test_what_is_written_can_be_read_and_survives_reopening(store: SqliteStore, path: Path) -> None:
    assert await store.write(insert("a")) == 1
    assert await store.read(names) == ["a"]
    await store.close()
    await store.open()
    await store.open()
    assert await store.read(names) == ["a"]


async def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        made = SqliteStore(tmp_path / "new.db", busy_timeout=5)
        await made.open()
        await made.write(insert("a"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    await made.close()
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3, "the file, its log and its index"


async def test_a_file_that_is_there_keeps_the_mode_that_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    path.touch()
    path.chmod(0o660)
    made = SqliteStore(path, busy_timeout=5)
    await made.open()
    await made.close()
    assert path.stat().st_mode & 0o777 == 0o660


async def test_commits_are_durable_and_readers_do_not_block(store: SqliteStore, path: Path) -> None:
    def pragmas(tx: Transaction) -> list[Any]:
        return [tx.execute(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")]

    assert await store.write(pragmas) == ["wal", 2]


def level(tx: Transaction) -> int:
    return int(tx.execute("PRAGMA synchronous")[0][0])


async def test_what_need_not_be_durable_waits_for_no_disk_unless_it_shares_a_commit(store: SqliteStore) -> None:
    assert await store.write(level, durable=False) == 1
    assert await store.write(level) == 2
    gate = threading.Event()
    first = asyncio.ensure_future(store.write(lambda tx: gate.wait(5)))
    relaxed = [asyncio.ensure_future(store.write(level, durable=False)) for _ in range(3)]
    durable = asyncio.ensure_future(store.write(insert("a")))
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(first, *relaxed, durable) == [True, 2, 2, 2, 1]
    assert await store.read(names) == ["a"]


async def test_only_the_claim_of_a_model_step_waits_for_no_disk(store: SqliteStore) -> None:
    journal, levels = Journal(store), list[int]()
    write = store.write

    async def seen(work: Any, *, durable: bool = True, urgent: bool = False) -> Any:
        def noted(tx: Transaction) -> Any:
            levels.append(level(tx))
            return work(tx)

        return await write(noted, durable=durable)

    store.write = seen  # type: ignore[method-assign]
    await plain_turn(journal, SESSION, "e1")
    call = SESSION.turn("e2").step(0, 0)
    claim = await journal.claim_call(call, lease=5)
    await journal.finish(call, claim.token, {"status": "ok"})
    claim_model, *others = levels
    assert (claim_model, others) == (1, [2, 2, 2])


async def test_jobs_that_wait_share_one_commit(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, batches = threading.Event(), []
    run = sqlite_writer.Writer._commit

    def counted(self: Any, batch: list[Any]) -> bool:
        going = run(self, batch)
        batches.append(len(batch))
        return going

    monkeypatch.setattr(sqlite_writer.Writer, "_commit", counted)
    first = asyncio.ensure_future(store.write(lambda tx: gate.wait(5)))
    rest = [asyncio.ensure_future(store.write(insert(f"{n:02}"))) for n in range(50)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *rest)
    assert len(await store.read(names)) == 50
    assert len(batches) <= 3
    assert sum(batches) == 51


async def test_a_job_that_fails_undoes_its_own_work_alone(store: SqliteStore) -> None:
    def bad(tx: Transaction) -> None:
        insert("bad")(tx)
        raise ValueError("mine")

    outcomes = await asyncio.gather(
        store.write(insert("a")),
        store.write(bad),
        store.write(insert("a")),
        store.write(insert("b")),
        return_exceptions=True,
    )
    assert outcomes[0] == outcomes[3] == 1
    assert isinstance(outcomes[1], ValueError)
    assert isinstance(outcomes[2], JournalUnavailable)
    assert isinstance(outcomes[2].__cause__, sqlite3.IntegrityError)
    assert await store.read(names) == ["a", "b"]


async def test_a_cancelled_caller_does_not_stop_the_commit(store: SqliteStore) -> None:
    gate = threading.Event()
    first = asyncio.ensure_future(store.write(lambda tx: gate.wait(5)))
    caller = asyncio.ensure_future(store.write(insert("a")))
    await asyncio.sleep(0)
    caller.cancel()
    gate.set()
    await first
    with pytest.raises(asyncio.CancelledError):
        await caller
    await store.write(insert("b"))
    assert await store.read(names) == ["a", "b"]


def test_a_loop_that_is_closed_meanwhile_harms_nobody(path: Path) -> None:
    store, gate = SqliteStore(path), threading.Event()

    async def leave() -> None:
        await store.open()
        stuck = asyncio.ensure_future(store.write(lambda tx: gate.wait(5)))
        left = asyncio.ensure_future(store.write(insert("left")))
        await asyncio.sleep(0)
        for task in (stuck, left):
            task.cancel()
        await asyncio.gather(stuck, left, return_exceptions=True)

    async def come_back() -> list[str]:
        await store.write(insert("next"))
        found = await store.read(names)
        await store.close()
        return found

    asyncio.run(leave())
    gate.set()
    assert asyncio.run(come_back()) == ["left", "next"]


async def test_closing_finishes_what_is_queued(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    waiting = [asyncio.ensure_future(store.write(insert(f"{n:03}"))) for n in range(300)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*waiting) == [1] * 300
    with pytest.raises(JournalUnavailable, match="it was closed"):
        await store.read(names)
    await store.open()
    assert len(await store.read(names)) == 300
    await store.close()


async def test_the_first_use_opens(path: Path) -> None:
    store = SqliteStore(path)
    await asyncio.gather(*(store.write(insert(f"{n}")) for n in range(3)))
    assert len(await store.read(names)) == 3
    await store.close()


async def test_a_missing_directory_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match=r"no/journal\.db: the file cannot be opened.*directory exists"):
        await SqliteStore(tmp_path / "no" / "journal.db").open()


async def test_a_file_that_is_no_database_is_said_to_be_none(path: Path) -> None:
    damage(path)
    with pytest.raises(JournalUnavailable, match="not an SQLite database"):
        await SqliteStore(path).open()


@pytest.mark.parametrize(
    ("version", "to_do"), [(schema.VERSION + 1, "upgrade inturn here"), (schema.VERSION - 1, "move the file away")]
)
async def test_a_file_of_another_schema_version_is_left_alone(
    store: SqliteStore, path: Path, version: int, to_do: str
) -> None:
    await store.write(lambda tx: tx.execute("UPDATE journal_schema SET version = ?, oldest = ?", (version, version)))
    await store.close()
    with pytest.raises(
        JournalUnavailable, match=rf"schema version {version}, .* version {schema.VERSION} alone.*{to_do}"
    ):
        await SqliteStore(path).open()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version FROM journal_schema").fetchall() == [(version,)]
    connection.close()


async def test_a_lock_held_for_too_long_is_an_outage_and_passes(path: Path) -> None:
    store = SqliteStore(path, busy_timeout=0.05)
    await store.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalUnavailable, match="another process held the database's lock for too long"):
        await store.write(insert("a"))
    assert await store.read(names) == []
    other.execute("ROLLBACK")
    other.close()
    await store.write(insert("b"))
    assert await store.read(names) == ["b"]
    await store.close()


async def test_a_full_disk_is_an_outage_and_passes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 0

    def bounded(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + limit}")
        return connection

    monkeypatch.setattr("inturn.journal.store.sqlite_writer.connect", bounded)
    store = SqliteStore(path)
    await store.open()
    large = [NewEntry("a", {"text": "x" * 100_000})]
    journal = Journal(store)
    with pytest.raises(JournalUnavailable, match=r"the disk is full.*free space"):
        await journal.record(SESSION, [Recorded(entry) for entry in large])
    assert await journal.head(SESSION) == 0
    limit = 10_000
    await journal.close()
    await journal.open()
    assert (await journal.record(SESSION, [Recorded(entry) for entry in large])).head == 1
    assert await journal.verify(SESSION) == []
    await journal.close()


async def test_everybody_in_a_lost_batch_hears_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, gate = SqliteStore(path), threading.Event()
    await store.open()

    def lose(tx: Transaction) -> None:
        gate.wait(5)
        tx.execute("ROLLBACK")  # as SQLite does by itself when the disk is full
        raise sqlite3.OperationalError("lost")

    lost = asyncio.ensure_future(store.write(lose))
    await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(store.write(insert(f"{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(JournalUnavailable):
        await lost
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    written = await store.read(names)
    assert [isinstance(a, int) for a in answers] == [f"{n}" in written for n in range(3)]
    await store.write(insert("z"))
    await store.close()


async def test_a_file_that_was_replaced_takes_no_more_writes(store: SqliteStore, path: Path) -> None:
    await store.write(insert("a"))
    move_away(path)
    for _ in range(2):
        with pytest.raises(JournalUnavailable, match="removed or replaced"):
            await store.write(insert("b"))
    assert there(path) == (False,)
    other = SqliteStore(path)
    await other.write(insert("of another"))
    for _ in range(3):  # what comes after an error is no reason to take the other one for it
        with pytest.raises(JournalUnavailable, match="removed or replaced"):
            await store.write(insert("b"))
    assert await other.read(names) == ["of another"]
    await other.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
async def test_a_file_that_may_only_be_read_can_be_read(store: SqliteStore, path: Path) -> None:
    await store.write(insert("a"))
    forbid_writing(path)
    reader = SqliteStore(path)
    assert await reader.read(names) == ["a"]
    with pytest.raises(JournalUnavailable, match="may only be read"):
        await reader.write(insert("b"))
    await reader.close()


async def test_readers_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(JournalUnavailable, match="may only be read"):
        await store.read(insert("a"))


async def test_a_url_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative, absolute = open_journal("sqlite:///here.db"), open_journal(f"sqlite:///{tmp_path}/there #1?.db")
    for journal in (relative, absolute):
        await plain_turn(journal, SESSION, "e1")
        await journal.close()
    assert there(tmp_path / "here.db", tmp_path / "there #1?.db") == (True, True)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://u:secret@h:port/db", "percent-encode"),
        ("mysql://u:secret@h/db", "begins with sqlite:///FILE"),
        ("sqlite://", "begins with sqlite:///FILE"),
        ("sqlite:///", "begins with sqlite:///FILE"),
        ("journal.db", "begins with sqlite:///FILE"),
        ("", "begins with sqlite:///FILE"),
    ],
)
def test_a_url_that_names_no_journal_is_refused_without_showing_it(url: str, says: str) -> None:
    with pytest.raises(InturnError, match=says) as caught:
        open_journal(url)
    assert "secret" not in str(caught.value)


@pytest_asyncio.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    made = Journal(SqliteStore(path))
    await made.open()
    yield made
    await made.close()


async def test_the_journal_raises_superseded_where_the_token_is_not_the_steps(journal: Journal) -> None:
    step = SESSION.turn("e1").step(0, 0)
    claim = await journal.claim_call(step, lease=5)
    assert (await journal.claim_call(step, lease=5)).status == "leased"
    assert not await journal.renew(step, "other", lease=5)
    for refused in (
        journal.begin(step, "other", lease=5),
        journal.keep(step, "other", 1),
        journal.append(step, "other", [NewEntry("a", {})]),
        journal.finish(step, "other", {}),
    ):
        with pytest.raises(Superseded, match="acme/s1/e1/0/0"):
            await refused
    assert await journal.head(SESSION) == 0
    await journal.keep(step, claim.token, {"at": 1})
    assert await journal.append(step, claim.token, [NewEntry("tool.progress", {"text": "half"}, "e1")]) == 1
    assert (await journal.finish(step, claim.token, {"ok": 1}, [result("e1", 0, "c0")])).head == 2
    await journal.release(step, claim.token)
    assert (await journal.claim_call(step, lease=5)).result == {"ok": 1}


@pytest.mark.promise("ORD-9")
async def test_a_stored_cursor_only_moves_forward(journal: Journal) -> None:
    assert await journal.cursor("acme", "billing", "s1") == 0
    assert [await journal.move_cursor("acme", "billing", "s1", seq) for seq in (5, 3, 9, 9, -1)] == [5, 5, 9, 9, 9]
    assert await journal.cursor("acme", "billing", "s1") == 9
    assert await journal.cursor("acme", "other", "s1") == await journal.cursor("other", "billing", "s1") == 0
    await asyncio.gather(*(journal.move_cursor("acme", "race", "s1", seq) for seq in range(50, 0, -1)))
    assert await journal.cursor("acme", "race", "s1") == 50


async def test_large_values_are_kept_by_content_and_per_session(journal: Journal) -> None:
    ref = await journal.put_blob(SESSION, b"\0\xff" * 1000)
    assert await journal.put_blob(SESSION, b"\0\xff" * 1000) == ref
    assert await journal.blob(SESSION, ref) == b"\0\xff" * 1000
    assert await journal.blob(SessionKey("acme", "s2"), ref) is None
    assert await journal.blob(SESSION, "sha256:none") is None


async def test_many_sessions_at_once_keep_their_logs_apart(journal: Journal) -> None:
    sessions = [SessionKey("acme", f"s{n}") for n in range(20)]

    async def converse(session: SessionKey) -> None:
        for turn in range(5):
            await plain_turn(journal, session, f"e{turn}", f"{session.session_id}")

    await asyncio.gather(*map(converse, sessions))
    for session in sessions:
        entries = await journal.read(session, types=("agent.message",))
        assert {e.text for e in entries} == {session.session_id}
        assert await journal.head(session) == 21
        assert await journal.verify(session) == []
        assert await journal.outcomes(session) == {"applied": 5}


@pytest.mark.promise("ORD-8")
@pytest.mark.parametrize("seq", ["x'ff00'", "'x'", "1.5"])
async def test_a_place_in_the_log_that_is_no_number_is_found(tmp_path: Path, seq: str) -> None:
    url = f"sqlite:///{tmp_path}/j.db"
    journal = open_journal(url)
    await journal.open()
    await journal.record(SESSION, [Recorded(NewEntry("note", {"n": n}, key=f"k{n}")) for n in range(5)])
    outside.change(url, f"UPDATE entries SET seq = {seq} WHERE seq = 3")
    found = await journal.verify(SESSION)
    await journal.close()
    assert any("is none" in fault for fault in found), found
    assert any("missing" in fault for fault in found), found

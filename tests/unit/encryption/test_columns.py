"""Columns of the journal with keys: nothing that was said is in the database, and it reads the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from inturn.client.hub import Hub
from inturn.encryption import KeyRing
from inturn.encryption.columns import CLEAR, Sealing
from inturn.encryption.keys import VARIABLE, Key
from inturn.errors import JournalUnavailable
from inturn.journal import Journal, NewDelta, NewEntry, Outcome, Recorded, new_token, open_journal
from inturn.journal.state.changes import Operation, Push, Put, Scope
from inturn.journal.values import BEGINNING
from inturn.keys import SessionKey, TurnKey
from tests.support.journal import plain_turn
from tests.support.keys import keys
from tests.support.stores import journal_url

CANARY = "canary-4711"
SESSION = SessionKey("acme", "s1")
FORKED = SessionKey("acme", "s3")
OTHER = SessionKey("acme", "s9")
STEP = TurnKey(SESSION, "e1").step("0", 0)
A, B = Key("a", b"a" * 32), Key("b", b"b" * 32)


@pytest.fixture(autouse=True)
def _on_both(store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, keys("a"))


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Journal]:
    journal = open_journal(url)
    try:
        yield journal
    finally:
        await journal.close()


async def filled(journal: Journal) -> tuple[str, dict[str, Any]]:
    """Write the canary into whatever takes it; return the references of blob and content."""
    said = {"text": CANARY, "status": "ok"}
    claim = await journal.claim_call(STEP, lease=5, token=new_token())
    await journal.keep(STEP, claim.token, {"at": CANARY})
    operation = Operation(step=STEP, token=claim.token, ordinal=0)
    scope = Scope("acme", "s1")
    await journal.change(scope, Put("name", f'"{CANARY}"', None), operation)
    await journal.change(scope, Push("queue", f'"{CANARY}"'), Operation(key="k"))
    entry = NewEntry("agent.tool_result", {"text": CANARY}, event_id="e1", key="e1/0/0")
    await journal.finish(STEP, claim.token, said, [entry])
    outcome = Outcome("e1", "e1", "parked", None, CANARY)
    parked = NewEntry("event.parked", {"error": CANARY}, event_id="e1", key="e1/parked")
    await journal.record(SESSION, [Recorded(parked, outcome)])
    await journal.put_document("acme", "rules", CANARY)
    await plain_turn(journal, FORKED, "e1", CANARY)
    await journal.fork(FORKED, "of-s3")
    ref = await journal.put_blob(SESSION, CANARY.encode())
    uploaded = await journal.put_upload("acme", f"{CANARY} uploaded".encode(), "text/plain")
    shown = [{"type": "document", "title": CANARY, "source": {"type": "inturn", "ref": uploaded}}]
    await journal.record(OTHER, [Recorded(NewEntry("user.message", {"content": shown}, event_id="e1"))])
    assert await journal.blob(OTHER, uploaded) == f"{CANARY} uploaded".encode()
    answering = TurnKey(SESSION, "e3").step("0")
    held = await journal.claim_model(answering, lease=5, token=new_token())
    await journal.publish([NewDelta(answering, held.token, held.fence, 0, [[0, "t", CANARY]])])
    return ref, await journal.put_content(SESSION, "e2", {"content": CANARY})


@pytest.mark.promise("SEC-2")
async def test_nothing_that_was_said_is_in_the_database_and_all_of_it_reads_back(tmp_path: Path) -> None:
    url = journal_url(tmp_path)
    journal = open_journal(url)
    ref, claim = await filled(journal)
    assert [entry.body for entry in await journal.read(SESSION)] == [{"text": CANARY}, {"error": CANARY}]
    assert await journal.verify(SESSION) == []
    outcome = await journal.outcome(SESSION, "e1")
    assert outcome is not None
    assert outcome.reason == CANARY
    assert await journal.blob(SESSION, ref) == CANARY.encode()
    assert [each.text for each in await journal.documents("acme", ["rules"])] == [CANARY]
    through = [entry async for entry in journal.conversation(SessionKey("acme", "of-s3"))]
    assert CANARY in str(through)
    again = await journal.claim_call(STEP, lease=5, token=new_token())
    assert again.result == {"text": CANARY, "status": "ok"}
    assert "canary" not in str(claim)
    news = await journal.look({}, None, {SESSION: BEGINNING})
    assert [row.said for row in news.deltas[SESSION]] == [[[0, "t", CANARY]]]
    rows = await journal._store.read(everything)
    assert sum("inturn:a:" in repr(row) for row in rows) >= 11
    await journal.close()
    assert CANARY not in repr(rows)
    for file in tmp_path.iterdir():
        assert CANARY.encode() not in file.read_bytes()


def everything(tx: Any) -> list[tuple[Any, ...]]:
    tables = "entries steps outcomes blobs uploads contents shared_values queue_items operations places agents".split()
    tables += ["deltas", "documents", "forks", "sessions"]
    return [tuple(map(_plain, row)) for table in tables for row in tx.execute(f"SELECT * FROM {table}")]


def _plain(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value


@pytest.mark.promise("SEC-2", "SUR-16")
async def test_a_journal_says_what_it_lacks_to_who_has_no_key_another_one_or_one_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = journal_url(tmp_path)
    async with _opened(url) as journal:
        await filled(journal)
    another = keys("b").replace("b:", "a:")
    for given, said in [
        ("", "there are no keys here"),
        (keys("b"), "key 'a', which is not among the keys here"),
        (another, "key 'a', which is another one than the key of that name here"),
    ]:
        monkeypatch.setenv(VARIABLE, given)
        async with _opened(url) as journal:
            with pytest.raises(JournalUnavailable, match=said):
                await journal.read(SESSION)
            with pytest.raises(JournalUnavailable, match=said):
                await journal.claim_call(STEP, lease=5, token=new_token())
    monkeypatch.setenv(VARIABLE, keys("b", "a"))
    async with _opened(url) as journal:
        assert len(await journal.read(SESSION)) == 2


@pytest.mark.promise("SEC-2")
async def test_rows_in_clear_are_refused_where_there_are_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = journal_url(tmp_path)
    monkeypatch.delenv(VARIABLE)
    async with _opened(url) as journal:
        await filled(journal)
    monkeypatch.setenv(VARIABLE, keys("a"))
    async with _opened(url) as journal:
        with pytest.raises(JournalUnavailable, match="rows in clear"):
            await journal.read(SESSION)


@pytest.mark.promise("SEC-2")
async def test_a_row_does_not_read_as_another(tmp_path: Path) -> None:
    async with _opened(journal_url(tmp_path)) as journal:
        await filled(journal)
        await journal._store.write(
            lambda tx: tx.execute("UPDATE entries SET body = (SELECT body FROM entries WHERE seq = 1) WHERE seq = 2")
        )
        with pytest.raises(JournalUnavailable, match=r"entries\.body of acme/s1/2 does not decrypt"):
            await journal.read(SESSION)
        assert await journal.verify(SESSION) == ["seq 2: was changed after it was written"]


_SET: Final = "UPDATE entries SET body ="
_E1: Final = "WHERE session = 's1' AND seq = 1"
TAMPERING: Final = {
    "another session's": f"{_SET} (SELECT body FROM entries WHERE session = 's2' AND seq = 1) {_E1}",
    "another column's": f"{_SET} (SELECT result FROM steps WHERE result IS NOT NULL LIMIT 1) {_E1}",
    "cut short": f"{_SET} SUBSTR(body, 1, LENGTH(body) - 8) {_E1}",
    "cut to its name": f"{_SET} SUBSTR(body, 1, 12) {_E1}",
    "under another key's name": f"{_SET} REPLACE(body, 'inturn:a:', 'inturn:b:') {_E1}",
    "in clear": f"{_SET} '{{}}' {_E1}",
    "empty": f"{_SET} '' {_E1}",
}


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize("how", TAMPERING)
async def test_what_somebody_without_keys_puts_in_a_rows_place_is_refused(how: str, tmp_path: Path) -> None:
    async with _opened(journal_url(tmp_path)) as journal:
        await filled(journal)
        await plain_turn(journal, SessionKey("acme", "s2"), "e1", "hello")
        await journal._store.write(lambda tx: tx.execute(TAMPERING[how]))
        with pytest.raises(JournalUnavailable):
            await journal.read(SESSION)
        assert await journal.verify(SESSION) != []


@pytest.mark.promise("SEC-2")
async def test_who_has_other_keys_looks_at_a_journal_for_themselves_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = journal_url(tmp_path)
    async with _opened(url) as one, _opened(url) as same:
        monkeypatch.setenv(VARIABLE, keys("b"))
        async with _opened(url) as other:
            hubs = Hub.of(one), Hub.of(same), Hub.of(other)
    assert hubs[0] is hubs[1]
    assert hubs[0] is not hubs[2]


@pytest.mark.parametrize("place", [("c.x", "acme", "s2", 1), ("c.x", "other", "s1", 1), ("c.y", "acme", "s1", 1)])
def test_a_text_is_bound_to_its_column_tenant_session_and_row(place: tuple[str | int, ...]) -> None:
    sealing = Sealing(KeyRing((A,)))
    stored = sealing.seal(CANARY, "c.x", "acme", "s1", 1)
    assert sealing.unseal(stored, "c.x", "acme", "s1", 1) == CANARY
    with pytest.raises(JournalUnavailable):
        sealing.unseal(stored, *place)


def test_every_key_of_the_ring_reads_and_the_first_writes() -> None:
    old, new = Sealing(KeyRing((A,))), Sealing(KeyRing((B, A)))
    place = ("c.x", "acme", "s1", 1)
    assert new.unseal(old.seal(CANARY, *place), *place) == CANARY
    assert new.unseal_bytes(old.seal_bytes(b"x", *place), *place) == b"x"
    assert new.seal(CANARY, *place).startswith("\x01inturn:b:")


def test_without_keys_a_text_is_what_it_is_and_a_digest_tells_what_it_is_of() -> None:
    assert CLEAR.unseal(CLEAR.seal(CANARY, "c", "t", "s"), "c", "t", "s") == CANARY
    keyed = Sealing(KeyRing((A,))).digest(b"x", "acme", "s1")
    assert keyed != CLEAR.digest(b"x", "acme", "s1")
    assert keyed != Sealing(KeyRing((A,))).digest(b"x", "acme", "s2")

"""A journal's copy under other keys: the same to who reads it, and its sessions go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from inturn.encryption import parse_keys
from inturn.encryption.columns import Sealing
from inturn.encryption.keys import VARIABLE
from inturn.errors import JournalUnavailable
from inturn.journal import Journal, JournalBehind, Position, open_journal, open_store
from inturn.journal.log.log import entry_hash
from inturn.journal.moving.reencrypting import reencrypt
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey
from tests.support.journal import plain_turn
from tests.support.keys import keys
from tests.support.stores import journal_url
from tests.unit.encryption.test_columns import CANARY, OTHER, SESSION, everything, filled


@pytest.fixture(autouse=True)
def _on_both(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize("before", [(), ("a",)])
async def test_the_copy_says_the_same_under_the_new_key_alone(
    before: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = journal_url(tmp_path, "old"), journal_url(tmp_path, "new")
    monkeypatch.setenv(VARIABLE, keys(*before))
    journal = open_journal(old)
    ref, _ = await filled(journal)
    await plain_turn(journal, SessionKey("acme", "s2"), "e1", "hello")
    said = [entry.body for entry in await journal.read(SESSION)]
    known = await journal.position(SESSION)
    await journal.close()

    here, there = open_store(old), open_store(new)
    await reencrypt(here, there, Sealing(parse_keys(keys("b", *before))), name="the new place")
    with pytest.raises(JournalUnavailable, match="moved to the new place"):
        await plain_turn(Journal(here), SESSION, "late", "too late")
    await here.close()
    await there.close()

    monkeypatch.setenv(VARIABLE, keys("b"))
    copy = open_journal(new)
    entries = await copy.read(SESSION)
    assert [entry.body for entry in entries] == said
    assert await copy.verify(SESSION) == []
    assert await copy.blob(SESSION, ref) == CANARY.encode()
    [shown] = await copy.read(OTHER)
    uploaded = shown.body["content"][0]["source"]["ref"]
    assert await copy.blob(OTHER, uploaded) == f"{CANARY} uploaded".encode()
    assert await copy.check(SESSION, known.identity, known.head), "the session goes on with it"
    assert CANARY not in repr(await copy.look_within(everything))
    await copy.close()


async def reencrypted(source: str, target: str, *names: str) -> str:
    """Copy a journal under the first of these keys; return the copy's URL."""
    here, there = open_store(source), open_store(target)
    await reencrypt(here, there, Sealing(parse_keys(keys(*names))), name="the new place")
    await here.close()
    await there.close()
    return target


async def in_clear(url: str) -> list[Position]:
    """Write a journal in clear; return where it stood behind each turn."""
    journal, stood = open_journal(url), list[Position]()
    for number in range(3):
        await plain_turn(journal, SESSION, f"e{number}", "hello")
        stood.append(await journal.position(SESSION))
    await journal.close()
    return stood


@pytest.mark.promise("SEC-2", "SUR-14")
async def test_a_session_goes_on_by_what_it_knew_however_often_its_journal_was_encrypted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, newest = (journal_url(tmp_path, name) for name in ("old", "new", "newest"))
    stood = await in_clear(old)
    await reencrypted(old, new, "a")
    url = await reencrypted(new, newest, "b", "a")
    monkeypatch.setenv(VARIABLE, keys("b"))
    journal = open_journal(url)
    identity, head = stood[-1].identity, stood[-1].head
    assert await journal.verify(SESSION) == []
    assert await journal.known(SESSION, identity)
    for before in stood:
        assert await journal.sealed(SESSION, before.identity, before.head) == before.seal
        assert await journal.check(SESSION, before.identity, before.head)
    assert await journal.head(SESSION) == head, "nothing was added"
    assert not await journal.accept(SESSION, identity, head) or await journal.head(SESSION) == head
    with pytest.raises(JournalBehind):
        await journal.check(SESSION, identity, head + 1)
    with pytest.raises(JournalBehind):
        await journal.check(SESSION, "another", head)
    await plain_turn(journal, SESSION, "e9", "on")
    assert await journal.verify(SESSION) == []
    await journal.close()


def _rechained(change: str) -> Callable[[Transaction], None]:
    """Change an entry and write the chain anew behind it, as somebody without keys can."""

    def work(tx: Transaction) -> None:
        tx.execute(change)
        prev, columns = "", "seq, key, type, event_id, step, at, body"
        for row in tx.execute(f"SELECT {columns} FROM entries WHERE session = 's1' ORDER BY seq"):
            hash_ = entry_hash(SESSION, prev, *row)
            tx.execute("UPDATE entries SET prev = ?, hash = ? WHERE session = 's1' AND seq = ?", (prev, hash_, row[0]))
            prev = hash_
        first = "(SELECT hash FROM entries WHERE session = 's1' AND seq = 1)"
        tx.execute(f"UPDATE sessions SET hash = ?, first = {first} WHERE session = 's1'", (prev,))

    return work


TAMPERING: Final[dict[str, Callable[[Transaction], object]]] = {
    "an entry is another, and the chain is written anew": _rechained("UPDATE entries SET at = at + 1 WHERE seq = 2"),
    "an entry is of another type": _rechained("UPDATE entries SET type = 'system.message' WHERE seq = 3"),
    "what it was is changed": lambda tx: tx.execute(
        "UPDATE rewritten SET proof = REPLACE(proof, SUBSTR(proof, 60, 4), 'AAAA')"
    ),
    "what it was is in clear": lambda tx: tx.execute(
        "UPDATE rewritten SET proof = ?", ('{"head": 1, "to": "x", "seals": ""}',)
    ),
    "what it was is said of another chain": lambda tx: tx.execute("UPDATE rewritten SET identity = 'other'"),
}


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize("how", TAMPERING)
async def test_what_is_changed_after_it_was_encrypted_anew_is_seen(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = journal_url(tmp_path, "old"), journal_url(tmp_path, "new")
    await in_clear(old)
    url = await reencrypted(old, new, "a")
    bare = open_store(url)
    await bare.open()
    await bare.write(TAMPERING[how])
    await bare.close()
    monkeypatch.setenv(VARIABLE, keys("a"))
    journal = open_journal(url)
    assert await journal.verify(SESSION) != []
    await journal.close()


async def test_one_that_does_not_say_what_it_was_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = journal_url(tmp_path, "old"), journal_url(tmp_path, "new")
    stood = await in_clear(old)
    url = await reencrypted(old, new, "a")
    bare = open_store(url)
    await bare.open()
    await bare.write(lambda tx: tx.execute("DELETE FROM rewritten"))
    await bare.close()
    monkeypatch.setenv(VARIABLE, keys("a"))
    journal = open_journal(url)
    with pytest.raises(JournalBehind):
        await journal.check(SESSION, stood[-1].identity, stood[-1].head)
    await journal.close()

"""A journal's copy under other keys: the same to who reads it, and its sessions go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from inturn.encryption import parse_keys
from inturn.encryption.columns import Sealing
from inturn.encryption.keys import VARIABLE
from inturn.errors import JournalUnavailable
from inturn.journal import Journal, open_journal, open_store
from inturn.journal.moving.reencrypting import BY, reencrypt
from inturn.keys import SessionKey
from tests.support.journal import plain_turn
from tests.support.keys import keys
from tests.support.stores import journal_url
from tests.unit.encryption.test_columns import CANARY, SESSION, everything, filled


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
    assert [entry.body for entry in entries[:-1]] == said
    assert (entries[-1].type, entries[-1].body["by"]) == ("session.gap", BY)
    assert await copy.verify(SESSION) == []
    assert await copy.blob(SESSION, ref) == CANARY.encode()
    assert await copy.check(SESSION, known.identity, known.head), "the session goes on with it"
    assert CANARY not in repr(await copy.look_within(everything))
    await copy.close()

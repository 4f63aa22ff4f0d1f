"""What a tenant's agents remember: at versions, each once, and never over what its writer has not read."""

from __future__ import annotations

import asyncio

import pytest

from inturn import sizes
from inturn.encryption import parse_keys
from inturn.encryption.columns import Sealing
from inturn.errors import VersionConflict
from inturn.journal import Journal, Superseded
from inturn.journal.moving import copying
from inturn.journal.moving.reencrypting import reencrypt
from inturn.journal.state import documents
from inturn.journal.state.documents import Changed, Full
from inturn.journal.store.sealed import SealedStore
from inturn.keys import StepKey
from inturn.testing.memory import MemoryStore
from tests.support.journal import OTHER, SESSION, calls, opening
from tests.support.keys import keys

pytestmark = pytest.mark.promise("AGT-4")


async def versions(journal: Journal, *patterns: str, tenant: str = "acme") -> dict[str, int]:
    return {each.name: each.version for each in await journal.listed_documents(tenant, patterns or ("*",))}


async def texts(journal: Journal, *names: str, tenant: str = "acme") -> list[str]:
    return [each.text for each in await journal.documents(tenant, names)]


async def running(journal: Journal, event: str = "e1") -> tuple[StepKey, str]:
    """A call whose body runs."""
    step = SESSION.turn(event).step(0)
    claim = await journal.claim_model(step, opening(event))
    await journal.finish(step, claim.token, {"stop": "tool_use"}, calls(event, ["c0"]))
    call = SESSION.turn(event).step(0, 0)
    return call, (await journal.claim_call(call, lease=30.0)).token


async def test_each_change_of_a_document_counts_its_version_up_also_across_a_removal(journal: Journal) -> None:
    assert (await journal.put_document("acme", "rules", "one", version=0)).version == 1
    assert (await journal.put_document("acme", "rules", "two", version=1)).version == 2
    assert await journal.delete_document("acme", "rules", version=2)
    assert await texts(journal, "rules") == []
    assert not await journal.delete_document("acme", "rules")
    assert (await journal.put_document("acme", "rules", "three", version=0)).version == 3
    assert await texts(journal, "rules") == ["three"]


@pytest.mark.parametrize("version", [0, 1, 3])
async def test_who_has_not_read_a_document_cannot_overwrite_it(journal: Journal, version: int) -> None:
    for text in ("one", "two"):
        await journal.put_document("acme", "rules", text)
    with pytest.raises(Changed, match="is at version 2") as caught:
        await journal.put_document("acme", "rules", "mine", version=version)
    assert caught.value.newest is not None
    assert caught.value.newest.text == "two"
    with pytest.raises(VersionConflict):
        await journal.delete_document("acme", "rules", version=version)
    assert await texts(journal, "rules") == ["two"]


async def test_of_many_who_write_at_once_one_does(journal: Journal) -> None:
    writes = [journal.put_document("acme", "rules", f"by {n}", version=0) for n in range(8)]
    made = await asyncio.gather(*writes, return_exceptions=True)
    [won] = [each for each in made if not isinstance(each, BaseException)]
    assert {type(each) for each in made if isinstance(each, BaseException)} == {Changed}
    assert await texts(journal, "rules") == [won.text]
    assert won.version == 1


async def test_documents_are_listed_by_names_and_prefixes_once_and_for_their_tenant_alone(journal: Journal) -> None:
    for name in ("rules", "notes:a", "notes:b", "notez", "Notes:c"):
        await journal.put_document("acme", name, f"of {name}")
    await journal.put_document("other", "rules", "not ours")
    assert list(await versions(journal, "rules", "notes:*", "notes:a")) == ["rules", "notes:a", "notes:b"]
    assert list(await versions(journal, "*")) == ["Notes:c", "notes:a", "notes:b", "notez", "rules"]
    assert await versions(journal, "none", "no*e") == {}
    assert await texts(journal, "rules", tenant="other") == ["not ours"]
    assert await texts(journal, "notes:b", "missing", "rules") == ["of notes:b", "of rules"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "x"),
        ("a/b", "x"),
        ("x" * 129, "x"),
        ("é", "x"),
        ("a\0", "x"),
        (3, "x"),
        ("rules", "x" * (sizes.DOCUMENT + 1)),
        ("rules", "é" * (sizes.DOCUMENT // 2 + 1)),
        ("rules", 3),
        ("rules", None),
    ],
)
async def test_what_cannot_be_kept_is_refused(journal: Journal, name: str, text: str) -> None:
    with pytest.raises(ValueError, match="document"):
        await journal.put_document("acme", name, text)
    assert await versions(journal) == {}


@pytest.mark.parametrize(
    "text", ["", "x" * sizes.DOCUMENT, "a\0b", "\ud800 half", "𝄞", "</document>", "\x01inturn:k1:"]
)
async def test_whatever_a_document_says_is_read_back(journal: Journal, text: str) -> None:
    await journal.put_document("acme", "rules", text)
    [read] = await texts(journal, "rules")
    assert read == text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    [listed] = await journal.listed_documents("acme", ["rules"])
    assert listed.size == len(read.encode())


async def test_a_tenant_has_so_many_documents_and_no_more(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST", 3)
    for n in range(3):
        await journal.put_document("acme", f"d{n}", "x")
    with pytest.raises(Full, match="more than 3"):
        await journal.put_document("acme", "d3", "x")
    await journal.put_document("acme", "d2", "another")
    await journal.put_document("other", "d3", "x")
    await journal.delete_document("acme", "d0")
    await journal.put_document("acme", "d3", "x")


async def test_a_call_remembers_once_however_often_it_tries(journal: Journal) -> None:
    call, token = await running(journal)
    assert await journal.remember(call, token, "rules", "one", 0) == 1
    await journal.put_document("acme", "rules", "somebody else's", version=1)
    assert await journal.remember(call, token, "rules", "one", 0) == 1, "its answer was lost"
    assert await texts(journal, "rules") == ["somebody else's"]
    [entry] = await journal.read(SESSION, types=("session.remembered",))
    assert (entry.body, entry.event_id) == ({"name": "rules", "version": 1}, "e1")


async def test_an_attempt_that_was_taken_over_remembers_nothing(journal: Journal) -> None:
    call, token = await running(journal)
    await journal.release(call, token)
    later = await journal.claim_call(call, lease=30.0)
    with pytest.raises(Superseded):
        await journal.remember(call, token, "rules", "stale", 0)
    assert await versions(journal) == {}
    assert await journal.remember(call, later.token, "rules", "fresh", 0) == 1


async def test_a_conflict_leaves_nothing_and_may_be_tried_with_what_it_says(journal: Journal) -> None:
    await journal.put_document("acme", "rules", "newest")
    call, token = await running(journal)
    with pytest.raises(Changed):
        await journal.remember(call, token, "rules", "mine", 0)
    assert await journal.read(SESSION, types=("session.remembered",)) == []
    assert await journal.remember(call, token, "rules", "both", 1) == 2


async def test_documents_outlast_the_sessions_that_wrote_them(journal: Journal) -> None:
    call, token = await running(journal)
    await journal.remember(call, token, "rules", "kept", 0)
    await journal.record(SESSION, [], settle=[SESSION.turn("e1")], close=True)
    assert await texts(journal, "rules") == ["kept"]
    assert await journal.head(OTHER) == 0


async def test_documents_are_copied(journal: Journal) -> None:
    await journal.put_document("acme", "rules", "one")
    copied = MemoryStore()
    await copying.copy(journal._store, copied, name="copied")
    assert await texts(Journal(copied), "rules") == ["one"]


@pytest.mark.promise("SEC-3")
async def test_what_a_document_says_is_encrypted(journal: Journal) -> None:
    await journal.put_document("acme", "rules", "canary-of-a-document")
    sealed, sealing = MemoryStore(), Sealing(parse_keys(keys("k1")))
    await reencrypt(journal._store, sealed, sealing, name="sealed")
    there = Journal(SealedStore(sealed, sealing))
    assert await texts(there, "rules") == ["canary-of-a-document"]
    await there.put_document("acme", "more", "canary-of-a-document", version=0)
    stored = await sealed.read(lambda tx: tx.execute("SELECT * FROM documents"))
    assert len(stored) == 2
    assert "canary" not in repr(stored)

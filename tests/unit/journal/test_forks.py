"""A fork goes on from where a turn of its parent ended, and both stay what they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inturn.encryption import parse_keys
from inturn.encryption.columns import Sealing
from inturn.errors import InvalidEvent, SessionNotFound
from inturn.journal import Journal, NewEntry, Outcome, Recorded, open_store
from inturn.journal.log import lineage
from inturn.journal.moving import copying
from inturn.journal.moving.reencrypting import reencrypt
from inturn.journal.pruning import exports, prune
from inturn.journal.store.sealed import SealedStore
from inturn.journal.store.store import Store
from inturn.keys import SessionKey
from inturn.testing.memory import MemoryStore
from inturn.values import Entry
from tests.support.journal import OTHER, SESSION, calls, opening, plain_turn, result
from tests.support.keys import keys
from tests.support.stores import journal_url

pytestmark = [pytest.mark.promise("MOD-1"), pytest.mark.promise("EFF-1")]
FORK = SessionKey("acme", "fork")
LATER = 2**40


@pytest.fixture
async def opened(store: str, tmp_path: Path) -> AsyncIterator[Store]:
    made = open_store(journal_url(tmp_path))
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def journal(opened: Store) -> Journal:
    made = Journal(opened)
    for n in (1, 2, 3):
        await plain_turn(made, SESSION, f"e{n}", f"answer {n}")
    return made


async def read_through(journal: Journal, session: SessionKey = FORK, after: int = 0) -> list[Entry]:
    return [entry async for entry in journal.conversation(session, after=after)]


def texts(entries: list[Entry]) -> list[str]:
    return [entry.text or "" for entry in entries if entry.type == "agent.message"]


async def close(journal: Journal, session: SessionKey) -> None:
    await journal.record(session, [], close=True)


async def test_a_fork_reads_its_parent_up_to_a_turn_and_has_none_of_its_entries(journal: Journal) -> None:
    parent = await read_through(journal, SESSION)
    first = await journal.fork(SESSION, "fork", upto="e2")
    assert first.type == "session.forked"
    shared = [entry for entry in parent if entry.seq < first.seq]
    assert texts(shared) == ["answer 1", "answer 2"]
    assert first.prev == shared[-1].hash
    assert {name: first.body[name] for name in ("from", "upto", "seq")} == {
        "from": "s1",
        "upto": "e2",
        "seq": shared[-1].seq,
    }
    assert await journal.read(FORK) == [first]
    assert await read_through(journal) == [*shared, first]
    await plain_turn(journal, FORK, "f1", "another way")
    assert texts(await read_through(journal)) == ["answer 1", "answer 2", "another way"]
    assert texts(await journal.read(FORK)) == ["another way"]
    assert await read_through(journal, SESSION) == parent, "the parent notices nothing"
    assert await journal.verify(FORK) == await journal.verify(SESSION) == []


async def test_an_event_of_the_parent_is_a_new_one_in_the_fork(journal: Journal) -> None:
    await journal.fork(SESSION, "fork", upto="e2")
    assert await journal.outcome(FORK, "e2") is None
    assert await journal.outcomes(FORK) == {}
    step = FORK.turn("e2").step(0)
    claim = await journal.claim_model(step, opening("e2"))
    assert claim.status == "claimed", "and is not answered from the parent's ledger"
    await journal.finish(step, claim.token, {"stop": "tool_use"}, calls("e2", ["c0"]))
    assert (await journal.claim_call(FORK.turn("e2").step(0, 0), lease=5.0)).status == "claimed"


async def test_what_freezes_the_agent_is_read_from_the_parent(journal: Journal) -> None:
    await journal.fork(SESSION, "fork", upto="e1")
    await plain_turn(journal, FORK, "f1")
    began = [entry for entry in await read_through(journal) if entry.type == "session.started"]
    assert [entry.seq for entry in began] == [1]
    assert (await journal.entry(FORK, "session") or began[0]).body["agent"] == "a"


async def test_pages_of_a_fork_are_in_order_and_whole(journal: Journal) -> None:
    for n in range(40):
        await plain_turn(journal, SESSION, f"m{n}")
    await journal.fork(SESSION, "fork", upto="m20")
    for n in range(40):
        await plain_turn(journal, FORK, f"f{n}")
    entries = await read_through(journal)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    for after in (0, 3, entries[-1].seq // 2, entries[-1].seq):
        assert await read_through(journal, after=after) == entries[after:]


async def test_a_fork_of_a_fork_goes_through_both(journal: Journal) -> None:
    await journal.fork(SESSION, "fork", upto="e2")
    await plain_turn(journal, FORK, "f1", "fork 1")
    await plain_turn(journal, FORK, "f2", "fork 2")
    await journal.fork(FORK, "third", upto="f1")
    third = SessionKey("acme", "third")
    await plain_turn(journal, third, "e1", "third 1")
    assert texts(await read_through(journal, third)) == ["answer 1", "answer 2", "fork 1", "third 1"]
    assert await journal.verify(third) == []
    with pytest.raises(InvalidEvent, match="has no event e2"):
        await journal.fork(FORK, "fourth", upto="e2")


async def test_a_fork_without_a_turn_of_its_own_can_be_forked(journal: Journal) -> None:
    await journal.fork(SESSION, "fork")
    await journal.fork(FORK, "third")
    assert texts(await read_through(journal, SessionKey("acme", "third"))) == ["answer 1", "answer 2", "answer 3"]


async def test_forks_of_forks_end_somewhere(journal: Journal) -> None:
    last = SESSION
    for n in range(lineage.MAX_DEPTH - 1):
        await journal.fork(last, f"fork {n}".replace(" ", "-"))
        last = SessionKey("acme", f"fork-{n}")
    with pytest.raises(InvalidEvent, match="sessions deep"):
        await journal.fork(last, "one-more")
    assert texts(await read_through(journal, last)) == ["answer 1", "answer 2", "answer 3"]


async def test_the_same_fork_again_is_the_same_and_another_one_is_refused(journal: Journal) -> None:
    first = await journal.fork(SESSION, "fork", upto="e2")
    await plain_turn(journal, FORK, "f1")
    assert await journal.fork(SESSION, "fork", upto="e2") == first
    for upto in ("e1", None):
        with pytest.raises(InvalidEvent, match="was forked from s1 already, up to event e2"):
            await journal.fork(SESSION, "fork", upto=upto)
    latest = await journal.fork(SESSION, "latest")
    await plain_turn(journal, SESSION, "e4")
    assert await journal.fork(SESSION, "latest") == latest
    await plain_turn(journal, OTHER, "e1")
    for new in ("s2", "s1"):
        with pytest.raises(InvalidEvent, match="there is a session"):
            await journal.fork(SESSION, new, upto="e1")
    with pytest.raises(InvalidEvent, match="there is a session"):
        await journal.fork(OTHER, "fork", upto="e1")


async def test_two_who_fork_at_once_make_one(journal: Journal) -> None:
    made = await asyncio.gather(*(journal.fork(SESSION, "fork", upto="e2") for _ in range(5)))
    assert len({entry.hash for entry in made}) == 1
    assert len(await journal.read(FORK)) == 1


@pytest.mark.parametrize("missing", ["nothing", "contents"])
async def test_a_session_that_said_nothing_cannot_be_forked(journal: Journal, missing: str) -> None:
    if missing == "contents":
        await journal.put_content(OTHER, "e1", {"content": "large"})
    with pytest.raises(SessionNotFound):
        await journal.fork(OTHER, "fork")
    assert await journal.head(FORK) == 0


async def test_a_running_turn_is_no_place_to_fork(journal: Journal) -> None:
    step = SESSION.turn("e4").step(0)
    claim = await journal.claim_model(step, opening("e4"))
    await journal.finish(step, claim.token, {"stop": "tool_use"}, calls("e4", ["c0"]))
    with pytest.raises(InvalidEvent, match="turn of event e4 has not ended"):
        await journal.fork(SESSION, "fork", upto="e4")
    with pytest.raises(InvalidEvent, match="has no event e9"):
        await journal.fork(SESSION, "fork", upto="e9")
    first = await journal.fork(SESSION, "fork")
    assert first.body["upto"] == "e3", "the last one that has ended"
    assert texts(await read_through(journal)) == ["answer 1", "answer 2", "answer 3"]


async def test_a_first_turn_that_runs_leaves_nothing_to_fork(journal: Journal) -> None:
    await journal.claim_model(OTHER.turn("e1").step(0), opening("e1"))
    with pytest.raises(InvalidEvent, match="no turn that has ended"):
        await journal.fork(OTHER, "fork")


async def interrupted(journal: Journal, event: str) -> Recorded:
    entry = NewEntry("turn.interrupted", {"turn": event, "n": 1}, event, key=f"{event}/end")
    return Recorded(entry, Outcome(event, event, "cancelled", stop="interrupted"))


async def test_an_interrupted_turn_has_ended(journal: Journal) -> None:
    await journal.claim_model(SESSION.turn("e4").step(0), opening("e4"))
    await journal.record(SESSION, [await interrupted(journal, "e4")], settle=[SESSION.turn("e4")])
    first = await journal.fork(SESSION, "fork", upto="e4")
    assert first.seq == await journal.head(SESSION) + 1


async def test_an_end_that_was_recorded_beside_the_next_turn_is_no_place_to_fork(journal: Journal) -> None:
    await journal.claim_model(SESSION.turn("e4").step(0), opening("e4"))
    await journal.claim_model(SESSION.turn("e5").step(0), opening("e5"))
    await journal.record(SESSION, [await interrupted(journal, "e4")], settle=[SESSION.turn("e4")])
    with pytest.raises(InvalidEvent, match="turn of event e5 had begun"):
        await journal.fork(SESSION, "fork", upto="e4")


async def test_an_event_without_a_turn_is_no_place_to_fork_and_a_merged_one_is_its_hosts(journal: Journal) -> None:
    parked = NewEntry("event.parked", {"event": {"event_id": "bad"}, "error": "no"}, "bad", key="bad/parked")
    merged = NewEntry("event.merged", {"into": "e2"}, "joined", key="joined/merged")
    await journal.record(
        SESSION,
        [
            Recorded(parked, Outcome("bad", "bad", "parked")),
            Recorded(merged, Outcome("joined", "joined", "merged", into="e2")),
        ],
    )
    with pytest.raises(InvalidEvent, match="event bad had no turn"):
        await journal.fork(SESSION, "fork", upto="bad")
    await journal.fork(SESSION, "fork", upto="joined")
    assert texts(await read_through(journal)) == ["answer 1", "answer 2"]


async def test_a_closed_session_can_be_forked_and_is_kept_for_its_fork(
    journal: Journal, opened: Store, tmp_path: Path
) -> None:
    await close(journal, SESSION)
    await journal.fork(SESSION, "fork")
    await plain_turn(journal, FORK, "f1", "goes on")
    assert texts(await read_through(journal))[-1] == "goes on"
    [due] = [one async for one in prune.find(opened, LATER)]
    assert due.kept == "fork was forked from it, and goes on from what it said"
    assert await prune.prune(opened, due, export=None, by="op", progress=lambda _: None) is None

    await close(journal, FORK)
    go = [one async for one in prune.find(opened, LATER) if one.kept is None]
    assert [one.session for one in go] == [FORK]
    assert await prune.prune(opened, go[0], export=tmp_path / "kept", by="op", progress=lambda _: None)
    [file] = (tmp_path / "kept").rglob("*.jsonl")
    assert exports.check(file).session == FORK
    assert await journal.verify(FORK) == []
    [parent] = [one async for one in prune.find(opened, LATER)]
    assert (parent.session, parent.kept) == (SESSION, None)
    assert await prune.prune(opened, parent, export=None, by="op", progress=lambda _: None)
    with pytest.raises(InvalidEvent, match="was pruned"):
        await journal.fork(SESSION, "late")


async def test_results_kept_beside_the_parents_log_are_read_by_its_forks(journal: Journal) -> None:
    ref = await journal.put_blob(SESSION, b"large")
    await journal.fork(SESSION, "fork")
    await journal.fork(FORK, "third")
    assert await journal.blob(SessionKey("acme", "third"), ref) == b"large"
    assert await journal.blob(OTHER, ref) is None
    own = await journal.put_blob(FORK, b"of the fork")
    assert await journal.blob(SESSION, own) is None


async def test_who_changes_the_parent_breaks_the_forks_chain_too(opened: Store, journal: Journal) -> None:
    first = await journal.fork(SESSION, "fork", upto="e2")
    await opened.write(lambda tx: tx.execute("UPDATE entries SET hash = 'forged' WHERE seq = ?", (first.seq - 1,)))
    assert await journal.verify(FORK) == [f"seq {first.seq}: does not follow the entry before it"]


async def test_forks_are_copied_with_their_parents(journal: Journal, opened: Store) -> None:
    await journal.fork(SESSION, "fork", upto="e2")
    await plain_turn(journal, FORK, "f1", "goes on")
    before = await read_through(journal)
    target = MemoryStore()
    await target.open()
    await copying.copy(opened, target, name="there")
    assert await read_through(Journal(target)) == before


async def test_a_fork_is_encrypted_anew_with_its_parent(journal: Journal, opened: Store) -> None:
    a_fork = SessionKey("acme", "a-fork")  # before its parent, in the order of their names
    await journal.fork(SESSION, "a-fork", upto="e2")
    await plain_turn(journal, a_fork, "f1", "goes on")
    identity, head = (await journal.position(a_fork)).identity, await journal.head(a_fork)
    before = [entry.body for entry in await read_through(journal, a_fork)]
    ring = parse_keys(keys("k1"))
    target = MemoryStore()
    await target.open()
    await reencrypt(opened, target, Sealing(ring), name="there")
    there = Journal(SealedStore(target, Sealing(ring)))
    assert [entry.body for entry in await read_through(there, a_fork)] == before
    assert await there.verify(a_fork) == []
    assert await there.sealed(a_fork, identity, head) == await journal.seal(a_fork, head)
    await plain_turn(there, a_fork, "f2")
    await there.fork(a_fork, "third")
    assert await there.verify(a_fork) == []


async def test_a_result_of_the_parent_is_none_of_the_forks(journal: Journal) -> None:
    step = SESSION.turn("e4").step(0)
    claim = await journal.claim_model(step, opening("e4"))
    await journal.finish(step, claim.token, {"stop": "tool_use"}, calls("e4", ["c0"]))
    call = SESSION.turn("e4").step(0, 0)
    held = await journal.claim_call(call, lease=5.0)
    body = {"status": "unknown"}
    await journal.finish(call, held.token, body, [result("e4", 0, "c0")])
    await journal.record(SESSION, [await interrupted(journal, "e4")], settle=[SESSION.turn("e4")])
    await journal.fork(SESSION, "fork")
    assert await journal.unknown_calls(FORK) == []

"""The log: gapless, ordered, chained, and safe for any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inturn.journal import NewEntry
from inturn.journal.log import codec, log
from inturn.journal.store.sqlite_connection import SqliteTransaction
from tests.support.journal import OTHER, SESSION, answer, memory, opening

pytestmark = pytest.mark.usefixtures("store")


def append(tx: SqliteTransaction, *entries: NewEntry) -> int:
    with log.locked(tx, SESSION) as journal:
        journal.append(entries)
        return journal.head


def test_entries_are_numbered_from_one_and_read_back_in_order() -> None:
    with memory() as tx:
        assert append(tx, *opening("e1")) == 3
        assert append(tx, *answer("e1")) == 5
        entries = log.read(tx, SESSION)
    assert [e.seq for e in entries] == [1, 2, 3, 4, 5]
    assert [e.type for e in entries][-2:] == ["agent.message", "turn.completed"]
    assert entries[1].event_id == "e1"
    assert entries[3].step == "0"
    assert entries[3].text == "hello"


def test_a_key_that_exists_is_skipped_and_takes_no_seq() -> None:
    with memory() as tx:
        append(tx, NewEntry("a", {"n": 1}, key="k"), NewEntry("a", {"n": 2}, key="k"), NewEntry("b", {}, key="l"))
        assert [(e.seq, e.type, e.body) for e in log.read(tx, SESSION)] == [(1, "a", {"n": 1}), (2, "b", {})]
        assert log.verify(tx, SESSION) == []


def test_entries_without_keys_are_all_kept() -> None:
    with memory() as tx:
        append(tx, *(NewEntry("tool.progress", {"text": "…"}) for _ in range(3)))
        assert log.head(tx, SESSION) == 3


def test_sessions_have_logs_of_their_own() -> None:
    with memory() as tx:
        append(tx, NewEntry("a", {}, key="k"))
        with log.locked(tx, OTHER) as other:
            other.append([NewEntry("b", {}, key="k")])
        assert [e.type for e in log.read(tx, OTHER)] == ["b"]
        assert log.head(tx, SESSION) == log.head(tx, OTHER) == 1


@pytest.mark.promise("ORD-9")
@given(pages=st.lists(st.integers(1, 7), min_size=1, max_size=30), count=st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_pages_of_any_size_give_every_entry_once_and_in_order(pages: list[int], count: int) -> None:
    with memory() as tx:
        append(tx, *(NewEntry("a", {"n": n}) for n in range(count)))
        seen: list[int] = []
        for limit in [*pages, count + 1]:
            seen += [e.seq for e in log.read(tx, SESSION, after=seen[-1] if seen else 0, limit=limit)]
    assert seen == list(range(1, count + 1))


def test_a_reader_may_ask_for_one_event_and_some_types() -> None:
    with memory() as tx:
        append(tx, *opening("e1"), *answer("e1"), *opening("e2"), *answer("e2"))
        found = log.read(tx, SESSION, event_id="e2", types=("user.message", "agent.message"))
        assert [(e.event_id, e.type) for e in found] == [("e2", "user.message"), ("e2", "agent.message")]
        assert log.read(tx, SESSION, after=found[-1].seq, event_id="e2", types=("agent.message",)) == []


def test_an_entry_has_the_transactions_time_unless_it_brings_its_own() -> None:
    with memory() as tx:
        tx.now = 1_700_000_000.25
        append(tx, NewEntry("a", {}), NewEntry("b", {}, at=1_600_000_000.123456))
        first, second = log.read(tx, SESSION)
    assert first.at.timestamp() == 1_700_000_000.25
    assert second.at.timestamp() == 1_600_000_000.123456
    assert first.at.tzinfo is not None


@pytest.mark.promise("ORD-8")
def test_each_entry_names_the_hash_of_the_one_before() -> None:
    with memory() as tx:
        append(tx, *opening("e1"), *answer("e1"))
        entries = log.read(tx, SESSION)
    assert entries[0].prev == log.GENESIS
    assert [e.prev for e in entries[1:]] == [e.hash for e in entries[:-1]]
    assert len({e.hash for e in entries}) == len(entries)


TAMPERING = [
    ("a changed body", "UPDATE entries SET body = '{\"n\":99}' WHERE seq = 3", "seq 3: was changed"),
    ("a changed type", "UPDATE entries SET type = 'b' WHERE seq = 3", "seq 3: was changed"),
    ("a changed time", "UPDATE entries SET at = at + 1 WHERE seq = 3", "seq 3: was changed"),
    ("a changed key", "UPDATE entries SET key = 'other' WHERE seq = 3", "seq 3: was changed"),
    ("another session's entry", "UPDATE entries SET session = 's9' WHERE seq = 3", "seq 3: missing"),
    ("a removed entry", "DELETE FROM entries WHERE seq = 3", "seq 3: missing"),
    ("a removed range", "DELETE FROM entries WHERE seq IN (2, 3)", "seq 2 to 3: missing"),
    ("a cut tail", "DELETE FROM entries WHERE seq > 3", "seq 3: is the last entry, but not the recorded head (5)"),
    ("a removed beginning", "DELETE FROM entries WHERE seq = 1", "seq 1: missing"),
    ("a forged link", "UPDATE entries SET prev = 'x' WHERE seq = 3", "seq 3: does not follow"),
]


@pytest.mark.promise("ORD-8")
@pytest.mark.parametrize(("what", "sql", "finding"), TAMPERING, ids=[t[0] for t in TAMPERING])
def test_tampering_is_found(what: str, sql: str, finding: str) -> None:
    with memory() as tx:
        append(tx, *(NewEntry("a", {"n": n}, event_id="e") for n in range(5)))
        assert log.verify(tx, SESSION) == []
        tx.execute(sql)
        found = log.verify(tx, SESSION)
    assert any(text.startswith(finding) for text in found), found


@pytest.mark.promise("ORD-8")
def test_an_entry_rewritten_with_a_fresh_hash_breaks_the_next_link() -> None:
    with memory() as tx:
        append(tx, *(NewEntry("a", {"n": n}) for n in range(3)))
        second = log.read(tx, SESSION)[1]
        at = log.micros(second.at.timestamp())
        forged = log.entry_hash(SESSION, second.prev, 2, None, "a", None, None, at, '{"n":7}')
        tx.execute("UPDATE entries SET body = ?, hash = ? WHERE seq = 2", ('{"n":7}', forged))
        assert log.verify(tx, SESSION) == ["seq 3: does not follow the entry before it"]
        tx.execute("UPDATE entries SET prev = ? WHERE seq = 3", (forged,))
        assert log.verify(tx, SESSION) == ["seq 3: was changed after it was written"]


def test_a_session_that_never_was_verifies_and_is_empty() -> None:
    with memory() as tx:
        assert log.verify(tx, SESSION) == []
        assert log.head(tx, SESSION) == 0
        assert log.read(tx, SESSION) == []


ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(body=st.dictionaries(ANY_TEXT, ANY_JSON, max_size=5), name=ANY_TEXT)
@settings(max_examples=150, deadline=None)
def test_any_body_and_any_name_is_stored_and_verifies(body: dict[str, object], name: str) -> None:
    with memory() as tx:
        append(tx, NewEntry("a", body, event_id=name, step=name, key=name))
        [entry] = log.read(tx, SESSION)
        assert log.verify(tx, SESSION) == []
    text = codec.dumps(entry.body)
    assert "\0" not in text
    text.encode()
    entry.model_dump_json()


def test_text_is_kept_as_it_is_but_for_what_unicode_cannot_say() -> None:
    body = {"nul": "a\0b", "lone": "x\ud800y", "pair": "\ud83d\ude00", "both": "\udc00é€😀", "k\udfff": 1}
    with memory() as tx:
        append(tx, NewEntry("a", body))
        [entry] = log.read(tx, SESSION)
    assert entry.body["nul"] == "a\0b"
    assert entry.body["lone"] == "x\ufffdy"
    assert entry.body["both"] == "\ufffdé€😀"
    assert entry.body["k\ufffd"] == 1


def test_what_json_cannot_say_is_replaced_and_never_fails() -> None:
    stored = codec.loads(codec.dumps({"nan": float("nan"), "inf": float("inf"), 1: (1, 2), "b": b"x", "ok": 1.5}))
    assert stored == {"nan": None, "inf": None, "1": [1, 2], "b": "b'x'", "ok": 1.5}


def test_keys_keep_their_order() -> None:
    assert codec.dumps({"b": 1, "a": {"z": 1, "y": 2}}) == '{"b":1,"a":{"z":1,"y":2}}'

"""Each way of losing, doubling or reordering an event behind the audit's back is named, and an honest session is ok."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import inturn.client.audit.audit
from inturn.client.audit import books
from inturn.journal import NewEntry
from tests.support import outside
from tests.support.audited import POLICY, Life, Scene
from tests.support.steps import SESSION, rig
from tests.support.stores import journal_url

pytestmark = pytest.mark.promise("ACC-8")


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inturn.client.audit.audit, "_SETTLE_WITHIN", -1.0)


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    """A session whose events ended in every way; two wait, one of them with its content in the journal."""
    async with rig(tmp_path) as steps:
        life = Life(steps)
        life.sent("a")
        life.sent("host", when_busy="merge")
        life.sent("joined", when_busy="merge")
        for event_id in ("stopped", "failed", "driven", "given-up", "b", "c"):
            life.sent(event_id)
        life.sent("late", expires_after=0.01)
        life.sent("taken-out")
        life.inbox.cancel("taken-out", 0.0, None, POLICY)
        await life.ran()
        await life.ran()
        await life.ended("turn.interrupted", "cancelled")
        for _ in range(3):
            await life.ended("turn.failed", "parked")
        await life.ran()
        await life.ran()
        assert life.inbox.take(9.0, POLICY) == [], "expired"
        life.inbox.redrive("driven", 2.0)
        life.inbox.discard("given-up", 2.0)
        await life.ran()
        life.inbox.park_invalid("invalid", "no JSON", 2.0)
        life.accepted.named.add("invalid")
        await life.recorded()
        life.sent("d")
        await life.ran()
        life.sent("waits")
        life.sent("claimed")
        life.accepted.claimed.add("claimed")
        await steps.journal.put_content(SESSION, "claimed", {"content": "x" * 5000})
        await life.recorded()
        status, sent = life.status(), life.accepted
    made = Scene(outside.copy(journal_url(tmp_path)), status, sent)
    return made


@pytest.mark.parametrize("deep", [False, True])
async def test_an_honest_session_is_ok(scene: Scene, monkeypatch: pytest.MonkeyPatch, deep: bool) -> None:
    audit = await scene.audit(monkeypatch, deep=deep)
    assert audit.ok, audit.differences
    assert audit.counts["applied"] == 6


async def test_an_honest_journal_that_was_chained_anew_is_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.rehash()
    audit = await scene.audit(monkeypatch, deep=True)
    assert audit.ok, audit.differences


def _delete(key: str) -> Callable[[Scene], None]:
    return lambda scene: scene.sql("DELETE FROM entries WHERE key = ?", key)


def _swap(first: str, second: str) -> Callable[[Scene], None]:
    def swap(scene: Scene) -> None:
        with scene.rows() as run:
            seqs = [run("SELECT seq FROM entries WHERE key = ?", key)[0][0] for key in (first, second)]
            for key, seq in ((first, -1), (second, seqs[0]), (first, seqs[1])):
                run("UPDATE entries SET seq = ? WHERE key = ?", seq, key)

    return swap


def _cut(scene: Scene) -> None:
    """Take the last entries away, and have the head say so."""
    with scene.rows() as run:
        [(head,)] = run("SELECT head FROM sessions")
        run("DELETE FROM entries WHERE seq > ?", head - 3)
        run("UPDATE sessions SET head = ?, hash = (SELECT hash FROM entries WHERE seq = ?)", head - 3, head - 3)


def _forget(event_id: str) -> Callable[[Scene], None]:
    """Have nothing but the histories know an event."""

    def forget(scene: Scene) -> None:
        scene.sql("DELETE FROM entries WHERE event_id = ?", event_id)
        scene.sql("DELETE FROM outcomes WHERE event_id = ?", event_id)
        scene.rehash()

    return forget


def _rehashed(change: Callable[[Scene], None]) -> Callable[[Scene], None]:
    def changed(scene: Scene) -> None:
        change(scene)
        scene.rehash()

    return changed


def _outcome(sql: str) -> Callable[[Scene], None]:
    return lambda scene: scene.sql(sql)


def _counts(**changes: int) -> Callable[[Scene], None]:
    def count(scene: Scene) -> None:
        scene.status["counts"] = {k: v + changes.get(k, 0) for k, v in scene.status["counts"].items()}

    return count


def _unqueued(scene: Scene) -> None:
    scene.status["queue"] = [item for item in scene.status["queue"] if item["event_id"] != "waits"]
    _counts(pending=-1)(scene)


def _other_beginning(scene: Scene) -> None:
    scene.sql("UPDATE entries SET at = at + 1 WHERE seq = 1")
    scene.rehash()
    scene.sql("UPDATE sessions SET first = (SELECT hash FROM entries WHERE seq = 1)")


def _garbled(key: str, body: object) -> Callable[[Scene], None]:
    return lambda scene: scene.sql("UPDATE entries SET body = ? WHERE key = ?", body, key)


PLANTED: dict[str, tuple[Callable[[Scene], None], bool, str]] = {
    "an entry is deleted": (_delete("b/0"), False, "the journal's hash chain: seq 22: missing"),
    "an entry is deleted, the chain written anew": (_rehashed(_delete("b/0")), False, "the session has seen entry"),
    "a body is changed": (lambda s: s.body("b/user", content="no"), False, "was changed after it was written"),
    "a body is changed, the chain written anew": (
        _rehashed(lambda s: s.body("b/user", content="no")),
        False,
        "they were written anew",
    ),
    "the last body is changed, the chain written anew": (
        _rehashed(lambda s: s.body("d/end", stop="refusal")),
        False,
        "they were written anew",
    ),
    "two entries change places": (_swap("b/user", "c/user"), False, "does not follow the entry before it"),
    "two turns change places, the chain written anew": (
        _rehashed(_swap("b/started", "c/started")),
        False,
        "turn b (accepted as 8) began after c (accepted as 9)",
    ),
    "the last entries are cut off": (_cut, False, "the session has seen entry"),
    "the head is moved on": (_outcome("UPDATE sessions SET head = head + 5"), False, "not the recorded head"),
    "the first entry is another": (_other_beginning, False, "the journal here is another than the session's"),
    "the first entry is changed, the chain written anew": (
        _rehashed(lambda s: s.sql("UPDATE entries SET at = at + 1 WHERE seq = 1")),
        False,
        "is the first entry, but not the recorded one",
    ),
    "an outcome is lost": (
        _outcome("DELETE FROM outcomes WHERE event_id = 'a'"),
        False,
        "event a ended applied by its entries, and has no outcome",
    ),
    "an outcome is changed": (
        _outcome("UPDATE outcomes SET disposition = 'expired' WHERE event_id = 'a'"),
        False,
        "event a ended applied by its entries, and its outcome says expired",
    ),
    "a merged event's host is changed": (
        _outcome("UPDATE outcomes SET host = 'a' WHERE event_id = 'joined'"),
        False,
        "event joined was merged into host by its entries, and its outcome says a",
    ),
    "an outcome is made up": (
        _outcome("UPDATE outcomes SET event_id = 'ghost' WHERE event_id = 'late'"),
        False,
        "event ghost has the outcome expired, and no entry of its end",
    ),
    "the end of a turn is taken back": (
        _rehashed(lambda s: [_delete("c/end")(s), _outcome("DELETE FROM outcomes WHERE event_id = 'c'")(s)][0]),
        False,
        "event c began a turn that has no end",
    ),
    "what a parked event said is lost": (
        _rehashed(lambda s: s.body("failed/parked", event=None)),
        False,
        "event failed is parked, and nothing says what it said",
    ),
    "a count is changed": (_counts(applied=1), False, "15 events were accepted, but 16 are accounted for"),
    "two counts are changed alike": (_counts(applied=1, accepted=1), False, "applied: the session counts 7, the jour"),
    "a count changes its name": (_counts(applied=-1, expired=1), False, "expired: the session counts 2, the journal 1"),
    "a decision is never recorded": (
        _forget("taken-out"),
        True,
        "event taken-out, accepted in run run, has no outcome",
    ),
    "an event is in no book but the histories": (_forget("a"), True, "event a, accepted in run run, has no outcome"),
    "a carried event is dropped": (_unqueued, False, "15 events were accepted, but 14 are accounted for"),
    "a carried event is dropped, which": (_unqueued, True, "event waits, accepted in run run, has no outcome"),
    "a body has another shape": (_garbled("b/user", "[1]"), False, "was changed after it was written"),
    "a body is no JSON": (_garbled("b/user", '{"content"'), False, "was changed after it was written"),
    "a body is no text": (_garbled("d/end", b"\xff\x00\xfe"), False, "was changed after it was written"),
    "a body has another shape, the chain written anew": (
        _rehashed(_garbled("b/user", "[1]")),
        False,
        "(user.message) is damaged: body cannot be read",
    ),
    "a body's field has another shape": (_garbled("b/started", '{"n": {}, "turn": []}'), False, "was changed after"),
    "the content of a waiting event is lost": (
        _outcome("DELETE FROM contents"),
        True,
        "event claimed waits, and what it says is gone",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
async def test_what_is_done_behind_the_audits_back_is_named(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plant, deep, told = PLANTED[name]
    plant(scene)
    audit = await scene.audit(monkeypatch, deep=deep)
    assert not audit.ok
    assert told in "\n".join(audit.differences)


BODIES = ["[]", "[1]", "null", "7", '"said"', '{"joined": 5, "n": [], "turn": {}, "count": "x", "lost": 1, "from": {}}']


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("type_", sorted({*books.READ} - {"session.gap", "session.recovered", "event.rejected"}))
async def test_a_body_that_was_garbled_is_named_and_stops_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, type_: str, body: str
) -> None:
    scene.sql("UPDATE entries SET body = ? WHERE type = ?", body, type_)
    audit = await scene.audit(monkeypatch, deep=True)
    assert not audit.ok
    assert f"({type_}) is damaged" in "\n".join(audit.differences)


STARTED = {"n": 9, "turn": "c"}
WRITTEN: dict[str, tuple[list[NewEntry], bool, str]] = {
    "a turn is run again": ([NewEntry("turn.started", STARTED, "c", key="x")], False, "turn c began 2 times"),
    "a turn ends again": ([NewEntry("turn.completed", {"turn": "c"}, "c", key="c/x")], False, "turn c ended 2 times"),
    "an old event is run behind a later one": (
        [NewEntry("turn.started", {"n": 1, "turn": "z"}, "z", key="z/started")],
        False,
        "turn z (accepted as 1) began after d (accepted as 13)",
    ),
    "an event that nobody sent is run": (
        [NewEntry("turn.started", {"n": 99, "turn": "ghost"}, "ghost", key="ghost/started")],
        True,
        "event ghost is in the journal, and no run accepted it",
    ),
    "a journal was accepted that lacks something": (
        [NewEntry("session.gap", {"kind": "journal", "from": 3, "to": 7, "journal": "x", "by": "ann"}, key="gap/x")],
        False,
        "the session went on with a journal that was accepted for its own by ann",
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
async def test_what_is_written_that_no_session_writes_is_named(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    entries, deep, told = WRITTEN[name]
    await scene.append(*entries)
    audit = await scene.audit(monkeypatch, deep=deep)
    assert not audit.ok
    assert told in "\n".join(audit.differences)

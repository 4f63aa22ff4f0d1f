"""A loss and what looks like its opposite do not hide each other: the audit names which event it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import inturn.client.audit.audit
from inturn import names
from inturn.client.audit.accepted import Accepted
from inturn.journal import NewEntry
from inturn.journal.log import codec
from inturn.keys import short_name
from inturn.signals import Signal, read_marks
from inturn_workflows.inbox.books import MAX_DECISIONS
from inturn_workflows.inbox.events import Refusal
from tests.support import outside
from tests.support.audited import POLICY, Life, Scene
from tests.support.steps import rig
from tests.support.stores import journal_url

pytestmark = pytest.mark.promise("ACC-8")

FULL = Refusal(names.BACKPRESSURE, "the inbox is full")
COUNTED = 6
"""Events whose rejection is only counted."""


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inturn.client.audit.audit, "_SETTLE_WITHIN", -1.0)


@pytest.fixture
async def flooded(tmp_path: Path) -> Scene:
    """A session that was flooded: some were only counted, two of these came again, and one expired uncounted."""
    async with rig(tmp_path) as steps:
        life = Life(steps)
        for event_id in ("a", "b"):
            life.sent(event_id)
        await life.ran()
        for n in range(MAX_DECISIONS + COUNTED):
            life.refused(f"r{n}", FULL, n)
        life.sent("late", expires_after=0.01)
        [b] = life.inbox.take(9.0, POLICY)
        assert b.event_id == "b", "and late expired"
        life.inbox.endings.end(b, "cancelled", 9.0, {})
        assert not life.inbox.take(9.0, POLICY)
        await life.recorded()
        for event_id in (f"r{MAX_DECISIONS}", f"r{MAX_DECISIONS + 1}"):
            life.sent(event_id)
            _came_last(life.accepted, event_id)
        await life.ran()
        await life.ran()
        life.sent("waits")
        status, sent = life.status(), life.accepted
    made = Scene(outside.copy(journal_url(tmp_path)), status, sent)
    return made


def _last(n: int) -> str:
    """One of those that were only counted and did not come again."""
    return f"r{MAX_DECISIONS + COUNTED - n}"


async def test_a_flooded_session_is_ok(flooded: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for deep in (False, True):
        audit = await flooded.audit(monkeypatch, deep=deep)
        assert audit.ok, audit.differences


def _lost(event_id: str) -> Callable[[Scene], None]:
    """Have nothing but the histories know an event, and the session count one event less."""

    def lose(scene: Scene) -> None:
        scene.sql("DELETE FROM entries WHERE event_id = ?", event_id)
        with scene.rows() as run:
            ended = run("SELECT disposition FROM outcomes WHERE event_id = ?", event_id)
            run("DELETE FROM outcomes WHERE event_id = ?", event_id)
        counts = scene.status["counts"]
        for [disposition] in ended or [["rejected"]]:
            counts[disposition] -= 1
            counts["accepted"] -= 1
        _sealed(scene)

    return lose


def _never_arrived(event_id: str) -> Callable[[Scene], None]:
    """Have the server's history alone know an event: it is lost without any count's change."""

    def lose(scene: Scene) -> None:
        scene.accepted.events[event_id] = "run"

    return lose


def _counts(scene: Scene, **changes: int) -> None:
    for name, change in changes.items():
        scene.status["counts"][name] = scene.status["counts"].get(name, 0) + change


def _unnamed(event_id: str) -> Callable[[Scene], None]:
    """Take an event out of those that are counted; `count` stays."""

    def forget(scene: Scene) -> None:
        signal, short = scene.accepted.signals.get(event_id), short_name(event_id)
        with scene.rows() as run:
            for seq, body in run("SELECT seq, body FROM entries WHERE type IN ('event.rejected', 'event.expired')"):
                read = codec.loads(body)
                for name, bits in read_marks(read.get("signals")).items():
                    read["signals"][name] = f"{bits & ~(1 << signal.number if signal else 0):x}"
                if read.get("ids"):
                    read["ids"] = read["ids"].replace(short, "")
                run("UPDATE entries SET body = ? WHERE seq = ?", codec.dumps(read), seq)
        _sealed(scene)

    return forget


def _counted_twice(scene: Scene) -> None:
    """Have one that is counted be counted again, as if it had come twice."""
    with scene.rows() as run:
        rows = run("SELECT seq, body FROM entries WHERE type = 'event.rejected'")
        [(seq, read)] = [(seq, codec.loads(body)) for seq, body in rows if "signals" in codec.loads(body)]
        run("UPDATE entries SET body = ? WHERE seq = ?", codec.dumps(read | {"count": read["count"] + 1}), seq)
    _counts(scene, rejected=1, accepted=1)
    _sealed(scene)


def _came_again(event_id: str) -> Callable[[Scene], None]:
    """Have one that is counted come again behind that, and be lost then."""
    return lambda scene: _came_last(scene.accepted, event_id)


def _came_last(accepted: Accepted, event_id: str) -> None:
    at, last = datetime.now(UTC) + timedelta(hours=1), Signal("chain-1", 9_000 + int(event_id[1:]))
    accepted.take(event_id, "run", at, last)


def _end_moved(event_id: str, other: str) -> Callable[[Scene], None]:
    """Have an event's end be another's: one is lost, one ends twice."""

    def move(scene: Scene) -> None:
        scene.sql("DELETE FROM outcomes WHERE event_id = ?", other)
        scene.sql("UPDATE outcomes SET event_id = ? WHERE event_id = ?", other, event_id)
        scene.sql("UPDATE entries SET event_id = ? WHERE event_id = ? AND key LIKE '%/end'", other, event_id)
        _sealed(scene)

    return move


def _sealed(scene: Scene) -> None:
    """Chain all anew and have the session have seen that: only the books are left to say what is wrong."""
    scene.rehash()
    with scene.rows() as run:
        [[head]] = run("SELECT head FROM sessions")
    scene.status["head"], scene.status["seal"] = head, None


def _both(*plants: Callable[[Scene], None]) -> Callable[[Scene], None]:
    def plant(scene: Scene) -> None:
        for each in plants:
            each(scene)

    return plant


async def _ghost(scene: Scene) -> None:
    await scene.append(
        NewEntry("turn.started", {"n": 99_999, "turn": "ghost"}, "ghost", key="ghost/started"),
        NewEntry("turn.completed", {"turn": "ghost"}, "ghost", key="ghost/end"),
    )
    scene.sql(
        "INSERT INTO outcomes (tenant, session, event_id, turn, redrive, disposition, stop, reason, host, first_seq, "
        "last_seq, at) SELECT tenant, session, 'ghost', 'ghost', redrive, disposition, stop, reason, host, first_seq, "
        "last_seq, at FROM outcomes WHERE event_id = 'a'"
    )
    _counts(scene, applied=1, accepted=1)


_NOWHERE = "accepted in run run, has no outcome"
PAIRS: dict[str, tuple[Callable[[Scene], None], str]] = {
    "one is lost beside counted ones that came again": (_lost("a"), f"event a, {_NOWHERE}"),
    "one never arrived beside counted ones that came again": (_never_arrived("gone"), f"event gone, {_NOWHERE}"),
    "two never arrived beside two that came again": (
        _both(_never_arrived("gone"), _never_arrived("too")),
        f"event too, {_NOWHERE}",
    ),
    "one that is told is lost beside counted ones": (_lost("r7"), f"event r7, {_NOWHERE}"),
    "a counted one came again and is lost": (_came_again(_last(1)), f"event {_last(1)}, {_NOWHERE}"),
    "a counted one loses its name": (_unnamed(_last(1)), f"event {_last(1)}, {_NOWHERE}"),
    "a counted one takes another's place": (
        _both(_unnamed(_last(1)), _counted_twice),
        f"event {_last(1)}, {_NOWHERE}",
    ),
    "one is lost, one is counted twice": (_both(_lost("a"), _counted_twice), f"event a, {_NOWHERE}"),
    "one never arrived, one is counted twice": (
        _both(_never_arrived("gone"), _counted_twice),
        f"event gone, {_NOWHERE}",
    ),
    "one that expired is lost, one is counted twice": (
        _both(_unnamed("late"), _counted_twice),
        f"event late, {_NOWHERE}",
    ),
    "the end of one is another's": (_end_moved("a", "b"), "event a began a turn that has no end"),
    "the end of one that came again is another's": (
        _end_moved(f"r{MAX_DECISIONS}", "b"),
        f"event r{MAX_DECISIONS} began a turn that has no end",
    ),
    "two counts are changed against each other": (
        lambda scene: _counts(scene, applied=-1, rejected=1),
        "applied: the session counts 2, the journal 3",
    ),
}


@pytest.mark.parametrize("name", PAIRS)
async def test_a_loss_is_named_whatever_makes_up_for_it(
    flooded: Scene, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plant, told = PAIRS[name]
    plant(flooded)
    audit = await flooded.audit(monkeypatch, deep=True)
    assert told in "\n".join(audit.differences)
    assert len(audit.differences) <= 4, "only what is wrong is named"


async def test_one_that_is_lost_and_one_that_nobody_sent_are_both_named(
    flooded: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lost("a")(flooded)
    await _ghost(flooded)
    _sealed(flooded)
    told = "\n".join((await flooded.audit(monkeypatch, deep=True)).differences)
    assert f"event a, {_NOWHERE}" in told
    assert "event ghost is in the journal, and no run accepted it" in told


@pytest.mark.parametrize("lost", [(), ("a",), ("gone",), ("a", "gone", "too"), ("r7", _last(1))])
async def test_no_loss_hides_behind_a_flood_of_nonsense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: tuple[str, ...]
) -> None:
    async with rig(tmp_path) as steps:
        life = Life(steps)
        life.sent("a")
        await life.ran()
        for n in range(9_000):  # what is no event, and of every tenth signal one that is
            life.inbox.park_invalid(f"invalid:{n}", "no event" * 60, 2.0, "x" * 200)
            if n % 10 == 0:
                life.refused(f"r{n // 10}", FULL, n)
        await life.recorded()
        status, sent = life.status(), life.accepted
    scene = Scene(outside.copy(journal_url(tmp_path)), status, sent)
    for event_id in lost:
        (_never_arrived if event_id in ("gone", "too") else _unnamed if event_id[0] == "r" else _lost)(event_id)(scene)
    scene.sql("DELETE FROM entries WHERE event_id = 'r7'" if "r7" in lost else "SELECT 1")
    _sealed(scene)
    audit = await scene.audit(monkeypatch, deep=True)
    named = {line.split()[1].rstrip(",") for line in audit.differences if _NOWHERE in line}
    assert (named, audit.ok) == (set(lost), not lost), audit.differences

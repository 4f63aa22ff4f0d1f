"""Circles of waits: found, broken once, and told from what only looks like one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inturn.journal import ResourceWait, Want
from inturn.journal.ledger import steps
from inturn.journal.limits import deadlocks, grants, places
from inturn.journal.log import log
from inturn.journal.store.sqlite_connection import SqliteTransaction
from inturn.keys import StepKey
from tests.support.journal import calls, memory
from tests.support.limits import call, read, write

pytestmark = pytest.mark.usefixtures("store")

LEASE = 5.0


class Calls:
    """Calls whose bodies run."""

    def __init__(self, tx: SqliteTransaction) -> None:
        self.tx = tx
        self.tokens: dict[StepKey, str] = {}
        self.parts: dict[StepKey, int] = {}

    def lock(self, who: int, want: Want) -> bool:
        """Take a lock on the way; tells whether it was granted."""
        step = call(who)
        if step not in self.tokens:
            with log.locked(self.tx, step.session) as journal:
                journal.append(calls("e1", [f"c{who}"]))
            self.tokens[step] = steps.claim_call(self.tx, step, lease=LEASE, begin=True).token
        self.parts[step] = self.parts.get(step, 0) + 1
        part = str(self.parts[step])
        found = steps.lock(self.tx, step, self.tokens[step], want, part=part, lease=LEASE)
        return not isinstance(found, ResourceWait)

    def sentence(self, who: int, want: Want) -> str:
        """What the call's last wait hears."""
        step = call(who)
        found = grants.look(self.tx, places.Caller(step, str(self.parts[step])), [want])
        return found.deadlock_victim if found else ""

    def notes(self, who: int) -> list[dict[str, object]]:
        """What its session's readers see of it."""
        return [e.body for e in log.read(self.tx, call(who).session, types=("tool.progress",))]


@pytest.fixture
def bodies() -> Iterator[Calls]:
    with memory() as tx:
        yield Calls(tx)


def planted(bodies: Calls, size: int) -> None:
    """Let each call hold a lock and wait for the next one's; call 1 waits longest."""
    for who in range(1, size + 1):
        assert bodies.lock(who, write(f"l{who}"))
    for who in range(1, size + 1):
        assert not bodies.lock(who, write(f"l{who % size + 1}"))
        bodies.tx.now += 0.1


@pytest.mark.promise("SHR-4")
@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_circle_is_broken_once_and_every_session_of_it_hears(bodies: Calls, size: int) -> None:
    planted(bodies, size)
    found = deadlocks.break_cycle(bodies.tx, call(size), "oldest_waiter")
    assert found is not None
    assert found.victim == str(call(1))
    assert "add of acme/s1/e1/0/0 waits for lock l2, held by acme/s2/e1/0/0" in found.text
    assert all(deadlocks.break_cycle(bodies.tx, call(who), "oldest_waiter") is None for who in range(1, size + 1))
    assert "lock l2" in bodies.sentence(1, write("l2"))
    assert bodies.sentence(2, write(f"l{2 % size + 1}")) == ""
    for who in range(1, size + 1):
        [note] = bodies.notes(who)
        assert note["call_id"] == f"c{who}"
        assert str(note["text"]).startswith("deadlock: ")
    places.leave(bodies.tx, call(1))
    assert bodies.lock(size, write("l1")), "the way is free"


def test_the_youngest_may_be_the_victim_instead(bodies: Calls) -> None:
    planted(bodies, 3)
    found = deadlocks.break_cycle(bodies.tx, call(2), "youngest")
    assert found is not None
    assert found.victim == str(call(3))


def test_a_circle_may_only_be_reported_and_is_reported_once(bodies: Calls) -> None:
    planted(bodies, 2)
    found = deadlocks.break_cycle(bodies.tx, call(1), "report_only")
    assert found is not None
    assert found.victim is None
    assert deadlocks.break_cycle(bodies.tx, call(2), "report_only") is None
    assert not bodies.sentence(1, write("l2"))
    bodies.tx.now += 1
    for who in (1, 2):  # they are still there
        bodies.parts[call(who)] -= 1
        assert not bodies.lock(who, write(f"l{who % 2 + 1}"))
    assert deadlocks.break_cycle(bodies.tx, call(1), "report_only") is None
    assert len(bodies.notes(1)) == 1


@pytest.mark.promise("SHR-4")
def test_what_only_looks_like_a_circle_is_left_alone(bodies: Calls) -> None:
    # 1 waits for 2; 2 wants what 1 only reads, to read it as well.
    assert bodies.lock(1, read("a"))
    assert bodies.lock(2, write("b"))
    assert not bodies.lock(1, write("b"))
    assert bodies.lock(2, read("a"))
    # 3 waits for what 1 has, and nobody for 3.
    assert not bodies.lock(3, write("a"))
    assert all(deadlocks.break_cycle(bodies.tx, call(who), "oldest_waiter") is None for who in (1, 2, 3))


def test_a_circle_of_which_one_lease_ran_out_opens_by_itself(bodies: Calls) -> None:
    planted(bodies, 2)
    bodies.tx.now += LEASE + 1
    places.renew(bodies.tx, call(1), lease=LEASE)
    assert deadlocks.break_cycle(bodies.tx, call(1), "oldest_waiter") is None
    bodies.parts[call(1)] -= 1
    assert bodies.lock(1, write("l2")), "the other one's worker died"


def test_a_reader_that_wants_to_write_can_wait_for_another_such(bodies: Calls) -> None:
    assert bodies.lock(1, read("a"))
    assert bodies.lock(2, read("a"))
    assert not bodies.lock(1, write("a"))
    assert not bodies.lock(2, write("a"))
    assert deadlocks.break_cycle(bodies.tx, call(2), "oldest_waiter") is not None


def test_a_ticket_does_not_stand_before_the_one_it_waits_for(bodies: Calls) -> None:
    assert bodies.lock(1, write("a"))
    before = steps.claim_call(bodies.tx, call(2), lease=LEASE, begin=True, wants=[write("a"), write("b")])
    assert before.status == "waiting"
    assert bodies.lock(1, write("b")), "else both would wait for ever"


def test_a_queue_of_readers_and_writers_does_not_close_a_circle(bodies: Calls) -> None:
    # 1 reads r; 2 waits to write r; 3 holds y; 1 waits for y; 3 wants to read r: behind 2, who waits for 1, who waits
    # for 3.
    assert bodies.lock(1, read("r"))
    assert bodies.lock(3, write("y"))
    assert not bodies.lock(2, write("r"))
    assert not bodies.lock(1, write("y"))
    assert bodies.lock(3, read("r"))


def test_a_ticket_that_waits_for_somebody_else_is_not_passed(bodies: Calls) -> None:
    assert bodies.lock(1, write("x"))
    assert bodies.lock(3, write("b"))
    before = steps.claim_call(bodies.tx, call(2), lease=LEASE, begin=True, wants=[write("b")])
    assert before.status == "waiting"
    assert not bodies.lock(1, write("b"))
    places.leave(bodies.tx, call(3))
    bodies.parts[call(1)] -= 1
    assert not bodies.lock(1, write("b"))

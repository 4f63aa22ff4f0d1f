"""The grant table under any order of requests, renewals, deaths and releases, against a plain model of its rules."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from inturn.journal import ResourceWait, Want
from inturn.journal.limits import grants, places
from inturn.journal.limits.grants import Grant
from inturn.journal.limits.places import PRESENCE, RESERVED, Caller
from tests.support.journal import memory
from tests.support.limits import call, permit, read, write
from tests.support.stores import examples

LEASE = 5.0
PERMITS = 3
CALLERS = st.integers(1, 6)
LOCKS = st.dictionaries(st.sampled_from("abc"), st.sampled_from([read, write]), max_size=3)


@dataclass
class Asked:
    """What a caller wants, and how it stands."""

    wants: list[Want]
    number: int
    held: bool = False
    until: float = 0.0
    reserves: float = 0.0
    """Until when it keeps a permit from those behind it: it waits in place, and for nothing but that."""

    def clashes(self, other: Asked) -> bool:
        """Whether the two cannot hold their locks at once."""
        return any(
            mine.resource == theirs.resource and mine.is_lock and "write" in (mine.mode, theirs.mode)
            for mine in self.wants
            for theirs in other.wants
        )

    @property
    def counted(self) -> bool:
        """Whether it needs a permit."""
        return any(want.mode == "permit" for want in self.wants)


class Table(RuleBasedStateMachine):
    """Callers come, wait, hold, fall silent and go; the clock is the test's."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.tx = self.open.enter_context(memory(now=0.0))
        self.asked: dict[int, Asked] = {}
        self.numbers = 0
        self.fences: dict[str, int] = {}

    def teardown(self) -> None:
        self.everybody_gets_it_in_the_end()
        self.open.close()

    def present(self, *, held: bool) -> dict[int, Asked]:
        return {who: a for who, a in self.asked.items() if a.held is held and a.until > self.tx.now}

    @rule(who=CALLERS, locks=LOCKS, counted=st.booleans())
    def ask(self, who: int, locks: dict[str, object], counted: bool) -> None:
        if who not in self.asked:
            wants = [make(name) for name, make in sorted(locks.items())]  # type: ignore[operator]
            wants += [permit(of=PERMITS)] if counted or not wants else []
            self.numbers += 1
            self.asked[who] = Asked(wants, self.numbers)
        self.visit(who)

    def visit(self, who: int) -> None:
        mine = self.asked[who]
        if mine.held and mine.until <= self.tx.now:  # its worker died: the next attempt asks anew, behind who waits
            self.numbers += 1
            mine.held, mine.number = False, self.numbers
        found = grants.take(self.tx, Caller(call(who)), mine.wants, lease=LEASE)
        if mine.held:
            assert isinstance(found, Grant), "it was its own already"
        else:
            self.check(who, mine, found)
        mine.held, mine.until = (
            isinstance(found, Grant),
            self.tx.now + (LEASE if isinstance(found, Grant) else PRESENCE),
        )
        if isinstance(found, Grant):
            self.granted(mine, found)

    def check(self, who: int, mine: Asked, found: Grant | ResourceWait) -> None:
        holders = [a for other, a in self.present(held=True).items() if other != who]
        ahead = [a for other, a in self.present(held=False).items() if other != who and a.number < mine.number]
        blocked = any(mine.clashes(a) for a in (*holders, *ahead))
        reserved = sum(a.reserves > self.tx.now for a in ahead)
        queued = mine.counted and sum(a.counted for a in holders) + reserved >= PERMITS
        mine.reserves = 0.0
        if isinstance(found, Grant):
            assert not blocked, "two hold it, or somebody present was overtaken"
            assert not queued, "more than there are permits, or somebody in place was passed"
            return
        assert blocked or queued, "it waits for nothing"
        if not blocked:
            assert found.in_place is (reserved < PERMITS)
            mine.reserves = self.tx.now + RESERVED if found.in_place else 0.0

    def granted(self, mine: Asked, grant: Grant) -> None:
        for want in mine.wants:
            if want.is_lock:
                assert grant.fence > self.fences.get(want.resource, 0), "a fence did not grow"
                self.fences[want.resource] = grant.fence
        for step in grant.stale:
            [gone] = [who for who in self.asked if call(who) == step]
            assert self.asked[gone].held
            assert self.asked[gone].until <= self.tx.now, "a lock was taken from a living holder"
            del self.asked[gone]

    @rule(who=CALLERS)
    def renew(self, who: int) -> None:
        if who in self.present(held=True):
            places.renew(self.tx, call(who), lease=LEASE)
            self.asked[who].until = self.tx.now + LEASE

    @rule(who=CALLERS)
    def leave(self, who: int) -> None:
        places.leave(self.tx, call(who))
        self.asked.pop(who, None)

    @rule(seconds=st.sampled_from([0.5, 2.0, LEASE, PRESENCE]))
    def pass_time(self, seconds: float) -> None:
        self.tx.now += seconds

    @precondition(lambda self: self.present(held=False))
    @rule(data=st.data())
    def hand_over(self, data: st.DataObject) -> None:
        """The longest waiter is served as soon as it is back and nobody holds anything: nobody passes it again."""
        waiting = self.present(held=False)
        first = min(waiting, key=lambda who: waiting[who].number)
        for _ in range(2):
            for who in [w for w, a in self.asked.items() if a.held and w != first]:
                self.leave(who)
            for who in data.draw(st.permutations(sorted(self.present(held=False)))):
                self.visit(who)
        assert self.asked[first].held, "who waits longest was not served"

    @invariant()
    def a_lock_is_one_writers_or_readers(self) -> None:
        holders = list(self.present(held=True).values())
        assert not any(a.clashes(b) for n, a in enumerate(holders) for b in holders[:n])
        assert sum(a.counted for a in holders) <= PERMITS

    def everybody_gets_it_in_the_end(self) -> None:
        left = set(self.asked)
        for _ in range(2 * len(left) + 1):
            for who in sorted(left, reverse=True):  # the worst order
                if who in self.asked:
                    self.visit(who)
                if who not in self.asked or self.asked[who].held:
                    self.leave(who)
                    left.discard(who)
        assert not left, "somebody starved"


def test_grants_keep_their_rules_in_any_order(store: str) -> None:
    run_state_machine_as_test(
        Table, settings=settings(max_examples=examples(100, store), stateful_step_count=40, deadline=None)
    )

"""Locks, permits and rates by their rules, on one clock."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from inturn.journal import ResourceWait, Want
from inturn.journal.ledger import decisions, steps
from inturn.journal.limits import grants, places
from inturn.journal.limits.grants import Grant
from inturn.journal.limits.places import Caller
from inturn.journal.store.sqlite_connection import SqliteTransaction
from tests.support.journal import memory
from tests.support.limits import call, permit, rate, read, write

pytestmark = pytest.mark.usefixtures("store")

LEASE = 5.0


@pytest.fixture
def tx() -> Iterator[SqliteTransaction]:
    with memory() as made:
        yield made


def take(tx: SqliteTransaction, who: int, *wants: Want, part: str = "") -> Grant | ResourceWait:
    return grants.take(tx, Caller(call(who), part), wants, lease=LEASE, lasts=30)


def granted(tx: SqliteTransaction, who: int, *wants: Want, part: str = "") -> bool:
    return isinstance(take(tx, who, *wants, part=part), Grant)


def waiting(tx: SqliteTransaction, who: int, *wants: Want, part: str = "") -> ResourceWait:
    found = take(tx, who, *wants, part=part)
    assert isinstance(found, ResourceWait)
    return found


def fence(tx: SqliteTransaction, who: int, *wants: Want) -> int:
    found = take(tx, who, *wants)
    assert isinstance(found, Grant)
    return found.fence


def test_a_lock_has_one_writer_or_any_number_of_readers(tx: SqliteTransaction) -> None:
    assert granted(tx, 1, read("a"))
    assert granted(tx, 2, read("a"))
    assert not granted(tx, 3, write("a"))
    places.leave(tx, call(1))
    assert not granted(tx, 3, write("a"))
    places.leave(tx, call(2))
    assert granted(tx, 3, write("a"))
    assert not granted(tx, 1, read("a"))


def test_a_reader_that_asks_again_to_write_waits_for_the_other_readers(tx: SqliteTransaction) -> None:
    assert granted(tx, 1, read("a"))
    assert granted(tx, 2, read("a"))
    assert not granted(tx, 1, write("a"))
    places.leave(tx, call(2))
    assert granted(tx, 1, write("a"))
    assert not granted(tx, 2, read("a"))


@pytest.mark.promise("SHR-1")
def test_all_is_granted_at_once_or_nothing_is(tx: SqliteTransaction) -> None:
    assert granted(tx, 1, write("a"))
    assert not granted(tx, 2, write("a"), write("b"))
    assert not granted(tx, 3, write("b")), "an earlier ticket waits for b"
    assert [p.call for p in places.listed(tx) if p.state == "held"] == [str(call(1))]
    places.leave(tx, call(1))
    assert granted(tx, 2, write("a"), write("b"))


def test_who_came_first_is_first_also_when_others_ask_more_often(tx: SqliteTransaction) -> None:
    assert granted(tx, 1, write("a"))
    for who in (2, 3, 4):
        assert not granted(tx, who, write("a"))
    for who in (1, 2, 3):
        places.leave(tx, call(who))
        assert not granted(tx, 4, write("a")) or who == 3
        assert granted(tx, who + 1, write("a"))


def test_readers_do_not_starve_a_writer(tx: SqliteTransaction) -> None:
    assert granted(tx, 1, read("a"))
    assert not granted(tx, 2, write("a"))
    assert str(waiting(tx, 3, read("a"))) == "waiting for lock a, after acme/s2, who came first"
    places.leave(tx, call(1))
    assert not granted(tx, 3, read("a"))
    assert granted(tx, 2, write("a"))


@pytest.mark.promise("SHR-3")
def test_a_waiter_hears_what_it_waits_for_who_holds_it_and_since_when(tx: SqliteTransaction) -> None:
    take(tx, 2, write("file:report.md"))
    tx.now += 1
    take(tx, 1, write("x"), write("file:report.md"))
    places.leave(tx, call(1))
    tx.now += 4
    places.renew(tx, call(2), lease=LEASE * 100)
    tx.now += 7
    found = waiting(tx, 3, write("file:report.md"))
    assert str(found) == "waiting for lock file:report.md, held by acme/s2 for 12 s"
    assert found.in_place
    assert not waiting(tx, 4, write("file:report.md")).in_place
    tx.now += 58
    late = waiting(tx, 3, write("file:report.md"))
    assert str(late) == "waiting for lock file:report.md, held by acme/s2 for 70 s (40 s over its limit)"
    assert (late.waited, late.waited_before) == (58, 0)


def test_a_waiter_that_nobody_sees_is_passed_over_and_keeps_its_number(tx: SqliteTransaction) -> None:
    assert granted(tx, 1, write("a"))
    assert not granted(tx, 2, write("a"))
    tx.now += 4
    assert not granted(tx, 3, write("a"))
    places.leave(tx, call(1))
    tx.now += 10
    assert not granted(tx, 3, write("a")), "the second is present for another second"
    tx.now += 2
    assert granted(tx, 3, write("a"))
    assert waiting(tx, 4, write("a")).in_place
    assert waiting(tx, 2, write("a")).waited == 16, "its ticket is as old as it is"
    places.leave(tx, call(3))
    assert not granted(tx, 4, write("a"))
    assert granted(tx, 2, write("a")), "it came back under its old number"


def test_a_cancelled_waiter_and_a_settled_turn_block_nobody(tx: SqliteTransaction) -> None:
    assert granted(tx, 1, write("a"))
    assert not granted(tx, 2, write("a"))
    assert not granted(tx, 3, write("a"))
    assert not granted(tx, 4, write("a"))
    places.leave(tx, call(2), "")
    places.leave(tx, call(1), "")  # no ticket: what is held stays held
    assert not granted(tx, 4, write("a"))
    decisions.settle_turns(tx, [call(3).turn])
    decisions.settle_turns(tx, [call(1).turn])
    assert granted(tx, 4, write("a"))


@pytest.mark.promise("SHR-2")
def test_every_grant_of_a_lock_has_a_higher_fence(tx: SqliteTransaction) -> None:
    fences = []
    for who in (1, 2, 1, 3):
        fences.append(fence(tx, who, write("a")))
        fences.append(fence(tx, who, write("a")))  # another attempt of the same step
        places.leave(tx, call(who))
    assert fences == sorted(set(fences))
    assert fences[0] > 0


@pytest.mark.promise("SHR-2")
def test_who_takes_over_an_expired_lock_takes_its_holders_claim_too(tx: SqliteTransaction) -> None:
    first = steps.claim_call(tx, call(1), lease=LEASE, begin=True, wants=[write("a"), permit(of=9)])
    tx.now += LEASE - 1
    assert steps.claim_call(tx, call(2), lease=LEASE, begin=True, wants=[write("a")]).status == "waiting"
    assert steps.renew(tx, call(1), first.token, lease=LEASE)
    tx.now += LEASE - 1
    assert steps.claim_call(tx, call(2), lease=LEASE, begin=True, wants=[write("a")]).status == "waiting"
    tx.now += 2
    second = steps.claim_call(tx, call(2), lease=LEASE, begin=True, wants=[write("a")])
    assert second.status == "claimed"
    assert second.fence > first.fence
    assert not steps.renew(tx, call(1), first.token, lease=LEASE)
    assert steps.append(tx, call(1), first.token, []) is None
    assert steps.finish(tx, call(1), first.token, {"stale": True}, [], None) is None
    again = steps.claim_call(tx, call(1), lease=LEASE, begin=True, wants=[write("a")])
    assert (again.status, again.began) == ("waiting", True)
    assert steps.finish(tx, call(2), second.token, {}, [], None) is not None
    again = steps.claim_call(tx, call(1), lease=LEASE, begin=True, wants=[write("a")])
    assert (again.status, again.began, again.attempts.counts) == ("claimed", True, {"lost": 1})


def test_an_expired_lock_that_nobody_wants_can_still_be_renewed(tx: SqliteTransaction) -> None:
    first = steps.claim_call(tx, call(1), lease=LEASE, begin=True, wants=[write("a")])
    tx.now += LEASE + 10
    assert steps.renew(tx, call(1), first.token, lease=LEASE)
    assert not granted(tx, 2, write("a"))


@pytest.mark.parametrize("end", ["finish", "fail", "release", "settle"])
def test_whatever_ends_a_step_frees_what_it_holds(tx: SqliteTransaction, end: str) -> None:
    step = call(1)
    token = steps.claim_call(tx, step, lease=LEASE, begin=True, wants=[write("a")]).token
    assert isinstance(steps.lock(tx, step, token, write("b"), part="1", lease=LEASE), int)
    match end:
        case "finish":
            steps.finish(tx, step, token, {}, [], None)
        case "fail":
            steps.fail(tx, step, token, "unknown")
        case "release":
            steps.release(tx, step, token)
        case _:
            decisions.settle_turns(tx, [step.turn])
    assert places.listed(tx) == []


@pytest.mark.promise("ISO-4")
def test_permits_are_counted_and_given_in_order(tx: SqliteTransaction) -> None:
    assert granted(tx, 1, permit(of=2))
    assert granted(tx, 2, permit(of=2))
    found = waiting(tx, 3, permit(of=2))
    assert (str(found), found.in_place) == ("waiting for steps: all 2 taken", True)
    assert (waiting(tx, 4, permit(of=2)).in_place, waiting(tx, 5, permit(of=2)).in_place) == (True, False)
    other = Want("initech", "steps", "permit", 2)
    assert granted(tx, 9, other), "another tenant does not notice"
    places.leave(tx, call(1))
    assert not granted(tx, 4, permit(of=2))
    assert granted(tx, 3, permit(of=2))
    tx.now += LEASE + 1
    assert granted(tx, 4, permit(of=2)), "their workers died"


@pytest.mark.promise("ISO-4")
def test_a_permit_does_not_lie_idle_for_somebody_who_is_away(tx: SqliteTransaction) -> None:
    only = permit(of=1)
    assert granted(tx, 1, only)
    assert [waiting(tx, who, only).in_place for who in (2, 3)] == [True, False]
    places.leave(tx, call(1))
    assert not granted(tx, 4, only), "the second waits in place"
    assert granted(tx, 2, only)
    places.leave(tx, call(2))
    assert granted(tx, 5, only), "the third comes back later"
    assert waiting(tx, 3, only).in_place, "now it is the next, and before all that came later"
    places.leave(tx, call(5))
    assert not granted(tx, 6, only)
    assert granted(tx, 3, only)


@pytest.mark.promise("ISO-4")
def test_everybody_is_served_however_many_newcomers_there_are(tx: SqliteTransaction) -> None:
    two, first = permit(of=2), range(1, 41)
    holders = [who for who in first if granted(tx, who, two)]
    left, newcomers, rounds = sorted(set(first) - set(holders)), itertools.count(100), 0
    while left:
        tx.now += 0.5
        for who in holders:
            places.leave(tx, call(who))
        seated = [int(p.call.split("/")[1][1:]) for p in places.listed(tx) if p.state == "waiting" and p.present]
        back = left[rounds % 4 :: 4]  # every two seconds each
        coming = [next(newcomers), next(newcomers), *reversed(back), *seated]  # the worst order
        holders = [who for who in dict.fromkeys(coming) if granted(tx, who, two)]
        left = [who for who in left if who not in holders]
        rounds += 1
    assert rounds <= len(first), "of two permits at least one went to somebody who came first"


@pytest.mark.promise("ISO-4")
def test_whoever_waited_in_place_and_died_keeps_a_permit_from_nobody_for_long(tx: SqliteTransaction) -> None:
    two = permit(of=2)
    for who in (1, 2):
        assert granted(tx, who, two)
    for who in (3, 4):
        assert waiting(tx, who, two).in_place
    tx.now += LEASE + 1
    assert not granted(tx, 5, two), "two died that held, two that waited may live"
    tx.now += places.RESERVED - LEASE
    assert granted(tx, 5, two)
    assert granted(tx, 3, two), "it lives, and has its number still"


def test_who_is_far_behind_hears_when_it_may_be_its_turn(tx: SqliteTransaction) -> None:
    for who in range(24):
        take(tx, who, permit(of=4))
    tx.now += 3
    for who in range(4):
        places.renew(tx, call(who), lease=LEASE)
    assert waiting(tx, 5, permit(of=4)).expected == 0, "it waits in place"
    assert waiting(tx, 23, permit(of=4)).expected == pytest.approx(19 / 4 * 6), "each is held for twice three seconds"
    for who in range(60, 69):
        take(tx, who, rate(1, refill=0.5))
    assert waiting(tx, 68, rate(1, refill=0.5)).expected == 7 / 0.5
    take(tx, 50, write("a"))
    take(tx, 51, write("a"))
    tx.now += 2
    assert waiting(tx, 52, write("a")).expected == 1 * 4


def test_a_ticket_that_waits_for_a_permit_elsewhere_does_not_stand_before_its_holder(tx: SqliteTransaction) -> None:
    assert granted(tx, 1, permit(of=1))
    assert waiting(tx, 2, permit(of=1)).in_place
    assert not waiting(tx, 3, write("a"), permit(of=1)).in_place, "it is away, and first in line for the lock"
    assert granted(tx, 1, write("a"), part="1"), "the third waits for the first, and would never let it go"


def test_a_ticket_reserves_only_permits_that_it_lacks(tx: SqliteTransaction) -> None:
    assert granted(tx, 1, write("a"), permit(of=3))
    for who in (2, 3, 4):
        assert not granted(tx, who, write("a"), permit(of=3))
    assert granted(tx, 5, permit(of=3)), "who waits for a lock keeps nobody from the permits"
    assert granted(tx, 6, permit(of=3))
    assert not granted(tx, 7, permit(of=3))


@pytest.mark.promise("ISO-4")
def test_a_rate_spends_its_tokens_and_gets_them_back_in_order(tx: SqliteTransaction) -> None:
    for who in (1, 2):
        assert granted(tx, who, rate(2, 0.5))
    assert not granted(tx, 3, rate(2, 0.5))
    assert not granted(tx, 4, rate(2, 0.5))
    tx.now += 2
    assert not granted(tx, 4, rate(2, 0.5)), "the one token is the third's"
    assert granted(tx, 3, rate(2, 0.5))
    assert not granted(tx, 4, rate(2, 0.5))
    tx.now += 60
    for who in (4, 5):
        assert granted(tx, who, rate(2, 0.5)), "never more than it can hold"
    assert not granted(tx, 6, rate(2, 0.5))
    tx.now -= 3600
    assert not granted(tx, 6, rate(2, 0.5)), "a clock that was set back brings nothing"


def test_a_look_tells_the_same_and_leaves_no_trace(tx: SqliteTransaction) -> None:
    take(tx, 1, write("a"))
    take(tx, 2, write("a"))
    before = places.listed(tx)
    found = grants.look(tx, Caller(call(2)), [write("a")])
    assert found is not None
    assert found.in_place
    assert grants.look(tx, Caller(call(3)), [write("b")]) is None
    assert places.listed(tx) == before
    places.leave(tx, call(1))
    assert grants.look(tx, Caller(call(2)), [write("a")]) is None


def test_a_body_may_take_again_what_its_call_holds(tx: SqliteTransaction) -> None:
    assert granted(tx, 1, write("a"))
    assert granted(tx, 1, write("a"), part="1")
    places.leave(tx, call(1), "1")
    assert not granted(tx, 2, write("a"))


def test_locks_of_a_body_do_not_outlive_its_attempt(tx: SqliteTransaction) -> None:
    step = call(1)
    token = steps.claim_call(tx, step, lease=LEASE, begin=True).token
    steps.lock(tx, step, token, write("a"), part="1", lease=LEASE)
    tx.now += LEASE + 1
    steps.claim_call(tx, step, lease=LEASE, begin=True)
    assert steps.lock(tx, step, token, write("a"), part="2", lease=LEASE) is None
    assert granted(tx, 2, write("a"))


def test_tickets_of_steps_that_never_settled_are_forgotten_after_a_day(tx: SqliteTransaction) -> None:
    take(tx, 1, write("a"))
    take(tx, 2, write("a"))
    tx.now += 2 * 24 * 3600
    places.renew(tx, call(1), lease=LEASE)
    take(tx, 3, write("a"))
    assert [p.call for p in places.listed(tx)] == [str(call(1)), str(call(3))]


@pytest.mark.promise("ISO-4")
@pytest.mark.parametrize("tokens", [-1.0, -1e300, float("-inf"), float("nan")], ids=str)
def test_a_bucket_that_holds_less_than_nothing_is_full(tx: SqliteTransaction, tokens: float) -> None:
    assert granted(tx, 1, rate(2, 0.5))
    if tokens == tokens or tx.for_update:  # SQLite keeps no NaN
        tx.execute("UPDATE buckets SET tokens = ?", (tokens,))
    assert granted(tx, 2, rate(2, 0.5))


def test_permits_of_steps_that_never_settled_are_forgotten_after_a_day_and_their_locks_are_kept(
    tx: SqliteTransaction,
) -> None:
    only = permit(of=1)
    assert granted(tx, 1, only, write("a"))
    tx.now += 2 * 24 * 3600
    assert granted(tx, 2, only)
    waiting(tx, 3, only)
    assert [(p.call, p.mode) for p in places.listed(tx)] == [
        (str(call(1)), "write"),
        (str(call(2)), "permit"),
        (str(call(3)), "permit"),
    ]


@pytest.mark.promise("ISO-4")
def test_a_permit_that_ran_out_is_asked_for_anew_behind_who_took_it(tx: SqliteTransaction) -> None:
    only = permit(of=1)
    assert granted(tx, 1, only)
    tx.now += LEASE
    assert granted(tx, 2, only), "its holder is dead"
    assert waiting(tx, 1, only).capacity == 1
    places.leave(tx, call(2))
    assert granted(tx, 1, only)


@pytest.mark.promise("ISO-4")
def test_a_permit_that_ran_out_and_was_given_away_is_not_had_back_by_a_sign_of_life(tx: SqliteTransaction) -> None:
    only, slow = permit(of=1), call(1)
    token = steps.claim_call(tx, slow, lease=LEASE, begin=True, wants=[only, write("a")]).token
    tx.now += LEASE
    assert granted(tx, 2, only)
    assert steps.renew(tx, slow, token, lease=LEASE), "its claim and its lock are its own still"
    present = {place.call for place in places.listed(tx) if place.mode == "permit" and place.present}
    assert present == {str(call(2))}
    assert not granted(tx, 3, write("a"))


@pytest.mark.promise("ISO-4")
def test_a_call_that_is_claimed_again_takes_a_token_like_any_other(tx: SqliteTransaction) -> None:
    once = rate(1, refill=0)
    assert granted(tx, 1, permit(of=1), once)
    assert waiting(tx, 1, permit(of=1), once)


@pytest.mark.promise("SHR-2")
def test_an_attempt_whose_lock_ran_out_writes_nothing_once_the_next_one_has_to_wait_for_it(
    tx: SqliteTransaction,
) -> None:
    mine, other = call(1), call(2)
    first = steps.claim_call(tx, mine, lease=LEASE, begin=True, wants=[write("a")])
    assert steps.claim_call(tx, other, lease=LEASE, begin=True, wants=[write("a")]).status == "waiting"
    tx.now += LEASE
    assert steps.claim_call(tx, mine, lease=LEASE, begin=True, wants=[write("a")]).status == "waiting"
    assert steps.finish(tx, mine, first.token, {}, [], None) is None

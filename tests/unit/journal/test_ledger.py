"""The ledger: each step once, whoever claims it and however late an attempt comes back."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from inturn.journal import Claim, Journal, NewEntry, Outcome, Recorded, Superseded, open_journal
from inturn.journal.ledger import decisions, steps
from inturn.journal.log import log
from inturn.journal.store.sqlite_connection import SqliteTransaction
from inturn.journal.views import outcomes
from inturn.keys import StepKey
from tests.support.journal import OTHER, SESSION, answer, applied, calls, memory, opening, result
from tests.support.stores import journal_url
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("store")

TURN = SESSION.turn("e1")
STEP = TURN.step(0)
CALL = TURN.step(0, 0)


def claim(tx: SqliteTransaction, *, begin: bool = True) -> Claim:
    return steps.claim_call(tx, CALL, lease=10, begin=begin)


def finish(
    tx: SqliteTransaction, step: StepKey, token: str, record: dict[str, Any], entries: list[NewEntry], end: Any = None
) -> int | None:
    """Finish a step; tells the new head."""
    reached = steps.finish(tx, step, token, record, entries, end)
    return None if reached is None else reached.head


def finish_call(tx: SqliteTransaction, token: str, value: str = "4") -> int | None:
    return finish(tx, CALL, token, {"value": value}, [result("e1", 0, "c0", value)])


def test_a_model_step_is_claimed_with_its_opening_and_finished_with_its_answer() -> None:
    with memory() as tx:
        first = steps.claim_model(tx, STEP, opening("e1"))
        assert (first.status, first.head, first.fence, first.began) == ("claimed", 3, 1, False)
        assert finish(tx, STEP, first.token, {"stop": "end_turn"}, answer("e1"), applied("e1")) == 5
        outcome = outcomes.get(tx, SESSION, "e1")
    assert outcome is not None
    assert (outcome.disposition, outcome.stop, outcome.seqs) == ("applied", "end_turn", (2, 5))


def test_a_finished_step_answers_with_its_record_for_ever() -> None:
    with memory() as tx:
        first = steps.claim_model(tx, STEP, opening("e1"))
        steps.finish(tx, STEP, first.token, {"stop": "tool_use"}, calls("e1", ["c0"]), None)
        again = steps.claim_model(tx, STEP, opening("e1"))
        assert (again.status, again.result, again.token) == ("done", {"stop": "tool_use"}, "")
        assert log.head(tx, SESSION) == 5


def test_a_turn_that_ended_answers_with_its_outcome_and_the_steps_own_record() -> None:
    with memory() as tx:
        first = steps.claim_model(tx, STEP, opening("e1"))
        steps.finish(tx, STEP, first.token, {"stop": "end_turn"}, answer("e1"), applied("e1"))
        again = steps.claim_model(tx, STEP, opening("e1"))
        other = steps.claim_model(tx, TURN.step(1), [])
    assert (again.status, again.result) == ("ended", {"stop": "end_turn"})
    assert again.outcome is not None
    assert again.outcome.disposition == "applied"
    assert (other.status, other.result) == ("ended", None)


def test_a_second_claim_takes_the_step_over_and_the_first_can_write_nothing() -> None:
    with memory() as tx:
        frozen = steps.claim_model(tx, STEP, opening("e1"))
        taken = steps.claim_model(tx, STEP, opening("e1"))
        assert taken.status == "claimed"
        assert taken.fence > frozen.fence
        assert log.head(tx, SESSION) == 3
        assert steps.append(tx, STEP, frozen.token, [NewEntry("x", {})]) is None
        assert finish(tx, STEP, frozen.token, {"stop": "old"}, answer("e1", "old"), applied("e1")) is None
        assert not steps.renew(tx, STEP, frozen.token, lease=5)
        assert log.head(tx, SESSION) == 3
        assert outcomes.get(tx, SESSION, "e1") is None
        assert finish(tx, STEP, taken.token, {"stop": "new"}, answer("e1", "new"), applied("e1")) == 5


def test_a_model_step_whose_sessions_fence_moved_on_can_commit_nothing() -> None:
    with memory() as tx:
        frozen = steps.claim_model(tx, STEP, opening("e1"))
        steps.claim_model(tx, SESSION.turn("e2").step(0), opening("e2"))
        before = log.head(tx, SESSION)
        assert finish(tx, STEP, frozen.token, {"stop": "end_turn"}, answer("e1"), applied("e1")) is None
        assert log.head(tx, SESSION) == before


def test_finishing_twice_with_one_token_is_finishing_once() -> None:
    """The answer to the first commit may be lost: the same call again must be safe."""
    with memory() as tx:
        first = claim(tx)
        assert finish_call(tx, first.token) == 1
        assert finish_call(tx, first.token) == 1
        assert claim(tx).result == {"value": "4"}


def test_a_call_whose_body_began_is_leased_until_its_lease_ran_out() -> None:
    with memory() as tx:
        first = claim(tx)
        tx.now += 9
        waiting = claim(tx)
        assert (waiting.status, waiting.token, waiting.lease_left) == ("leased", "", 1.0)
        tx.now += 2
        taken = claim(tx)
        assert (taken.status, taken.began) == ("claimed", True)
        assert finish_call(tx, first.token) is None
        assert finish_call(tx, taken.token) == 1


def test_a_renewed_lease_holds_for_longer() -> None:
    with memory() as tx:
        first = claim(tx)
        tx.now += 9
        assert steps.renew(tx, CALL, first.token, lease=10)
        tx.now += 9
        assert claim(tx).status == "leased"


def test_a_claim_whose_body_did_not_begin_is_taken_over_at_once_and_leaves_no_doubt() -> None:
    with memory() as tx:
        first = claim(tx, begin=False)
        second = claim(tx, begin=False)
        assert (second.status, second.began) == ("claimed", False)
        assert not steps.begin(tx, CALL, first.token, lease=10)
        assert steps.begin(tx, CALL, second.token, lease=10)
        assert claim(tx).status == "leased"


def test_a_released_claim_leaves_nothing_to_wait_or_wonder_for() -> None:
    with memory() as tx:
        first = claim(tx)
        assert steps.release(tx, CALL, first.token)
        second = claim(tx)
        assert (second.status, second.began) == ("claimed", False)


def test_a_release_does_not_wash_away_what_an_earlier_attempt_began() -> None:
    with memory() as tx:
        claim(tx)
        tx.now += 11
        second = claim(tx, begin=False)
        assert second.began
        steps.begin(tx, CALL, second.token, lease=10)
        steps.release(tx, CALL, second.token)
        third = claim(tx)
    assert (third.status, third.began) == ("claimed", True)


def test_a_failed_attempt_is_counted_by_class_and_nobody_waits_for_it() -> None:
    with memory() as tx:
        first = claim(tx)
        failed = steps.fail(tx, CALL, first.token, "outage")
        assert failed is not None
        assert failed.counts == {"outage": 1}
        tx.now += 5
        second = claim(tx)
        assert (second.status, second.began, second.attempts.counts) == ("claimed", True, {"outage": 1})
        steps.fail(tx, CALL, second.token, "unknown")
        tx.now += 5
        third = claim(tx)
        attempts = steps.fail(tx, CALL, third.token, "outage")
    assert attempts is not None
    assert attempts.counts == {"outage": 2, "unknown": 1}
    assert attempts.since == {"outage": 1000.0, "unknown": 1005.0}


def test_a_clean_failure_leaves_the_body_as_not_begun() -> None:
    with memory() as tx:
        first = claim(tx)
        steps.fail(tx, CALL, first.token, "unknown", clean=True)
        second = claim(tx)
    assert (second.began, second.attempts.counts) == (False, {"unknown": 1})


def test_a_stale_token_counts_no_failure() -> None:
    with memory() as tx:
        first = claim(tx)
        steps.fail(tx, CALL, first.token, "outage")
        assert steps.fail(tx, CALL, "another", "outage") is None
        assert steps.fail(tx, CALL, "", "outage") is None
        assert steps.fail(tx, TURN.step(7), "x", "outage") is None
        assert claim(tx).attempts.counts == {"outage": 1}


def test_an_empty_token_holds_nothing() -> None:
    with memory() as tx:
        first = claim(tx)
        steps.release(tx, CALL, first.token)
        assert not steps.renew(tx, CALL, "", lease=5)
        assert not steps.begin(tx, CALL, "", lease=5)
        assert not steps.keep(tx, CALL, "", 1)
        assert steps.append(tx, CALL, "", [NewEntry("x", {})]) is None
        assert finish_call(tx, "") is None


def test_a_checkpoint_reaches_the_next_attempt() -> None:
    with memory() as tx:
        first = claim(tx)
        assert steps.keep(tx, CALL, first.token, {"done": 3})
        tx.now += 11
        assert claim(tx).checkpoint == {"done": 3}
        assert not steps.keep(tx, CALL, first.token, {"done": 4})


def test_a_late_result_is_kept_beside_the_record() -> None:
    with memory() as tx:
        first = claim(tx)
        tx.now += 11
        second = claim(tx)
        finish_call(tx, second.token, "unknown")
        assert finish_call(tx, first.token, "late") is None
        [(kept,)] = tx.execute("SELECT late_result FROM steps")
    assert kept == '{"value":"late"}'


def test_what_comes_after_an_attempts_own_end_is_kept_as_late_and_the_same_again_is_no_news() -> None:
    with memory() as tx:
        token = claim(tx).token
        head = finish_call(tx, token, "timeout")
        assert finish_call(tx, token, "timeout") == head
        assert finish_call(tx, token, "paid") is None
        [(result, late)] = tx.execute("SELECT result, late_result FROM steps")
    assert (result, late) == ('{"value":"timeout"}', '{"value":"paid"}')


def settle(tx: SqliteTransaction, *recorded: Recorded, close: bool = False) -> int:
    return decisions.record(tx, SESSION, recorded, [TURN], close).head


def test_settling_closes_open_steps_and_answers_every_open_call() -> None:
    with memory() as tx:
        model = steps.claim_model(tx, STEP, opening("e1"))
        steps.finish(tx, STEP, model.token, {"stop": "tool_use"}, calls("e1", ["c0", "c1", "c2"]), None)
        done = steps.claim_call(tx, TURN.step(0, 0), lease=10, begin=True)
        steps.finish(tx, TURN.step(0, 0), done.token, {"status": "ok"}, [result("e1", 0, "c0")], None)
        running = steps.claim_call(tx, TURN.step(0, 1), lease=10, begin=True)
        settle(tx)
        results = [(e.body["call_id"], e.body["status"]) for e in log.read(tx, SESSION, types=["agent.tool_result"])]
        assert results == [("c0", "ok"), ("c1", "interrupted"), ("c2", "interrupted")]
        assert finish(tx, TURN.step(0, 1), running.token, {"late": 1}, [result("e1", 1, "c1")], None) is None
        statuses = [steps.claim_call(tx, TURN.step(0, n), lease=10, begin=True).status for n in range(3)]
        [(late,)] = tx.execute("SELECT late_result FROM steps WHERE call = 1")
        head = log.head(tx, SESSION)
        assert settle(tx) == head
    assert statuses == ["done", "settled", "settled"]
    assert late == '{"late":1}'


def test_settling_only_what_waits_leaves_every_call_alone_that_an_attempt_holds_or_that_began() -> None:
    with memory() as tx:
        model = steps.claim_model(tx, STEP, opening("e1"))
        steps.finish(tx, STEP, model.token, {"stop": "tool_use"}, calls("e1", [f"c{n}" for n in range(5)]), None)
        done, runs, claimed, retried, _ = made = [TURN.step(0, n) for n in range(5)]
        tokens = [steps.claim_call(tx, call, lease=10, begin=call != claimed).token for call in made[:4]]
        steps.finish(tx, done, tokens[0], {"status": "ok"}, [result("e1", 0, "c0")], None)
        steps.fail(tx, retried, tokens[3], "unknown")  # it may have done something
        for _ in range(2):
            decisions.record(tx, SESSION, [], [TURN], False, "closed", "0", unclaimed=True)
        assert [(e.body["call_id"], e.body["status"]) for e in log.read(tx, SESSION, types=["agent.tool_result"])] == [
            ("c0", "ok"),
            ("c4", "cancelled"),
        ]
        assert steps.begin(tx, claimed, tokens[2], lease=10)
        assert finish(tx, runs, tokens[1], {"status": "ok"}, [result("e1", 1, "c1")], None) is not None
        assert [steps.claim_call(tx, call, lease=10, begin=True).status for call in made] == [
            "done",
            "done",
            "leased",
            "claimed",
            "settled",
        ]


def test_settling_one_turn_leaves_others_alone() -> None:
    with memory() as tx:
        other = SESSION.turn("e10").step(0, 0)
        kept = steps.claim_call(tx, other, lease=10, begin=True)
        foreign = steps.claim_call(tx, OTHER.turn("e1").step(0, 0), lease=10, begin=True)
        settle(tx)
        assert finish(tx, other, kept.token, {}, [], None) is not None
        assert finish(tx, OTHER.turn("e1").step(0, 0), foreign.token, {}, [], None) is not None


def test_a_closed_session_claims_no_model_step_and_lets_no_old_one_commit() -> None:
    with memory() as tx:
        running = steps.claim_model(tx, STEP, opening("e1"))
        settle(tx, close=True)
        assert steps.claim_model(tx, SESSION.turn("e2").step(0), opening("e2")).status == "closed"
        assert finish(tx, STEP, running.token, {}, answer("e1"), applied("e1")) is None
        assert [e.type for e in log.read(tx, SESSION)][-1] == "session.closed"
        head = settle(tx, close=True)
        rejected = Outcome("e3", "e3", "rejected", reason="closed")
        after = settle(tx, Recorded(NewEntry("event.rejected", {}, "e3", key="e3/disposition"), rejected))
    assert after == head + 1


def test_every_step_of_a_closed_session_that_had_a_record_still_gives_it() -> None:
    with memory() as tx:
        first = steps.claim_model(tx, STEP, opening("e1"))
        steps.finish(tx, STEP, first.token, {"stop": "end_turn"}, answer("e1"), applied("e1"))
        settle(tx, close=True)
        again = steps.claim_model(tx, STEP, opening("e1"))
    assert (again.status, again.result) == ("closed", {"stop": "end_turn"})


@pytest.mark.parametrize(
    ("before", "after", "stands"),
    [
        (("e1", "parked"), ("e1", "applied"), "parked"),
        (("e1", "parked"), ("e1", "discarded"), "discarded"),
        (("e1", "parked"), ("e1~1", "applied"), "applied"),
        (("e1", "parked"), ("e1~1", "parked"), "parked"),
        (("e1~2", "parked"), ("e1~1", "applied"), "parked"),
        (("e1", "applied"), ("e1", "cancelled"), "applied"),
        (("e1", "applied"), ("e1", "discarded"), "applied"),
        (("e1", "merged"), ("e1", "merged"), "merged"),
    ],
)
def test_an_outcome_stands_against_the_same_or_an_earlier_redrive(
    before: tuple[str, str], after: tuple[str, str], stands: str
) -> None:

    with memory() as tx:
        for turn, disposition in (before, after):
            with log.locked(tx, SESSION) as journal:
                outcomes.put(journal, Outcome("e1", turn, disposition))  # type: ignore[arg-type]
        kept = outcomes.get(tx, SESSION, "e1")
        counts = outcomes.counts(tx, SESSION)
    assert kept is not None
    assert kept.disposition == stands
    assert counts == {stands: 1}


def test_a_parked_event_is_driven_again_and_only_its_last_turn_counts() -> None:
    with memory() as tx:
        steps.claim_model(tx, STEP, opening("e1"))
        failed = NewEntry("turn.failed", {"turn": "e1", "error": "400"}, "e1", key="e1/end")
        parked = NewEntry("event.parked", {"turn": "e1", "error": "400"}, "e1", key="e1/parked")
        settle(tx, Recorded(failed), Recorded(parked, Outcome("e1", "e1", "parked", reason="400")))
        assert [e.body["error"] for e in log.parked(tx, SESSION, 10)] == ["400"]
        assert steps.claim_model(tx, STEP, opening("e1")).status == "ended"
        again = SESSION.turn("e1", redrive=1).step(0)
        second = steps.claim_model(tx, again, opening("e1~1"))
        assert second.status == "claimed"
        steps.finish(tx, again, second.token, {}, answer("e1~1"), applied("e1~1"))
        assert log.parked(tx, SESSION, 10) == []
        outcome = outcomes.get(tx, SESSION, "e1")
    assert outcome is not None
    assert (outcome.turn, outcome.disposition, outcome.seqs) == ("e1~1", "applied", (6, 9))


def test_the_latest_parked_events_come_in_order() -> None:
    with memory() as tx:
        for name in ("a", "b", "c"):
            entry = NewEntry("event.parked", {"error": name}, name, key=f"{name}/parked")
            settle(tx, Recorded(entry, Outcome(name, name, "parked")))
        assert [e.event_id for e in log.parked(tx, SESSION, 2)] == ["b", "c"]
        assert outcomes.counts(tx, SESSION) == {"parked": 3}


def test_a_decision_whose_key_is_taken_brings_no_outcome() -> None:
    with memory() as tx:
        settle(tx, Recorded(NewEntry("turn.completed", {}, "e1", key="e1/end")))
        late = Recorded(NewEntry("turn.interrupted", {}, "e1", key="e1/end"), Outcome("e1", "e1", "cancelled"))
        assert settle(tx, late) == 1
        assert outcomes.get(tx, SESSION, "e1") is None


def test_closing_alone_keeps_a_running_model_step_from_committing() -> None:
    with memory() as tx:
        running = steps.claim_model(tx, STEP, opening("e1"))
        head = decisions.record(tx, SESSION, [], [], True).head
        assert finish(tx, STEP, running.token, {}, answer("e1"), applied("e1")) is None
        assert log.head(tx, SESSION) == head


def test_a_decision_is_written_once_with_its_outcome() -> None:
    with memory() as tx:
        first = Recorded(NewEntry("event.expired", {}, "e1", key="e1/disposition"), Outcome("e1", "e1", "expired"))
        second = Recorded(NewEntry("event.rejected", {}, "e1", key="e1/disposition"), Outcome("e1", "e1", "rejected"))
        head = settle(tx, first)
        assert settle(tx, first, second) == head
        kept = outcomes.get(tx, SESSION, "e1")
    assert kept is not None
    assert (kept.disposition, kept.seqs) == ("expired", (1, 1))


# Attempts that were held up on their way.

LEASE = 10.0


async def _two(tmp_path: Path) -> tuple[Journal, Journal]:
    url = journal_url(tmp_path)
    first, second = (open_journal(url) for _ in range(2))
    await first.open()
    await second.open()
    return first, second


@pytest.mark.promise("EFF-3", "EFF-2")
async def test_an_attempt_that_froze_before_its_claim_takes_nothing_from_a_later_one(tmp_path: Path) -> None:
    frozen, live = await _two(tmp_path)
    try:
        taken = await live.claim_model(STEP, opening("e1"), lease=LEASE, scheduled=1_002.0)
        for late in (1_000.0, 1_001.999, 0.0):
            with pytest.raises(Superseded):
                await frozen.claim_model(STEP, opening("e1"), lease=LEASE, scheduled=late)
        await live.finish(STEP, taken.token, {"stop": "end_turn"}, answer("e1"), applied("e1"))
        known = await frozen.claim_model(STEP, opening("e1"), lease=LEASE, scheduled=1_000.0)
        assert known.status == "ended"
    finally:
        await frozen.close()
        await live.close()


@pytest.mark.promise("EFF-3", "EFF-2")
@pytest.mark.parametrize("begin", [True, False])
async def test_an_attempt_of_a_call_that_froze_before_its_claim_takes_nothing_from_a_later_one(
    tmp_path: Path, begin: bool
) -> None:
    frozen, live = await _two(tmp_path)
    call = SESSION.turn("e1").step(0, 0)
    try:
        taken = await live.claim_call(call, lease=LEASE, begin=begin, scheduled=1_002.0)
        for late in (1_000.0, 1_001.999, 0.0):
            with pytest.raises(Superseded):
                await frozen.claim_call(call, lease=LEASE, begin=begin, scheduled=late)
        await live.finish(call, taken.token, {"status": "ok"})
        assert (await frozen.claim_call(call, lease=LEASE, scheduled=1_000.0)).status == "done"
    finally:
        await frozen.close()
        await live.close()


@pytest.mark.promise("EFF-3")
async def test_of_two_attempts_that_claim_at_once_the_later_one_stays(tmp_path: Path) -> None:
    frozen, live = await _two(tmp_path)
    try:
        for n in range(20):
            step = SESSION.turn(f"e{n}").step(0)
            _, taken = await asyncio.gather(
                frozen.claim_model(step, opening(f"e{n}"), lease=LEASE, scheduled=1.0),
                live.claim_model(step, opening(f"e{n}"), lease=LEASE, scheduled=2.0),
                return_exceptions=True,
            )
            assert isinstance(taken, Claim)
            await live.finish(step, taken.token, {"stop": "end_turn"}, answer(f"e{n}"), applied(f"e{n}"))
        assert await live.verify(SESSION) == []
    finally:
        await frozen.close()
        await live.close()


@pytest.mark.parametrize("ended", ["failed", "released", "died"])
async def test_a_clock_that_was_set_back_holds_no_step_up_once_the_later_attempt_has_ended(
    tmp_path: Path, ended: str
) -> None:
    before, after = await _two(tmp_path)
    try:
        lease = 0.01 if ended == "died" else LEASE
        taken = await before.claim_model(STEP, opening("e1"), lease=lease, scheduled=5_000.0)
        if ended == "failed":
            await before.fail(STEP, taken.token, "outage")
        elif ended == "released":
            await before.release(STEP, taken.token)

        async def claimed() -> bool:
            with contextlib.suppress(Superseded):
                claim = await after.claim_model(STEP, opening("e1"), lease=LEASE, scheduled=1_000.0)
                return claim.status == "claimed"
            return False

        await until(claimed)
    finally:
        await before.close()
        await after.close()


@pytest.mark.parametrize("type_", ["turn.failed", "turn.interrupted"])
def test_the_end_of_a_turn_without_an_answer_says_what_its_attempts_used(type_: str) -> None:
    with memory() as tx:
        for _ in range(2):
            attempt = steps.claim_model(tx, STEP, opening("e1"))
            steps.fail(tx, STEP, attempt.token, "unknown", usage={"input_tokens": 10, "usd_nanos": 5})
        end = Recorded(NewEntry(type_, {"turn": "e1"}, event_id="e1", key="e1/end"))
        for _ in range(2):
            decisions.record(tx, SESSION, [end], [TURN], False)
        [entry] = [entry for entry in log.read(tx, SESSION, types=(type_,))]
    assert entry.body["usage"] == {"input_tokens": 20, "usd_nanos": 10}

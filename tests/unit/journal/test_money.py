"""Money set aside before each request: what all of them cost together never exceeds a cap, whatever becomes of them."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inturn.journal import Claim, Journal, NewEntry, Superseded
from inturn.journal.ledger import steps
from inturn.journal.money.requests import Cap, Paying
from inturn.journal.money.reservations import SetAside
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey, StepKey
from inturn.models.prices import Price, Tier
from tests.support.journal import answer, applied, memory, opening

PRICE = Price((Tier(0, 0, 1_000_000, 0, 0, 0),))
"""A token of an answer costs 1,000 nanodollars; a prompt costs nothing."""
LEASE = 10.0


def paying(nanos: int, *, answer: int = 2_000, scope: str = "acme") -> Paying:
    return Paying(PRICE, answer, 100_000, (Cap(scope, "", nanos),))


def step(number: int, tenant: str = "acme") -> StepKey:
    return SessionKey(tenant, f"s{number}").turn("e1").step(0)


async def claim(journal: Journal, of: StepKey, asked: Paying | None, *, lease: float = LEASE, token: str = "") -> Claim:
    return await journal.claim_model(of, opening("e1"), token=token, lease=lease, paying=asked)


async def spend(journal: Journal) -> dict[tuple[str, str], int]:
    def look(tx: Transaction) -> list[tuple[str, str, int]]:
        return tx.execute("SELECT scope, resource, SUM(nanos) FROM spend GROUP BY scope, resource")

    return {(scope, resource): int(nanos) for scope, resource, nanos in await journal.look_within(look)}


async def reservations(journal: Journal) -> int:
    return int((await journal.look_within(lambda tx: tx.execute("SELECT COUNT(*) FROM reservations")))[0][0])


@pytest.mark.promise("MOD-4")
async def test_a_request_sets_its_worst_aside_and_gives_back_what_it_did_not_cost(journal: Journal) -> None:
    made = await claim(journal, step(1), paying(5_000_000))
    assert made.reserved is not None
    assert (made.reserved.max_tokens, made.reserved.nanos) == (2_000, 2_000_000)
    assert await spend(journal) == {("acme", ""): 2_000_000}
    await journal.finish(step(1), made.token, {"stop": "end_turn"}, answer("e1"), applied("e1"), paid=300_000)
    assert await spend(journal) == {("acme", ""): 300_000}
    assert await reservations(journal) == 0


@pytest.mark.promise("MOD-4")
async def test_an_answer_has_to_be_as_short_as_what_is_left_and_none_is_asked_for_where_that_is_too_short(
    journal: Journal,
) -> None:
    cap = paying(3_500_000)
    first = await claim(journal, step(1), cap)
    await journal.finish(step(1), first.token, {"stop": "end_turn"}, answer("e1"), applied("e1"), paid=2_000_000)
    second = await claim(journal, step(2), cap)
    assert second.reserved is not None
    assert second.reserved.max_tokens == 1_500
    await journal.finish(step(2), second.token, {"stop": "end_turn"}, answer("e1"), applied("e1"), paid=1_500_000)
    third = await claim(journal, step(3), cap)
    assert third.status == "claimed"
    assert third.reserved is not None
    assert third.reserved.max_tokens == 0
    assert await spend(journal) == {("acme", ""): 3_500_000}


async def test_a_request_waits_while_what_is_left_is_set_aside_for_others_that_run(journal: Journal) -> None:
    cap = paying(3_500_000)
    first = await claim(journal, step(1), cap)
    second = await claim(journal, step(2), cap)
    assert second.status == "waiting"
    assert second.waiting is not None
    assert not second.waiting.in_place
    assert await journal.head(step(2).session) == 0
    await journal.finish(step(1), first.token, {"stop": "end_turn"}, answer("e1"), applied("e1"), paid=100)
    assert (await claim(journal, step(2), cap)).status == "claimed"


async def test_other_tenants_and_other_models_have_their_own(journal: Journal) -> None:
    await claim(journal, step(1), paying(2_000_000))
    assert (await claim(journal, step(1, "other"), paying(2_000_000, scope="other"))).status == "claimed"
    both = Paying(PRICE, 2_000, 100_000, (Cap("third", "", 9_000_000), Cap("", "m", 2_000_000)))
    assert (await claim(journal, step(1, "third"), both)).status == "claimed"
    assert (await claim(journal, step(2, "third"), both)).status == "waiting"
    assert await spend(journal) == {
        ("acme", ""): 2_000_000,
        ("other", ""): 2_000_000,
        ("third", ""): 2_000_000,
        ("", "m"): 2_000_000,
    }


@pytest.mark.promise("MOD-4")
@pytest.mark.parametrize("end", ["fail", "release"])
async def test_an_attempt_without_an_answer_has_paid_what_it_says(journal: Journal, end: str) -> None:
    made = await claim(journal, step(1), paying(5_000_000))
    usage = {"output_tokens": 7, "usd_nanos": 7_000}
    if end == "fail":
        await journal.fail(step(1), made.token, "outage", usage=usage, paid=7_000)
    else:
        await journal.release(step(1), made.token, usage=usage, paid=7_000)
    assert await spend(journal) == {("acme", ""): 7_000}
    again = await claim(journal, step(1), paying(5_000_000))
    assert again.attempts.usage == usage


@pytest.mark.promise("MOD-4")
async def test_an_attempt_that_is_never_heard_of_again_has_spent_all_that_was_set_aside(journal: Journal) -> None:
    await claim(journal, step(1), paying(5_000_000), lease=-1.0)
    again = await claim(journal, step(1), paying(5_000_000))
    assert again.attempts.counts == {"lost": 1}
    assert again.attempts.usage == {"usd_nanos": 2_000_000}
    assert await spend(journal) == {("acme", ""): 4_000_000}
    await journal.finish(step(1), again.token, {"stop": "end_turn"}, answer("e1"), applied("e1"), paid=1_000)
    assert await spend(journal) == {("acme", ""): 2_001_000}


@pytest.mark.promise("MOD-4")
async def test_one_that_reports_after_all_corrects_that_however_late_it_is(journal: Journal) -> None:
    frozen = await claim(journal, step(1), paying(9_000_000), lease=-1.0, token="frozen")
    again = await claim(journal, step(1), paying(9_000_000))
    for late in (
        lambda: journal.finish(step(1), frozen.token, {"stop": "end_turn"}, answer("e1"), applied("e1"), paid=50_000),
        lambda: journal.fail(step(1), frozen.token, "outage", paid=60_000),
    ):
        with pytest.raises(Superseded):
            await late()
        assert await spend(journal) == {("acme", ""): 2_050_000}  # the first report counts
    await journal.finish(step(1), again.token, {"stop": "end_turn"}, answer("e1"), applied("e1"), paid=1_000)
    assert await spend(journal) == {("acme", ""): 51_000}
    assert await reservations(journal) == 0


async def test_what_was_set_aside_is_settled_on_the_day_for_which_it_was(journal: Journal) -> None:
    made = await claim(journal, step(1), paying(5_000_000))

    def yesterday(tx: Transaction) -> None:
        tx.execute("UPDATE spend SET day = day - 1")
        tx.execute("UPDATE reservations SET day = day - 1")

    await journal._store.write(yesterday)
    assert (await claim(journal, step(2), paying(2_000_000))).status == "claimed"  # a new day
    await journal.finish(step(1), made.token, {"stop": "end_turn"}, answer("e1"), applied("e1"), paid=9)
    days = await journal.look_within(lambda tx: tx.execute("SELECT nanos FROM spend ORDER BY day"))
    assert days == [(9,), (2_000_000,)]


async def test_the_answer_to_a_claim_that_was_lost_sets_nothing_aside_again(journal: Journal) -> None:
    first = await claim(journal, step(1), paying(5_000_000), token="mine")
    again = await claim(journal, step(1), paying(5_000_000), token="mine")
    assert first.reserved == again.reserved
    assert await spend(journal) == {("acme", ""): 2_000_000}


async def test_a_longer_session_sets_more_aside(journal: Journal) -> None:
    dear = Paying(Price((Tier(0, 1_000_000, 0, 0, 1_250_000, 0),)), 2_000, 100_000)
    first = await claim(journal, step(1), dear)
    text = NewEntry(
        "agent.message",
        {"text": "x", "seen": 2, "usage": {"input_tokens": 4_000, "output_tokens": 1_000}},
        "e1",
        key="e1/0",
    )
    await journal.finish(step(1), first.token, {"stop": "end_turn"}, [text], applied("e1"), paid=1)
    second = await journal.claim_model(step(1).session.turn("e2").step(0), opening("e2"), lease=LEASE, paying=dear)
    assert first.reserved is not None
    assert second.reserved is not None
    assert first.reserved.nanos < 1_250_000
    assert 6_250_000 <= second.reserved.nanos <= 7_500_000
    assert await spend(journal) == {}  # a budget alone is no day's


@pytest.mark.promise("MOD-4")
async def test_claims_at_once_never_set_aside_more_than_there_is(journal: Journal) -> None:
    claims = await asyncio.gather(*(claim(journal, step(n), paying(7_000_000)) for n in range(20)))
    assert sorted(made.status for made in claims) == ["claimed"] * 3 + ["waiting"] * 17
    assert await spend(journal) == {("acme", ""): 6_000_000}


CAP = 20_000_000
Act = Literal["claim", "finish", "fail", "die", "late"]
ACTS: tuple[Act, ...] = ("claim", "claim", "finish", "fail", "die", "late")


class Day:
    """A day of some sessions, and what it should have cost."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        self.turns = dict.fromkeys(range(4), 0)
        self.running: dict[int, tuple[StepKey, Claim]] = {}
        self.dead: list[tuple[int, StepKey, Claim]] = []
        self.paid = 0
        self.tokens = 0

    def act(self, what: Act, who: int, part: int) -> None:
        """Do it, where there is something to do."""
        if what == "claim" and who not in self.running:
            self._claim(who)
        elif what == "late" and self.dead:
            sender, of, made = self.dead.pop(part % len(self.dead))
            if self._finish(of, made, part) is not None:  # it was only slow: nobody had taken over
                self.turns[sender] += 1
        elif what in ("finish", "fail", "die") and who in self.running:
            of, made = self.running.pop(who)
            if what == "die":
                self.dead.append((who, of, made))
            elif what == "finish":
                self._finish(of, made, part)
                self.turns[who] += 1
            else:
                steps.fail(self.tx, of, made.token, "outage", paid=self._pays(made, part))

    @property
    def spent(self) -> int:
        """What the day's row should say."""
        claims = [*(made for _, made in self.running.values()), *(made for _, _, made in self.dead)]
        return self.paid + sum(made.reserved.nanos for made in claims if made.reserved)

    def _claim(self, who: int) -> None:
        name = f"e{self.turns[who]}"
        of = SessionKey("acme", f"s{who}").turn(name).step(0)
        self.tokens += 1
        try:
            made = steps.claim_model(
                self.tx, of, opening(name), token=f"t{self.tokens}", lease=LEASE, paying=paying(CAP, answer=4_000)
            )
        except SetAside:
            return
        assert made.status == "claimed"
        self.running[who] = of, made

    def _finish(self, of: StepKey, made: Claim, part: int) -> object:
        name = of.turn.turn
        pays = self._pays(made, part)
        return steps.finish(self.tx, of, made.token, {"by": made.token}, answer(name), applied(name), paid=pays)

    def _pays(self, made: Claim, part: int) -> int:
        assert made.reserved is not None
        pays = made.reserved.nanos * part // 100
        self.paid += pays
        return pays


@pytest.mark.promise("MOD-4")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 3), st.integers(0, 100)), max_size=40))
def test_a_days_row_is_what_was_paid_and_what_is_set_aside_and_never_above_its_cap(
    plan: list[tuple[Act, int, int]],
) -> None:
    with memory() as tx:
        day = Day(tx)
        for what, who, part in plan:
            day.act(what, who, part)
            rows = tx.execute("SELECT nanos FROM spend")
            assert (rows[0][0] if rows else 0) == day.spent
            assert day.spent <= CAP

"""What turns cost, as their outcomes hold it: however they ended, and however often they were run."""

from __future__ import annotations

import pytest

from inturn.journal import Journal, NewEntry, Outcome, Recorded, Spent
from inturn.journal.money.costs import Cost
from inturn.values import Usage
from tests.support.journal import SESSION, answer, opening

USED = Usage(input_tokens=10, output_tokens=2, usd_nanos=1_000)


def ended(turn: str, disposition: str) -> list[Recorded]:
    type_ = {"cancelled": "turn.interrupted", "parked": "turn.failed"}[disposition]
    event = turn.partition("~")[0]
    entry = NewEntry(type_, {"turn": turn}, event, key=f"{turn}/end")
    made = [Recorded(entry, Outcome(event, turn, disposition))]  # type: ignore[arg-type]
    if disposition == "parked":
        parked = NewEntry("event.parked", {"turn": turn}, event, key=f"{turn}/parked")
        made.append(Recorded(parked, Outcome(event, turn, "parked")))
    return made


async def a_step_and_a_failed_attempt(journal: Journal, turn: str) -> None:
    """A step that was answered and cost 3,000, and an attempt of the next that gave no answer and cost 500."""
    first, second = SESSION.turn(turn).step(0), SESSION.turn(turn).step(1)
    claim = await journal.claim_model(first, opening(turn))
    body = {"text": "x", "model": "big", "usage": {"input_tokens": 5, "output_tokens": 1, "usd_nanos": 3_000}}
    entry = NewEntry("agent.message", body, turn.partition("~")[0], "0", f"{turn}/0")
    await journal.finish(first, claim.token, {"stop": "tool_use"}, [entry])
    again = await journal.claim_model(second)
    await journal.fail(second, again.token, "outage", usage={"input_tokens": 7, "usd_nanos": 500})


async def by_agent(journal: Journal) -> list[Cost]:
    return await journal.costs("agent", tenant="acme")


@pytest.mark.promise("MOD-4")
@pytest.mark.parametrize("disposition", ["cancelled", "parked"])
async def test_a_turn_without_an_answer_of_its_own_costs_what_its_steps_and_attempts_did(
    journal: Journal, disposition: str
) -> None:
    await a_step_and_a_failed_attempt(journal, "e1")
    await journal.record(SESSION, ended("e1", disposition), settle=[SESSION.turn("e1")])
    assert await by_agent(journal) == [Cost("a", 1, 12, 1, 0, 0, 3_500, 500)]
    assert [cost.name for cost in await journal.costs("model")] == ["big"]
    assert await journal.spent(SESSION) == 3_500


@pytest.mark.promise("MOD-4")
async def test_a_redriven_event_costs_what_all_its_turns_did(journal: Journal) -> None:
    await a_step_and_a_failed_attempt(journal, "e1")
    await journal.record(SESSION, ended("e1", "parked"), settle=[SESSION.turn("e1")])
    step = SESSION.turn("e1~1").step(0)
    claim = await journal.claim_model(step, opening("e1~1"))
    outcome = Outcome("e1", "e1~1", "applied", "end_turn", spent=Spent(USED, "a", "small"))
    await journal.finish(step, claim.token, {"stop": "end_turn"}, answer("e1~1"), outcome)
    assert await by_agent(journal) == [Cost("a", 1, 22, 3, 0, 0, 4_500, 500)]


async def test_an_event_that_had_no_turn_is_none_that_cost_nothing(journal: Journal) -> None:
    expired = Recorded(NewEntry("event.expired", {}, "e1", key="e1/expired"), Outcome("e1", "e1", "expired"))
    await journal.record(SESSION, [expired])
    assert await by_agent(journal) == []

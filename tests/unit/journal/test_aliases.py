"""What came under another id is answered with the end of the event that had it, however long ago."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from inturn.journal import Claim, Journal, NewEntry, Outcome, Recorded
from inturn.journal.views.turns import disposition_of, read_turn
from tests.support.journal import OTHER, SESSION, answer, applied, opening, plain_turn

pytestmark = [pytest.mark.promise("ACC-2"), pytest.mark.usefixtures("store")]


def begins(turn: str, *aliases: str) -> list[NewEntry]:
    """What the turn of an event with other ids begins with."""
    return [
        replace(entry, body={**entry.body, "aliases": list(aliases)}) if entry.type == "user.message" else entry
        for entry in opening(turn)
    ]


async def run(journal: Journal, turn: str, *aliases: str) -> None:
    claim = await claimed(journal, turn, *aliases)
    assert claim.status == "claimed"
    step = SESSION.turn(turn).step(0)
    await journal.finish(step, claim.token, {"stop": "end_turn"}, answer(turn, f"to {turn}"), applied(turn))


async def claimed(journal: Journal, turn: str, *aliases: str) -> Claim:
    return await journal.claim_model(SESSION.turn(turn).step(0), begins(turn, *aliases))


@pytest.mark.parametrize(("twin", "aliases"), [("a", ()), ("e2", ("a",)), ("e2", ("x", "b")), ("e2", ("e1",))], ids=str)
async def test_a_twin_that_nobody_remembers_runs_no_step_and_leaves_nothing(
    journal: Journal, twin: str, aliases: Sequence[str]
) -> None:
    await run(journal, "e1", "a", "b")
    head = await journal.head(SESSION)
    answered = await claimed(journal, twin, *aliases)
    assert answered.status == "ended"
    assert answered.outcome is not None
    assert (answered.outcome.event_id, answered.outcome.turn) == ("e1", "e1")
    assert await journal.head(SESSION) == head
    assert await journal.aliases(SESSION) == {"a": "e1", "b": "e1"}


async def test_its_own_end_answers_an_event_before_that_of_another(journal: Journal) -> None:
    await plain_turn(journal, SESSION, "e1")
    await run(journal, "e2", "x")
    ended = await claimed(journal, "e1", "e2")
    assert ended.outcome is not None
    assert ended.outcome.event_id == "e1"


async def test_retries_of_a_step_and_later_steps_of_its_turn_are_no_twins(journal: Journal) -> None:
    assert (await claimed(journal, "e1", "a")).status == "claimed"
    assert (await claimed(journal, "e1", "a")).status == "claimed"
    assert (await journal.claim_model(SESSION.turn("e1").step(1))).status == "claimed"


async def test_a_twin_of_what_is_parked_is_parked_and_a_redrive_of_its_own_runs(journal: Journal) -> None:
    claim = await claimed(journal, "e1", "a")
    end = NewEntry("turn.failed", {"turn": "e1"}, "e1", key="e1/end")
    await journal.record(SESSION, [Recorded(end, Outcome("e1", "e1", "parked"))], settle=[SESSION.turn("e1")])
    assert claim.token
    twin = await claimed(journal, "e2", "a")
    assert twin.outcome is not None
    assert twin.outcome.disposition == "parked"
    assert (await claimed(journal, "e1~1", "a")).status == "claimed"


async def test_what_began_and_never_ended_keeps_no_twin_from_running_and_is_its_twin_then(journal: Journal) -> None:
    await claimed(journal, "e1", "a")  # its run was terminated, and nobody has its history
    await run(journal, "e2", "a")
    assert (await claimed(journal, "e1", "a")).status == "ended"
    assert (await claimed(journal, "e3", "a")).status == "ended"


@pytest.mark.parametrize(("type_", "end"), [("event.cancelled", "cancelled"), ("event.expired", "expired")])
async def test_what_ended_without_a_turn_is_known_by_its_other_ids_too(journal: Journal, type_: str, end: str) -> None:
    told = NewEntry(type_, {"aliases": ["a"], "reason": "r"}, "e1", key="e1/disposition")
    await journal.record(SESSION, [Recorded(told, Outcome("e1", "e1", end))])  # type: ignore[arg-type]
    parked = NewEntry(
        "event.parked", {"event": {"content": "x", "aliases": ["b"]}, "turn": "e2"}, "e2", key="e2/parked"
    )
    await journal.record(SESSION, [Recorded(parked, Outcome("e2", "e2", "parked"))])
    assert await journal.aliases(SESSION) == {"a": "e1", "b": "e2"}
    assert (await claimed(journal, "twin", "a")).status == "ended"
    assert (await claimed(journal, "twin", "b")).status == "ended"


async def test_an_event_that_joined_a_turn_is_known_by_its_other_ids(journal: Journal) -> None:
    joined = NewEntry("user.message", {"content": "x", "joined": "j1", "aliases": ["a"]}, "e1", key="e1/user/j1")
    await journal.claim_model(SESSION.turn("e1").step(0), [*opening("e1"), joined])
    assert await journal.aliases(SESSION) == {"a": "j1"}


async def test_readers_find_a_turn_by_any_id_and_another_session_finds_nothing(journal: Journal) -> None:
    await run(journal, "e1", "a")
    turn = await read_turn(journal, SESSION, "a")
    assert turn is not None
    assert (turn.event_id, turn.text) == ("e1", "to e1")
    assert await disposition_of(journal, SESSION, "a") == "applied"
    assert await journal.outcome(SESSION, "a") is None, "it is no event of its own"
    assert await read_turn(journal, OTHER, "a") is None
    assert await journal.outcome_by(OTHER, "a", "e1") is None


async def test_a_plain_turn_writes_no_row(journal: Journal) -> None:
    await plain_turn(journal, SESSION, "e1")
    assert await journal.aliases(SESSION) == {}

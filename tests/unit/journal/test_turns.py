"""A turn as its entries show it."""

from __future__ import annotations

import pytest

from inturn.journal import Journal, NewEntry, Outcome, Recorded
from inturn.journal.views.turns import read_turn
from inturn.values import Usage
from tests.support.journal import SESSION, answer, applied, calls, opening, plain_turn, result

pytestmark = pytest.mark.usefixtures("store")


async def tool_turn(journal: Journal, turn: str = "e1") -> None:
    key = SESSION.turn(turn)
    first = await journal.claim_model(key.step(0), opening(turn))
    await journal.finish(key.step(0), first.token, {"stop": "tool_use"}, calls(turn, ["c0", "c1"]))
    call = await journal.claim_call(key.step(0, 1), lease=5)
    await journal.finish(key.step(0, 1), call.token, {"status": "ok"}, [result(turn, 1, "c1", "42")])


async def test_a_turn_shows_its_answer_usage_calls_and_seqs(journal: Journal) -> None:
    await tool_turn(journal)
    assert await read_turn(journal, SESSION, "e1") is None
    step = SESSION.turn("e1").step(1)
    last = await journal.claim_model(step)
    await journal.finish(step, last.token, {}, answer("e1", "it is 42", step=1), applied("e1"))
    turn = await read_turn(journal, SESSION, "e1")
    assert turn is not None
    assert (turn.event_id, turn.text, turn.stop_reason, turn.disposition) == ("e1", "it is 42", "end_turn", "applied")
    assert turn.usage == Usage(input_tokens=5, output_tokens=2, steps=2)
    assert turn.seqs == (2, 9)
    assert [(c.call_id, c.args, c.status, c.result) for c in turn.tool_calls] == [
        ("c0", {"n": 0}, None, None),
        ("c1", {"n": 1}, "ok", "42"),
    ]


async def test_an_interrupted_turn_is_cancelled_with_results_for_all_calls(journal: Journal) -> None:
    await tool_turn(journal)
    end = NewEntry("turn.interrupted", {"reason": "stop", "turn": "e1"}, "e1", key="e1/end")
    outcome = Outcome("e1", "e1", "cancelled", "interrupted", "stop")
    await journal.record(SESSION, [Recorded(end, outcome)], settle=[SESSION.turn("e1")])
    turn = await read_turn(journal, SESSION, "e1")
    assert turn is not None
    assert (turn.text, turn.stop_reason, turn.disposition) == ("", "interrupted", "cancelled")
    assert [c.status for c in turn.tool_calls] == ["interrupted", "ok"]


async def test_a_failed_turn_is_none_until_it_was_driven_again(journal: Journal) -> None:
    await journal.claim_model(SESSION.turn("e1").step(0), opening("e1"))
    failed = NewEntry("turn.failed", {"turn": "e1"}, "e1", key="e1/end")
    parked = NewEntry("event.parked", {"turn": "e1", "error": "x"}, "e1", key="e1/parked")
    outcome = Outcome("e1", "e1", "parked", reason="x")
    await journal.record(SESSION, [Recorded(failed), Recorded(parked, outcome)])
    assert await read_turn(journal, SESSION, "e1") is None
    await plain_turn(journal, SESSION, "e1~1", "now it works")
    turn = await read_turn(journal, SESSION, "e1")
    assert turn is not None
    assert (turn.event_id, turn.text, turn.disposition) == ("e1", "now it works", "applied")
    assert turn.seqs == (6, 9)
    assert turn.usage.steps == 1


async def test_a_merged_event_shows_its_hosts_turn(journal: Journal) -> None:
    await plain_turn(journal, SESSION, "e1", "for both")
    merged = NewEntry("event.merged", {"into": "e1"}, "e2", key="e2/disposition")
    await journal.record(SESSION, [Recorded(merged, Outcome("e2", "e2", "merged", into="e1"))])
    turn = await read_turn(journal, SESSION, "e2")
    assert turn is not None
    assert (turn.event_id, turn.text, turn.disposition) == ("e1", "for both", "merged")


async def test_an_unknown_event_has_no_turn(journal: Journal) -> None:
    assert await read_turn(journal, SESSION, "e9") is None

"""A turn as its entries tell it, and following a journal."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from inturn.client.hub import Hub
from inturn.journal import Journal, NewEntry, Outcome, Recorded
from inturn.journal.views.turns import read_turn
from inturn.values import Entry, Usage
from tests.support.journal import SESSION, answer, applied, calls, opening, plain_turn, result


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


async def collect(journal: Journal, after: int = 0, last: str = "turn.completed") -> list[Entry]:
    collected: list[Entry] = []
    async with aclosing(Hub(journal).entries(SESSION, after=after)) as entries:
        async for entry in entries:
            collected.append(entry)
            if entry.type == last:
                break
    return collected


@pytest.mark.promise("ORD-9")
async def test_a_follower_gets_what_is_there_and_then_what_is_written(journal: Journal) -> None:
    early = asyncio.ensure_future(collect(journal))
    step = SESSION.turn("e1").step(0)
    claim = await journal.claim_model(step, opening("e1"))
    middle = asyncio.ensure_future(collect(journal, after=2))
    await journal.finish(step, claim.token, {}, answer("e1"), applied("e1"))
    assert [e.seq for e in await asyncio.wait_for(early, 5)] == [1, 2, 3, 4, 5]
    assert [e.seq for e in await asyncio.wait_for(middle, 5)] == [3, 4, 5]


@pytest.mark.promise("ORD-9")
async def test_followers_that_stop_anywhere_and_come_back_miss_nothing(journal: Journal) -> None:
    turns = 40

    async def write() -> None:
        for turn in range(turns):
            await plain_turn(journal, SESSION, f"e{turn}")

    async def read() -> list[int]:
        seen: list[int] = []
        while len(seen) < 1 + 4 * turns:
            wanted = len(seen) + 1 + len(seen) % 7
            async with aclosing(Hub(journal).entries(SESSION, after=seen[-1] if seen else 0)) as entries:
                async for entry in entries:
                    seen.append(entry.seq)
                    if len(seen) in (wanted, 1 + 4 * turns):
                        break
        return seen

    _, *readings = await asyncio.wait_for(asyncio.gather(write(), read(), read()), 30)
    assert readings == [list(range(1, 2 + 4 * turns))] * 2


async def test_a_follower_may_ask_for_one_event_and_some_types(journal: Journal) -> None:
    for turn in ("e1", "e2", "e3"):
        await plain_turn(journal, SESSION, turn, turn)
    async with aclosing(Hub(journal).entries(SESSION, event_id="e2", types=("agent.message",))) as entries:
        assert (await anext(entries)).text == "e2"


async def test_a_long_journal_is_followed_page_by_page(journal: Journal) -> None:
    entries = [NewEntry("tool.progress", {"text": str(n)}) for n in range(1_100)]
    await journal.record(SESSION, [Recorded(e) for e in entries])
    await plain_turn(journal, SESSION, "e1")
    assert [e.seq for e in await collect(journal)] == list(range(1, 1_106))

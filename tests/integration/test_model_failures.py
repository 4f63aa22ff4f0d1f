"""An outage costs time; a cut stream is never an answer; what was answered is never paid twice."""

from __future__ import annotations

import time

import pytest

from inturn import TurnFailed
from tests.support.rig import Rig


@pytest.mark.promise("SUR-4", "MOD-3")
@pytest.mark.parametrize("fault", ["429 retry_after=1", "529", "500", "error", "cut", "reset"])
async def test_a_failing_model_is_tried_again_and_costs_no_event(rig: Rig, fault: str) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        turn = await session.ask(f"[[fault {fault}]] are you there my friend", event_id="e", timeout=30)
        assert turn.disposition == "applied"
        assert turn.text.endswith("are you there my friend")
        assert [e.outcome for e in claude.requests] == ["faulted", "completed"]
        assert [e.type async for e in session.entries()].count("agent.message") == 1


@pytest.mark.promise("MOD-3")
@pytest.mark.parametrize("at", [0, 200, 600, -40, -1])
async def test_a_stream_cut_at_any_byte_of_a_tool_call_runs_no_tool(rig: Rig, at: int) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        claude.faults(f"cut at={at}")
        turn = await client.session("s", agent="support").ask(
            '[[tool charge {"cents": 1234567}]]', event_id="e", timeout=30
        )
        assert [call.args for call in turn.tool_calls] == [{"cents": 1234567}]
        assert len(rig.attempts("charge")) == 1
        assert claude.requests[0].outcome == "faulted"


@pytest.mark.promise("SUR-4")
@pytest.mark.parametrize("fault", ["400", "413"])
async def test_a_refusal_that_no_retry_cures_is_not_retried(rig: Rig, fault: str) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        began = time.monotonic()
        with pytest.raises(TurnFailed) as failed:
            await session.ask(f"[[fault {fault}]] hello", event_id="e", timeout=30)
        assert failed.value.disposition == "parked"
        assert time.monotonic() - began < 5
        answers = [
            exchange for exchange in claude.requests if exchange.body["max_tokens"] > 1
        ]  # the others only look why
        assert len(answers) == 1
        assert len(claude.requests) <= 2
        assert (await session.ask("next", event_id="next")).text.endswith("next")


@pytest.mark.parametrize(("stop", "expected"), [("refusal", "refusal"), ("max_tokens", "max_tokens")])
@pytest.mark.promise("MOD-2")
async def test_stop_reasons_end_the_turn_and_leave_a_valid_transcript(rig: Rig, stop: str, expected: str) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        turn = await session.ask(f'[[tool charge {{"cents": 1}}]] [[stop {stop}]] hi', event_id="e")
        assert turn.stop_reason == expected
        assert rig.attempts("charge") == []
        assert (await session.ask("next", event_id="next")).disposition == "applied"


async def test_a_paused_turn_goes_on(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        turn = await client.session("s", agent="support").ask("[[stop pause_turn]] a [[then]] b", event_id="e")
        assert turn.stop_reason == "end_turn"
        assert len(claude.requests) == 2


@pytest.mark.promise("EFF-3")
async def test_the_same_event_asked_again_is_answered_from_the_record(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model):
        async with rig.client() as client, rig.client(journal=False) as far:
            first = await client.session("s", agent="support").ask("hello", event_id="e")
            again = await client.session("s").ask("hello", event_id="e")
            assert again.text == first.text
            assert again.seqs == first.seqs
            asked = await far.session("s").ask("inline", event_id="f")
            assert (await far.session("s").ask("inline", event_id="f")).text == asked.text
            assert len(claude.requests) == 2

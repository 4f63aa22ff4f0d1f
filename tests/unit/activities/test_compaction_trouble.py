"""Summaries that are refused, cut short, or do not come: what was said stays as far as it can, and events go on."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import Agent
from inturn.journal.views.requests import SUMMARISED
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing.claude.script import Reply
from inturn.turns.compaction import Compaction
from inturn_activities.model.claude import COMPACTION
from tests.support.steps import StepRunner, rig
from tests.support.strict import StrictRig, answer
from tests.unit.activities.test_compaction import SAID, WINDOW, small, talk

OURS = "Summarise this conversation"


def pdf(pages: int) -> dict[str, Any]:
    data = base64.b64encode(b"%PDF-1.4 " + b"/Type/Page " * pages).decode()
    return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}


def texts(message: dict[str, Any]) -> str:
    return " ".join(str(block.get("text") or block.get("content") or "") for block in message["content"])


@pytest.mark.promise("MOD-6", "SUR-3")
async def test_a_session_whose_summary_the_api_takes_no_more_goes_on_with_its_words(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 4)
        rig.server.script(Reply(text="THE MEMORY", compacts=True))
        await rig.steps.ask("e", "hi", compact="")
        rig.server.withdraw(COMPACTION)
        await talk(rig, 25, first=20)
        first, *later = await rig.steps.bodies("session.compacted")
        assert (first["by"], {body["by"] for body in later}) == ("claude", {"summary"})
        (doubted,) = await rig.steps.bodies("transcript.doubted")
        assert len(doubted["blocks"]) == 1
        sent = [texts(r.body["messages"][0]) for r in rig.server.requests if not r.error]
        assert any(words.startswith(f"{SUMMARISED}THE MEMORY") for words in sent)
        cold = rig.deployed(
            model="claude-sonnet-5-5", instructions="Be brief.", max_tokens=1_000, compaction=Compaction(window=WINDOW)
        )
        assert await cold.turn("cold", "and now?") == "end_turn"


@pytest.mark.promise("MOD-6")
async def test_words_alone_hold_no_summary_that_the_api_signed(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 4)
        await rig.steps.ask("e", "hi", compact="")
        rig.server.withdraw(COMPACTION)
        await rig.steps.ask("f", "hi", compact="")
        made = (await rig.steps.bodies("session.compacted"))[-1]
        assert made["by"] == "summary"
        assert len(made["failures"]) == 2


@pytest.mark.promise("MOD-6")
@pytest.mark.parametrize("content", [[pdf(12_000), {"type": "text", "text": "read this"}], "word " * 5_500])
async def test_for_no_event_that_may_be_too_large_what_was_said_is_given_up(tmp_path: Path, content: Any) -> None:
    async with small(tmp_path, model="claude-haiku-4-5") as rig:
        await talk(rig, 4)
        await rig.turn("big", content)
        assert {body["by"] for body in await rig.steps.bodies("session.compacted")} <= {"summary"}
        assert all(body["kept_from"] for body in await rig.steps.bodies("session.compacted"))
        assert await rig.turn("next", "and now?") == "end_turn"
        assert SUMMARISED in texts(rig.sent[0]) or "0: word" in str(rig.sent)


@pytest.mark.promise("MOD-6")
@pytest.mark.parametrize("words", [8_900, 9_200, 9_400, 9_550, 9_700])
async def test_an_event_that_nothing_fits_beside_is_set_aside_and_what_was_said_stays(
    tmp_path: Path, words: int
) -> None:
    async with small(tmp_path, model="claude-haiku-4-5") as rig:
        await talk(rig, 4)
        end = await rig.turn("big", "word " * words)
        assert end == "end_turn" or "too large" in end
        assert {body["by"] for body in await rig.steps.bodies("session.compacted")} <= {"summary"}
        assert await rig.turn("next", "and now?") == "end_turn"
        assert SUMMARISED in texts(rig.sent[0]) or "0: word" in str(rig.sent)


@pytest.mark.promise("MOD-6")
@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-haiku-4-5"])
@pytest.mark.parametrize("content", ["hi", "word " * 3_000])
async def test_a_summary_may_be_longer_than_an_answer(tmp_path: Path, model: str, content: str) -> None:
    async with small(tmp_path, model=model) as rig:
        rig.server.script(Reply(text="whole", tokens=1_400, compacts=True, times=None))
        rig.server.script(Reply(text="whole", tokens=1_400, when=OURS, times=None))
        short = rig.deployed(
            model=model, instructions="Be brief.", max_tokens=300, compaction=Compaction(window=WINDOW, keep_turns=1)
        )
        await talk(short, 12)
        assert await short.turn("last", content) == "end_turn"
        made = await rig.steps.bodies("session.compacted")
        assert made
        assert not [body for body in made if body.get("failures")]


@pytest.mark.promise("MOD-6")
async def test_a_summary_of_the_apis_that_stops_before_its_end_is_none(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        rig.server.script(Reply(text="whole", tokens=100_000, compacts=True, times=None))
        await talk(rig, 16)
        made = await rig.steps.bodies("session.compacted")
        assert {body["by"] for body in made} == {"summary"}
        assert "max_tokens" in made[0]["failures"][0]


@pytest.mark.promise("MOD-6")
async def test_half_a_summary_is_more_than_none(tmp_path: Path) -> None:
    async with small(tmp_path, model="claude-haiku-4-5", compaction=Compaction(window=WINDOW, soft=1.0)) as rig:
        rig.server.script(Reply(text="THE FIRST HALF, the second one", tokens=100_000, when=OURS, times=None))
        await talk(rig, 20)
        made = await rig.steps.bodies("session.compacted")
        assert {body["by"] for body in made} == {"summary"}
        assert made[0]["block"]["text"].startswith("THE FIRST")


@pytest.mark.promise("MOD-6")
@pytest.mark.parametrize("fault", ["529", "429", "cut", "401"])
async def test_where_there_is_room_yet_no_trouble_of_a_summary_is_an_events(tmp_path: Path, fault: str) -> None:
    async with small(tmp_path) as rig:
        rig.server.faults(fault, compacts=True, times=None)
        rig.server.faults(fault, when=OURS, times=None)
        await talk(rig, 9)
        assert await rig.steps.bodies("session.compacted") == []
        assert await rig.turn("asked", "hi", compact="") == "end_turn"


async def at_last(rig: StrictRig, event_id: str, content: str) -> int:
    """Attempts until a turn is answered."""
    for attempt in range(1, 30):
        try:
            result = await rig.steps.ask(event_id, content, attempt=attempt)
        except ApplicationError as error:
            if error.non_retryable:
                raise
            continue
        assert result.stop == "end_turn"
        return attempt
    raise AssertionError("never")


@pytest.mark.promise("MOD-6", "EFF-6")
@pytest.mark.parametrize("fault", ["429", "cut"])
async def test_an_outage_of_summaries_alone_ends_with_another_means(tmp_path: Path, fault: str) -> None:
    async with small(tmp_path, compaction=Compaction(window=WINDOW, soft=1.0)) as rig:
        rig.server.faults(fault, compacts=True, times=None)
        attempts = [await at_last(rig, f"e{n}", f"{n}: {SAID}") for n in range(18)]
        made = await rig.steps.bodies("session.compacted")
        assert {body["by"] for body in made} == {"summary"}
        assert max(attempts) == 3
        rig.server.faults(fault, when=OURS, times=None)
        more = [await at_last(rig, f"f{n}", f"{n}: {SAID}") for n in range(12)]
        assert "cut" in {body["by"] for body in await rig.steps.bodies("session.compacted")}
        assert max(more) == 9


@pytest.mark.promise("MOD-6", "EFF-6")
async def test_while_the_model_is_away_nothing_is_left_out(tmp_path: Path) -> None:
    async with small(tmp_path, compaction=Compaction(window=WINDOW, soft=1.0)) as rig:
        n = 0
        rig.server.faults("529", compacts=True)
        while not await rig.steps.bodies("session.compacted"):
            await at_last(rig, f"e{n}", f"{n}: {SAID}")
            n += 1
        rig.server.reset()
        await talk(rig, 3, first=50)
        rig.server.faults("529", times=None)
        for attempt in range(1, 13):
            with pytest.raises(ApplicationError) as raised:
                await rig.steps.ask("away", SAID * 5, attempt=attempt)
            assert not raised.value.non_retryable
        made = await rig.steps.bodies("session.compacted")
        assert {body["by"] for body in made} == {"claude"}
        rig.server.reset()
        assert (await rig.steps.ask("away", SAID * 5, attempt=13)).stop == "end_turn"
        assert "cut" not in {body["by"] for body in await rig.steps.bodies("session.compacted")}


@pytest.mark.promise("MOD-6")
async def test_another_model_that_there_is_not_is_no_reason_to_wait(tmp_path: Path) -> None:
    compaction = Compaction(window=WINDOW, model="claude-haiku-4.5-x")
    async with small(tmp_path, compaction=compaction) as rig:
        rig.server.faults("404", when=OURS, times=None)
        await talk(rig, 20)
        made = await rig.steps.bodies("session.compacted")
        assert {body["by"] for body in made} == {"claude"}
        assert "404" in made[0]["failures"][0]


class Endless:
    """Never ends a summary."""

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Answer, but for summaries."""
        if request.settings.tool_choice == "none":
            await asyncio.Event().wait()
        return answer([{"type": "text", "text": "fine"}], "end_turn")


@pytest.mark.promise("MOD-6")
async def test_a_summary_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from tests.support.strict import BOUNDS

    async with rig(tmp_path, model=Endless()) as plain:
        agent = Agent("a", model="mine", instructions="S", max_tokens=500, compaction=Compaction(window=4_096))
        steps = StepRunner(plain.journal, plain.model, [agent], bounds=replace(BOUNDS, summary=0.02))
        for n in range(12):
            assert (await steps.ask(f"e{n}", SAID)).stop == "end_turn"
        made = await steps.bodies("session.compacted")
        assert made[0]["by"] == "cut"
        assert "TimeoutError" in made[0]["failures"][0]

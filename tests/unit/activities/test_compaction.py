"""Long conversations: what stands in the place of their beginning, and that every session can go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json, to_json
from temporalio.exceptions import ApplicationError

from inturn import ToolContext
from inturn.client.preview import Preview
from inturn.encryption.keys import VARIABLE
from inturn.journal.values import DeltaRow
from inturn.journal.views.requests import SUMMARISED
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import ToolCall
from inturn.testing.claude.script import Reply
from inturn.tools import tool
from inturn.turns.compaction import Compaction
from inturn.values import Entry
from inturn_activities.live.pen import Pen
from inturn_activities.messages import Decision
from inturn_activities.model.transcript_cache import Transcripts
from tests.support.keys import keys
from tests.support.steps import SESSION
from tests.support.steps import rig as steps_rig
from tests.support.strict import StrictRig, answer, strict
from tests.support.waiting import until

WINDOW = 12_000
SAID = "word " * 400
"""About 700 tokens as we guess them."""


@asynccontextmanager
async def small(tmp_path: Path, *, model: str = "claude-sonnet-5-5", **agent: Any) -> AsyncIterator[StrictRig]:
    """Play with a small window."""
    async with strict(tmp_path, model=model, context_window=WINDOW) as rig:
        agent.setdefault("compaction", Compaction(window=WINDOW))
        yield rig.deployed(model=model, instructions="Be brief.", max_tokens=1_000, **agent)


def compactions(rig: StrictRig) -> list[dict[str, Any]]:
    return [r.body for r in rig.server.requests if r.body and r.body.get("compaction")]


async def talk(rig: StrictRig, turns: int, first: int = 0) -> None:
    for n in range(first, first + turns):
        assert await rig.turn(f"e{n}", f"{n}: {SAID}") == "end_turn"


@pytest.mark.promise("MOD-6")
async def test_a_conversation_far_longer_than_the_window_goes_on(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 40)
        made = await rig.steps.bodies("session.compacted")
        assert len(made) >= 3
        assert {body["by"] for body in made} == {"claude"}
        assert not [r.error for r in rig.server.requests if r.error]
        assert len(compactions(rig)) == len(made)


@pytest.mark.promise("MOD-6")
async def test_a_model_without_summaries_of_its_own_is_asked_for_one(tmp_path: Path) -> None:
    async with small(tmp_path, model="claude-haiku-4-5") as rig:
        await talk(rig, 25)
        made = await rig.steps.bodies("session.compacted")
        assert [body["by"] for body in made] == ["summary"] * len(made) != []
        assert not [r.error for r in rig.server.requests if r.error]
        first = rig.sent[0]["content"][0]["text"]
        assert first.startswith(SUMMARISED)


LADDER: list[tuple[list[Any], list[Any], str]] = [
    ([Reply(stop="refusal", compacts=True)], [], "summary"),
    ([Reply(content=[{"type": "compaction", "content": None}], compacts=True)], [], "summary"),
    ([Reply(content=[], stop="max_tokens", compacts=True)], [], "summary"),
    ([], ["400"], "summary"),
    ([Reply(stop="refusal", compacts=True, times=None)], ["400 when"], "cut"),
]


@pytest.mark.promise("MOD-6")
@pytest.mark.parametrize(("replies", "faults", "by"), LADDER)
async def test_where_a_summary_fails_the_next_means_is_taken(
    tmp_path: Path, replies: list[Any], faults: list[str], by: str
) -> None:
    async with small(tmp_path) as rig:
        rig.server.script(*replies)
        if faults == ["400"]:
            rig.server.faults("400", compacts=True)
        elif faults:
            rig.server.faults("400", when="Summarise this conversation", times=None)
        await talk(rig, 30 if by == "cut" else 16)
        first, *later = await rig.steps.bodies("session.compacted")
        assert first["by"] == by
        assert first["failures"]
        assert not later or by == "cut" or later[0]["by"] == "claude"
        await talk(rig, 2, first=100)


@pytest.mark.promise("MOD-6")
async def test_an_outage_while_summarising_is_waited_for(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        rig.server.faults("529", compacts=True)
        for n in range(16):
            try:
                await rig.steps.ask(f"e{n}", f"{n}: {SAID}")
            except Exception:
                await rig.steps.ask(f"e{n}", f"{n}: {SAID}", attempt=2)
        assert [body["by"] for body in await rig.steps.bodies("session.compacted")][:1] == ["claude"]


@pytest.mark.promise("MOD-6", "MOD-2")
@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-haiku-4-5", "claude-sonnet-4-6"])
async def test_calls_stay_beside_their_results_whatever_is_compacted(tmp_path: Path, model: str) -> None:
    @tool(idempotent=True)
    async def look(n: int = 0) -> str:
        """Look."""
        return "seen " * 150

    async with small(tmp_path, model=model, tools=[look]) as rig:
        for n in range(30):
            rig.server.script([ToolCall("look", n=1), ToolCall("look", n=2)], "fine")
            assert await rig.turn(f"e{n}", f"{n}: {SAID}") == "end_turn"
        assert len(await rig.steps.bodies("session.compacted")) >= 2
        assert not [r.error for r in rig.server.requests if r.error]


@pytest.mark.promise("MOD-1", "MOD-6")
async def test_a_worker_that_reads_all_anew_sends_the_same_bytes(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 20)
        warm = rig.steps.steps
        await rig.turn("a", "one more")
        asked = rig.sent
        cold = rig.deployed(
            model="claude-sonnet-5-5", instructions="Be brief.", max_tokens=1_000, compaction=Compaction(window=WINDOW)
        )
        await cold.turn("b", "and one")
        assert warm is not cold.steps.steps
        assert rig.sent[: len(asked)] == asked
        assert not [r.error for r in rig.server.requests if r.error]


@pytest.mark.promise("MOD-6")
async def test_a_summary_is_paid_once_and_counted(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        n = 0
        while not (made := await rig.steps.bodies("session.compacted")):
            await rig.turn(f"e{n}", f"{n}: {SAID}")
            n += 1
        (answer,) = (await rig.steps.bodies("agent.message"))[-1:]
        assert made[0]["usage"]["output_tokens"] > 0
        assert answer["usage"]["output_tokens"] > made[0]["usage"]["output_tokens"]
        paid = made[0]["usage"]
        assert {name: answer["failed"][name] for name in paid} == paid
        assert answer["failed"]["failed_usd_nanos"] == paid["usd_nanos"]


@pytest.mark.promise("MOD-6")
async def test_asked_for_it_a_step_compacts_once(tmp_path: Path) -> None:
    async with small(tmp_path, compaction=None) as rig:
        await talk(rig, 3)
        await rig.steps.ask("e9", "hi", compact="keep the numbers")
        (made,) = await rig.steps.bodies("session.compacted")
        assert compactions(rig)[0]["compaction"]["instructions"] == "keep the numbers"
        assert made["kept_from"] is not None


@pytest.mark.promise("MOD-6")
async def test_what_a_tool_pins_is_said_again_behind_each_summary(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def remember(ctx: ToolContext) -> str:
        """Remember."""
        await ctx.pin("The codeword is swordfish.")
        await ctx.pin("The codeword is swordfish.")
        return "noted"

    async with small(tmp_path, tools=[remember]) as rig:
        rig.server.script([ToolCall("remember")], "fine")
        assert await rig.turn("first", SAID) == "end_turn"
        (pinned,) = await rig.steps.bodies("session.pinned")
        assert pinned["text"] == "The codeword is swordfish."
        known: list[bool] = []
        for n in range(45):
            assert await rig.turn(f"e{n}", f"{n}: {SAID}") == "end_turn"
            known.append("swordfish" in str(rig.sent))
        assert all(known)
        assert len(await rig.steps.bodies("session.compacted")) >= 3
        assert not [r.error for r in rig.server.requests if r.error]


@pytest.mark.promise("MOD-6")
async def test_only_so_much_is_pinned(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def remember(text: str, ctx: ToolContext) -> str:
        """Remember."""
        await ctx.pin(text)
        return "noted"

    async with small(tmp_path, tools=[remember]) as rig:
        calls = [ToolCall("remember", text=letter * 1_500) for letter in "abc"]
        rig.server.script(*([call] for call in calls), [ToolCall("remember", text=" ")], "fine")
        await rig.turn("e", "go")
        results = [body["text"] for body in await rig.steps.bodies("agent.tool_result")]
        assert results[:2] == ["noted", "noted"]
        assert "4,096 are the most" in results[2]
        assert "say something" in results[3]
        assert len(await rig.steps.bodies("session.pinned")) == 2


@pytest.mark.promise("MOD-6")
async def test_results_share_the_room_that_is_left(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def look(n: int = 0) -> str:
        """Look."""
        return "seen " * 6_000

    async with small(tmp_path, tools=[look]) as rig:
        rig.server.script([ToolCall("look", n=n) for n in range(8)], "fine")
        result = await rig.steps.ask("e", SAID)
        bounds = {plan.result for plan in result.calls}
        assert len(bounds) == 1
        (most,) = bounds
        assert most is not None
        for index, plan in enumerate(result.calls):
            await rig.steps.tool("e", call=plan.id, index=index, result=plan.result)
        texts = [body["text"] for body in await rig.steps.bodies("agent.tool_result")]
        assert all(len(text.encode()) <= most for text in texts)
        assert (await rig.steps.ask("e", step=1)).stop == "end_turn"
        assert not [r.error for r in rig.server.requests if r.error]


@pytest.mark.promise("MOD-6")
async def test_where_even_the_least_is_too_much_the_last_calls_do_not_run(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def look(n: int = 0) -> str:
        """Look."""
        return "seen"

    async with small(tmp_path, tools=[look]) as rig:
        rig.server.script([ToolCall("look", n=n) for n in range(60)], "fine")
        result = await rig.steps.ask("e", "word " * 4_500)
        assert 0 < len(result.calls) < 60
        for index, plan in enumerate(result.calls):
            await rig.steps.tool("e", call=plan.id, index=index, result=plan.result)
        assert (await rig.steps.ask("e", step=1)).stop == "end_turn"
        results = [b for message in rig.sent for b in message["content"] if b["type"] == "tool_result"]
        assert len(results) == 60
        assert sum(bool(b.get("is_error")) for b in results) == 60 - len(result.calls)


@pytest.mark.promise("MOD-6")
async def test_what_fits_into_no_request_is_set_aside_and_the_next_event_answered(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 3)
        before = len(rig.server.requests)
        assert "too large for the model's window" in await rig.turn("huge", "word " * 20_000)
        assert len(rig.server.requests) == before, "nothing is sent"
        await talk(rig, 2, first=50)


@pytest.mark.promise("MOD-6", "EFF-3")
async def test_whoever_dies_behind_a_summary_has_it_paid_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 3)
        for n in range(20):
            append = rig.steps.journal.append

            async def written_and_gone(*args: Any, append: Any = append, **named: Any) -> int:
                await append(*args, **named)
                raise asyncio.CancelledError

            monkeypatch.setattr(rig.steps.journal, "append", written_and_gone)
            with pytest.raises(asyncio.CancelledError):
                await rig.steps.ask(f"k{n}", SAID, compact="")
            monkeypatch.undo()
            result = await rig.steps.ask(f"k{n}", SAID, attempt=2, compact="")
            assert (result.stop, result.compacted) == ("end_turn", "")
        assert len(await rig.steps.bodies("session.compacted")) == 20
        assert len(compactions(rig)) == 20


@pytest.mark.promise("MOD-6", "EFF-3")
async def test_whoever_dies_before_a_summary_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*args: Any, **named: Any) -> int:
        raise asyncio.CancelledError

    async with small(tmp_path) as rig:
        await talk(rig, 3)
        monkeypatch.setattr(rig.steps.journal, "append", gone)
        with pytest.raises(asyncio.CancelledError):
            await rig.steps.ask("e", SAID, compact="")
        monkeypatch.undo()
        assert await rig.steps.bodies("session.compacted") == []
        assert (await rig.steps.ask("e", SAID, attempt=2, compact="")).stop == "end_turn"
        assert len(compactions(rig)) == 2, "one request more"


@pytest.mark.promise("MOD-6", "EFF-3")
async def test_an_attempt_that_is_superseded_writes_no_summary(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 3)
        rig.server.faults("stall seconds=0.3", compacts=True)
        late = asyncio.create_task(rig.steps.ask("e", SAID, compact=""))

        async def asked() -> bool:
            return bool(compactions(rig))

        await until(asked)
        assert (await rig.steps.ask("e", SAID, attempt=2, compact="")).stop == "end_turn"
        with pytest.raises(ApplicationError):
            await late
        assert len(await rig.steps.bodies("session.compacted")) == 1


@pytest.mark.promise("MOD-6", "SUR-3")
async def test_a_summary_of_a_running_turns_results_is_taken_back_with_the_turn(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def look(n: int = 0) -> str:
        """Look."""
        return "seen " * 400

    async with small(tmp_path, model="claude-haiku-4-5", tools=[look]) as rig:
        await talk(rig, 6)
        rig.server.script([ToolCall("look")])
        result = await rig.steps.ask("e", "look for me")
        await rig.steps.tools(result, "e")
        before = len((await rig.steps.entries())[:])
        rig.server.faults("400 message=no", when="go on from where", times=None)
        with pytest.raises(ApplicationError):
            await rig.steps.ask("e", step=1, compact="")
        (made,) = await rig.steps.bodies("session.compacted")
        assert (made["by"], made["kept_from"], made["consumed"]) == ("summary", None, ["e"])
        assert before
        await rig.park("e")
        rig.server.reset()
        assert await rig.turn("next", "and now?") == "end_turn"
        sent = str(rig.sent)
        assert "was summarised" not in sent
        assert "0: word" in sent
        assert not [r.error for r in rig.server.requests if r.error]


@pytest.mark.promise("MOD-6", "ORD-8")
async def test_an_interrupt_in_the_middle_of_a_summary_leaves_nothing(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 3)
        rig.server.faults("hang", compacts=True)
        asking = asyncio.create_task(rig.steps.ask("e", SAID, compact=""))

        async def asked() -> bool:
            return bool(compactions(rig))

        await until(asked)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        end = Decision(type="turn.interrupted", turn="e", key="e/end", disposition="cancelled", body={"turn": "e"})
        await rig.steps.record(end, settle=["e"])
        assert await rig.steps.bodies("session.compacted") == []
        assert await rig.turn("next", "and now?") == "end_turn"
        assert not [r.error for r in rig.server.requests if r.error]


@pytest.mark.promise("MOD-6", "MOD-2")
@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-haiku-4-5"])
async def test_what_steers_a_turn_stands_behind_a_summary_made_in_its_middle(tmp_path: Path, model: str) -> None:
    @tool(idempotent=True)
    async def look(n: int = 0) -> str:
        """Look."""
        return "seen by nobody else"

    async with small(tmp_path, model=model, tools=[look]) as rig:
        await talk(rig, 4)
        rig.server.script([ToolCall("look")])
        result = await rig.steps.ask("e", "look for me")
        await rig.steps.tools(result, "e")
        joined = [{"event_id": "s", "content": "steer by the stars"}]
        assert (await rig.steps.ask("e", step=1, joined=joined, compact="")).stop == "end_turn"
        (made,) = await rig.steps.bodies("session.compacted")
        assert made["by"] == ("claude" if model == "claude-sonnet-5-5" else "summary")
        assert str(rig.sent).count("steer by the stars") == 1
        assert ("tool_result" in str(rig.sent)) == (made["by"] == "claude"), "else the summary has it"
        await talk(rig, 2, first=50)
        assert not [r.error for r in rig.server.requests if r.error]


@pytest.mark.promise("MOD-1", "MOD-6")
async def test_a_changed_agent_takes_full_effect_with_a_summary_that_is_not_the_apis(tmp_path: Path) -> None:
    async with small(tmp_path, model="claude-haiku-4-5") as rig:
        await talk(rig, 4)
        settings = Compaction(window=WINDOW)
        changed = rig.deployed(model="claude-haiku-4-5", instructions="Rhyme.", max_tokens=1_000, compaction=settings)
        await changed.steps.ask("e", "hi", compact="")
        assert rig.server.requests[-1].body["system"][0]["text"] == "Rhyme."
        cold = rig.deployed(model="claude-haiku-4-5", instructions="Rhyme.", max_tokens=1_000, compaction=settings)
        assert await cold.turn("next", "and now?") == "end_turn"
        assert rig.server.requests[-1].body["system"][0]["text"] == "Rhyme."
        assert len(await rig.steps.bodies("system.message")) == 1, "the change is not told again"


@pytest.mark.promise("MOD-1", "MOD-6")
async def test_the_agents_last_change_is_said_again_behind_the_apis_summary(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 4)
        settings = Compaction(window=WINDOW, keep_turns=1)
        changed = rig.deployed(instructions="Rhyme.", max_tokens=1_000, compaction=settings)
        await talk(changed, 4, first=10)
        await changed.steps.ask("e", "hi", compact="")
        assert rig.server.requests[-1].body["system"][0]["text"] == "Be brief.", "what was frozen stays"
        assert "Rhyme." in str(rig.sent)
        assert await changed.turn("next", "and now?") == "end_turn"
        assert not [r.error for r in rig.server.requests if r.error]


@pytest.mark.promise("MOD-6")
async def test_another_model_may_write_the_summaries(tmp_path: Path) -> None:
    async with small(tmp_path, compaction=Compaction(window=WINDOW, model="claude-haiku-4-5")) as rig:
        await talk(rig, 4)
        await rig.steps.ask("e", "hi", compact="")
        asked = [r.body["model"] for r in rig.server.requests]
        assert asked[-2:] == ["claude-haiku-4-5", "claude-sonnet-5-5"]
        (made,) = await rig.steps.bodies("session.compacted")
        assert (made["by"], made["model"]) == ("summary", "claude-haiku-4-5")
        await talk(rig, 2, first=50)
        assert not [r.error for r in rig.server.requests if r.error]


@pytest.mark.promise("MOD-6")
async def test_a_session_that_moves_to_a_model_without_summaries_keeps_the_apis_as_text(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 4)
        await rig.steps.ask("e", "hi", compact="")
        there = rig.deployed(model="claude-haiku-4-5", instructions="Be brief.")
        await talk(there, 2, first=20)
        assert rig.sent[0]["content"][0]["text"].startswith(SUMMARISED)
        await talk(rig, 2, first=30)
        assert rig.sent[0]["content"][0]["type"] == "compaction"
        assert not [r.error for r in rig.server.requests if r.error]


@pytest.mark.promise("MOD-1", "MOD-6")
async def test_who_knows_nothing_of_a_long_session_reads_what_matters_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 40)
        journal = rig.steps.journal
        head, read, count = await journal.head(SESSION), journal.conversation, list[int]()

        async def counted(*args: Any, **named: Any) -> AsyncIterator[Entry]:
            async for entry in read(*args, **named):
                count.append(1)
                yield entry

        monkeypatch.setattr(journal, "conversation", counted)
        whole = await Transcripts(journal, sessions=1, size=10**9).load(SESSION, head)
        all_of_it = sum(count)
        count.clear()
        short = await Transcripts(journal, sessions=1, size=10**9, long=0).load(SESSION, head)
        assert sum(count) < all_of_it / 2
        assert short.request_messages() == whole.request_messages()
        assert (short.manifest, short.manifest_hash) == (whole.manifest, whole.manifest_hash)
        assert short.call_ids == whole.call_ids


@pytest.mark.promise("MOD-6")
async def test_a_summary_whose_turn_fails_is_counted_with_its_end(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 3)
        rig.server.faults("400 message=no", when="odd question", times=None)
        with pytest.raises(ApplicationError):
            await rig.steps.ask("e", "odd question", compact="")
        (made,) = await rig.steps.bodies("session.compacted")
        await rig.park("e")
        (failed,) = await rig.steps.bodies("turn.failed")
        assert failed["usage"]["output_tokens"] >= made["usage"]["output_tokens"] > 0


class Telling:
    """Calls a tool once, and says a canary in its summaries."""

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Answer."""
        if request.settings.tool_choice == "none":
            return answer([{"type": "text", "text": "canary-of-a-summary"}], "end_turn")
        if len(request.messages) == 1:
            return answer([{"type": "tool_use", "id": "toolu_1", "name": "remember", "input": {}}])
        return answer([{"type": "text", "text": "fine"}], "end_turn")


@pytest.mark.promise("SEC-2", "MOD-6")
@pytest.mark.parametrize("sealed", [True, False])
async def test_no_summary_and_no_pin_stands_in_clear_in_an_encrypted_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    @tool(idempotent=True)
    async def remember(ctx: ToolContext) -> str:
        """Remember."""
        await ctx.pin("canary-of-a-pin")
        return "noted"

    if sealed:
        monkeypatch.setenv(VARIABLE, keys("a"))
    async with steps_rig(tmp_path, model=Telling(), tools=[remember], url=f"sqlite:///{tmp_path / 'j.db'}") as r:
        await r.tools(await r.ask("e0"), "e0")
        await r.ask("e0", step=1)
        await r.ask("e1", "hi")
        await r.ask("e2", "hi", compact="")
        (made,) = await r.bodies("session.compacted")
        assert made["block"]["text"] == "canary-of-a-summary"
        written = b"".join(file.read_bytes() for file in tmp_path.glob("j.db*"))
    for canary in (b"canary-of-a-summary", b"canary-of-a-pin"):
        assert (canary in written) != sealed


@pytest.mark.promise("MOD-7", "MOD-6")
async def test_who_looks_is_told_that_a_summary_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pens: list[Pen] = []

    def kept(self: Pen, *, compacts: Any = Pen.compacts) -> None:
        pens.append(self)
        compacts(self)

    monkeypatch.setattr(Pen, "compacts", kept)
    given_up: list[Pen] = []
    monkeypatch.setattr(Pen, "give_up", lambda self: given_up.append(self))
    async with small(tmp_path) as rig:
        await talk(rig, 3)
        await rig.steps.ask("e", "hi", compact="")
    (pen,) = pens
    assert given_up.count(pen) == 1, "when all is over"
    preview = Preview("e")
    rows = [DeltaRow(row.fence, row.index, from_json(to_json(row.said))) for row in pen.take(100)]
    told = [delta for row in rows for delta in preview.shown(row)]
    assert [d.kind for d in told][:2] == ["start", "compacting"]
    assert {d.kind for d in told[2:]} == {"thinking", "text"}

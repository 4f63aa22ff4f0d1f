"""Compactions as a worker reads them that knows nothing, how they are set, and what is pinned beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from inturn import Agent, ToolContext
from inturn.journal import Journal
from inturn.journal.views.transcript import Transcript
from inturn.keys import SessionKey
from inturn.models.facts import UNKNOWN
from inturn.testing import ToolCall
from inturn.testing.earlier import earlier_entries
from inturn.tools import tool
from inturn.tools.pins import MAX_PINNED
from inturn.turns.budget import Budget
from inturn.turns.compaction import Compaction, Room
from inturn.values import Entry
from inturn_activities.model.transcript_cache import Transcripts
from tests.support.steps import SESSION
from tests.unit.activities.test_compaction import SAID, WINDOW, small, talk

CALL = "toolu_aaaaaaaaaaaaaaaaaa"


class Log:
    """A journal of some entries."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries

    async def conversation(
        self, session: SessionKey, *, after: int = 0, types: Sequence[str] = ()
    ) -> AsyncIterator[Entry]:
        """Yield them."""
        for entry in self.entries:
            if entry.seq > after and entry.type in types:
                yield entry


async def read_cold(entries: Sequence[Entry]) -> Transcript:
    transcripts = Transcripts(cast("Journal", Log(entries)), sessions=1, size=10**9, long=0)
    return await transcripts.load(SessionKey("acme", "s1"), entries[-1].seq)


class Written(list[Entry]):
    """A log as it is written."""

    def say(self, type_: str, event_id: str | None, **body: Any) -> int:
        """Write an entry; return its seq."""
        seq = len(self) + 1
        made = Entry(seq=seq, type=type_, event_id=event_id, at=datetime.now(UTC), body=body, hash="", prev="")
        self.append(made)
        return seq

    def turn(self, event_id: str) -> int:
        """Write a turn; return its answer."""
        asked = self.say("user.message", event_id, content=f"asks {event_id}")
        content = [{"type": "text", "text": f"answers {event_id}"}]
        return self.say("agent.message", event_id, content=content, seen=asked, model="m", stop="end_turn")

    def compact(self, by: str, answer: int | None, event_id: str, **body: Any) -> int:
        """Write a compaction before an answer."""
        block = {"type": "compaction", "content": "C"} if by == "claude" else {"type": "text", "text": "S"}
        seen = len(self) if answer is None else self[answer - 1].body["seen"]
        return self.say("session.compacted", event_id, by=by, seen=seen, kept_from=answer, block=block, **body)


@pytest.fixture
def log() -> Written:
    made = Written()
    made.say("session.started", None, agent="a", system="v1", tools=[], manifest="h1")
    return made


def equal(warm: Transcript, cold: Transcript) -> bool:
    names = ("manifest", "manifest_hash", "since")
    cut = warm.committed.cuts[-1]
    return (
        warm.request_messages() == cold.request_messages()
        and [entry.seq for entry in warm.compactions if entry.seq > cut.seen]
        == [entry.seq for entry in cold.compactions if entry.seq > cut.seen]
        and all(getattr(warm, name) == getattr(cold, name) for name in names)
        and warm.restated(cut, change=True) == cold.restated(cut, change=True)
    )


@pytest.mark.promise("MOD-1", "MOD-6")
async def test_whoever_reads_anew_knows_what_a_step_compacted_before(log: Written) -> None:
    first, *_, last = [log.turn(f"e{n}") for n in range(4)]
    log.say("user.message", "now", content="now")
    log.compact("summary", first, "now", of="now/0")
    log.compact("cut", last, "now", of="now/0", left_out=2)
    warm, cold = Transcript(log), await read_cold(log)
    assert [entry.seq for entry in cold.compactions] == [entry.seq for entry in warm.compactions]
    assert warm.request_messages() == cold.request_messages()


@pytest.mark.promise("MOD-1", "MOD-6")
@pytest.mark.parametrize("fails", [True, False])
async def test_a_summary_that_was_taken_back_is_none_for_whoever_reads_anew(log: Written, fails: bool) -> None:
    log.turn("e0")
    log.say("user.message", "e1", content="go")
    log.say("system.message", "e1", text="now v2 holds", manifest="h2")
    use = {"type": "tool_use", "id": CALL, "name": "x", "input": {}}
    log.say("agent.message", "e1", content=[use], seen=len(log), model="m", stop="tool_use")
    log.say("agent.tool_result", "e1", call_id=CALL, status="ok", text="r")
    log.compact("summary", None, "e1", consumed=["e1"], frozen={"system": "v2", "tools": []}, manifest="h2")
    if fails:
        log.say("turn.failed", "e1", turn="e1")
    else:
        log.say(
            "agent.message", "e1", content=[{"type": "text", "text": "ok"}], seen=len(log), model="m", stop="end_turn"
        )
    answers = [log.turn(f"f{n}") for n in range(3)]
    before = Transcript(log)
    more: dict[str, Any] = {} if fails else {"since": before.since, "frozen": {"system": "v2", "tools": []}}
    log.compact("claude", answers[1], "f2", manifest=before.manifest_hash, **more)
    for n in range(3, 5):
        log.turn(f"f{n}")
    warm, cold = Transcript(log), await read_cold(log)
    assert (warm.manifest or {})["system"] == ("v1" if fails else "v2")
    assert equal(warm, cold)


@pytest.mark.promise("MOD-6")
async def test_calls_that_pin_at_once_pin_no_more_than_one_after_the_other(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def remember(text: str, ctx: ToolContext) -> str:
        """Remember."""
        await ctx.pin(text)
        return "noted"

    async with small(tmp_path, tools=[remember]) as rig:
        rig.server.script([ToolCall("remember", text=letter * 1_000) for letter in "abcdefghijkl"], "fine")
        result = await rig.steps.ask("e", "go")
        calls = [
            rig.steps.tool("e", call=plan.id, index=index, result=plan.result)
            for index, plan in enumerate(result.calls)
        ]
        await asyncio.gather(*calls)
        pinned = await rig.steps.bodies("session.pinned")
        assert 0 < sum(len(body["text"]) for body in pinned) <= MAX_PINNED
        assert len(pinned) == 4
        assert (await rig.steps.ask("e", step=1)).stop == "end_turn"


@pytest.mark.promise("MOD-6")
async def test_more_pins_than_a_page_holds_are_all_counted(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def remember(ctx: ToolContext) -> str:
        """Remember."""
        for n in range(1_100):
            await ctx.pin(f"pin{n:05d}")
        return "noted"

    async with small(tmp_path, tools=[remember]) as rig:
        rig.server.script([ToolCall("remember")], "fine")
        result = await rig.steps.ask("e", "go")
        await rig.steps.tools(result, "e")
        pinned = [e async for e in rig.steps.journal.entries(SESSION, types=("session.pinned",))]
        assert len(pinned) == MAX_PINNED // 8


@pytest.mark.promise("MOD-6")
async def test_what_was_pinned_makes_no_event_too_large(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def remember(ctx: ToolContext) -> str:
        """Remember."""
        await ctx.pin("p" * 4_000)
        return "noted"

    settings = Compaction(window=4_096)
    async with small(tmp_path, tools=[remember], compaction=settings) as rig:
        rig.server.script([ToolCall("remember")], "fine")
        await rig.turn("e", "go")
        for n in range(3):
            assert "too large" not in await rig.turn(f"e{n}", "hi")


@pytest.mark.promise("MOD-6")
async def test_a_turn_without_a_budget_does_not_say_that_it_compacted(tmp_path: Path) -> None:
    async with small(tmp_path) as rig:
        await talk(rig, 2)
        settings = Compaction(window=WINDOW)
        poor = rig.deployed(instructions="Be brief.", max_tokens=1_000, compaction=settings, budget=Budget(tokens=0))
        result = await poor.steps.ask("e", SAID, compact="")
        assert (result.stop, result.compacted) == ("budget_reached", None)


SETTINGS: list[dict[str, Any]] = [
    {"soft": True},
    {"soft": "0.5"},
    {"keep_turns": 2.5},
    {"keep_turns": 0},
    {"keep_turns": True},
    {"window": 1e5},
    {"window": True},
    {"window": 10},
    {"instructions": " "},
    {"instructions": 5},
    {"instructions": "\ud800"},
    {"model": ""},
    {"model": 7},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_that_are_none_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Compaction(**settings)


@pytest.mark.parametrize("given", [False, True, 0.5, {"soft": 0.5}, "off"])
def test_an_agent_takes_no_compaction_that_is_none(given: Any) -> None:
    with pytest.raises(ValueError, match="compaction="):
        Agent("a", model="m", instructions="S", compaction=given)


def test_of_a_model_that_nobody_knows_what_is_said_counts() -> None:
    assert Room.of(UNKNOWN, 150_000, Compaction(window=1_000_000)).window == 1_000_000
    for compaction in (Compaction(), None):
        assert Room.of(UNKNOWN, 150_000, compaction).answer == 150_000


def test_behind_a_summary_of_the_apis_nothing_is_asked_for_that_nobody_asked() -> None:
    said: list[dict[str, Any]] = [
        {"role": "assistant", "content": [{"type": "compaction", "content": "C"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A"}]},
        {"role": "user", "content": [{"type": "text", "text": "u"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "B"}]},
    ]
    assert Transcript(earlier_entries(said)).request_messages() == said

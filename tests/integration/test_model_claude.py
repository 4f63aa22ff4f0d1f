"""The model path as in production: the real Anthropic SDK, over HTTP, to a server as strict as the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.agents import Agent
from inturn.errors import ModelError
from inturn.models import DeltaKind, ModelMessage, ModelRequest
from inturn.testing import Answer, Fault, StrictClaude, ToolCall
from inturn.testing.claude import overlaps
from inturn.tools import tool
from inturn_activities.failures import classify
from inturn_activities.messages import ModelInput
from inturn_activities.model.claude import Claude
from inturn_activities.model.claude_answer import BrokenStream
from tests.support.steps import SESSION, WAIT, StepRunner, environment, rig

MODEL = "claude-sonnet-5-5"


@pytest_asyncio.fixture
async def claude(server: StrictClaude) -> AsyncIterator[Claude]:
    """The provider, pointed at it; it takes half a second's silence for a stall."""
    made = Claude(api_key="test", base_url=server.url, stall_timeout=0.5)
    yield made
    await made.aclose()


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def request(text: str = "hi", **fields: object) -> ModelRequest:
    """A request as a first turn makes it."""
    values: dict[str, object] = {
        "model": MODEL,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
        "tools": [add.definition()],
        "user_id": "acme/s1",
        **fields,
    }
    return ModelRequest(**values)  # type: ignore[arg-type]


def nothing(*piece: object) -> None:
    """Take no deltas."""


async def ask(claude: Claude, text: str = "hi") -> ModelMessage:
    async with asyncio.timeout(WAIT):
        return await claude.respond(request(text), nothing)


async def test_an_answer_comes_with_its_blocks_verbatim_and_its_usage(server: StrictClaude, claude: Claude) -> None:
    server.script(Answer("I add.", (ToolCall("add", a=1, b=2),), thinking="hm"))
    pieces: dict[tuple[int, DeltaKind], list[str]] = {}
    message = await claude.respond(
        request(), lambda block, kind, text: pieces.setdefault((block, kind), []).append(text)
    )
    assert message.content == server.requests[0].answer
    assert [b["type"] for b in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[0]["signature"]
    assert message.content[2]["input"] == {"a": 1, "b": 2}
    assert message.stop_reason == "tool_use"
    said = {where: [piece for piece in some if piece] for where, some in pieces.items()}
    assert "".join(said[0, "thinking"]) == "hm"
    assert "".join(said[1, "text"]) == "I add."
    tool, *arguments = said[2, "input"]
    assert (tool, json.loads("".join(arguments))) == ("add", {"a": 1, "b": 2})
    assert message.request_id == server.requests[0].request_id
    assert message.model == MODEL
    assert message.usage.output_tokens > 0


async def test_the_request_is_marked_for_caching_and_says_whose_it_is(server: StrictClaude, claude: Claude) -> None:
    await ask(claude)
    [exchange] = server.requests
    assert exchange.session == "acme/s1"
    assert exchange.body["cache_control"] == {"type": "ephemeral"}
    assert exchange.body["system"][-1]["cache_control"] == {"type": "ephemeral"}
    assert exchange.body["stream"] is True


async def test_an_agent_without_instructions_and_tools_is_fine(server: StrictClaude, claude: Claude) -> None:
    message = await claude.respond(request(system="", tools=[]), nothing)
    assert message.stop_reason == "end_turn"


@pytest.mark.promise("MOD-3")
async def test_a_stream_cut_at_any_byte_is_a_failure_and_never_an_answer(server: StrictClaude, claude: Claude) -> None:
    server.script(Answer("text", (ToolCall("add", a=12, b=345),)), times=None)
    whole = await ask(claude)
    size = 0
    for at in [*range(0, 2_400, 61), -1, -2, -3]:
        server.faults(Fault(kind="cut", at=at))
        try:
            message = await ask(claude)
        except BrokenStream:
            size += 1
            continue
        assert message.content[-1]["input"] == whole.content[-1]["input"]  # cut behind the last event's last byte
        assert at >= 2_000 or at == -1
    assert size > 25


@pytest.mark.promise("MOD-3", "SUR-4")
@pytest.mark.parametrize("kind", ["cut", "reset", "stall", "error", "hang"])
async def test_what_breaks_on_the_way_is_an_outage(server: StrictClaude, claude: Claude, kind: str) -> None:
    server.faults(kind)
    with pytest.raises(Exception) as failed:  # noqa: PT011 - the SDK gives a different class for each
        await ask(claude)
    assert classify(failed.value).kind == "outage"
    assert (await ask(claude)).stop_reason == "end_turn"


@pytest.mark.promise("SUR-4")
@pytest.mark.parametrize("status", [429, 500, 503, 529])
async def test_the_sdk_repeats_nothing_by_itself(server: StrictClaude, claude: Claude, status: int) -> None:
    server.faults(Fault(status=status, retry_after=3))
    with pytest.raises(Exception) as failed:  # noqa: PT011 - the SDK gives a different class for each
        await ask(claude)
    judged = classify(failed.value)
    assert (judged.kind, judged.retry_after) == ("outage", 3)
    assert len(server.requests) == 1


@pytest.mark.promise("SUR-4")
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("400", "own"),
        ("413", "own"),
        ("401", "account"),
        ("402", "account"),
        ("403", "account"),
        ("404", "account"),
        ("spend_limit", "account"),
    ],
)
async def test_what_no_retry_cures_says_whose_fault_it_is(
    server: StrictClaude, claude: Claude, fault: str, kind: str
) -> None:
    server.faults(fault)
    with pytest.raises(ModelError) as failed:
        await ask(claude)
    assert classify(failed.value).kind == kind


async def test_a_provider_without_credentials_says_so_as_the_accounts_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    claude = Claude(base_url="http://127.0.0.1:9")
    with pytest.raises(ModelError) as failed:
        await ask(claude)
    assert failed.value.kind == "account"
    await claude.aclose()


async def test_a_server_that_is_not_there_is_an_outage() -> None:
    claude = Claude(api_key="test", base_url="http://127.0.0.1:9")
    with pytest.raises(Exception) as failed:  # noqa: PT011 - the SDK wraps it
        await ask(claude)
    assert classify(failed.value).kind == "outage"
    await claude.aclose()


async def test_a_silent_stream_is_not_a_stall_while_it_moves(server: StrictClaude, claude: Claude) -> None:
    server.script(Answer("one two three four five six seven eight", delay=1.5))
    assert (await ask(claude)).stop_reason == "end_turn"


async def test_a_tool_call_cut_by_max_tokens_is_kept_valid_and_never_runs(
    server: StrictClaude, claude: Claude, tmp_path: Path
) -> None:
    server.script(Answer("", (ToolCall("add", a=1, b=2),), "max_tokens"))
    async with worker(tmp_path, claude) as r:
        result = await r.ask()
        assert (result.stop, result.calls) == ("max_tokens", [])
        assert (await r.ask("e2", "again")).stop == "end_turn"
    assert [e.outcome for e in server.requests] == ["completed", "completed"]


@pytest.mark.promise("MOD-2")
async def test_a_whole_session_passes_the_strict_server(server: StrictClaude, claude: Claude, tmp_path: Path) -> None:
    calls = (ToolCall("add", a=1, b=2), ToolCall("nope"), ToolCall("add", a="x"), ToolCall("add", a=3, b=4))
    server.script(
        Answer("adding", calls, thinking="deep"),
        Answer("pausing", stop="pause_turn", thinking="deeper"),
        Answer("done"),
        Answer("cut", stop="max_tokens"),
        Answer("more", (ToolCall("add", a=5, b=6),)),
        Answer("end"),
        Answer("", stop="refusal"),
    )
    async with worker(tmp_path, claude) as r:
        await r.tools(await r.ask("e1"), "e1")
        assert (await r.ask("e1", step=1)).stop == "pause_turn"
        assert (await r.ask("e1", step=2)).stop == "end_turn"
        assert (await r.ask("e2")).stop == "max_tokens"
        result = await r.ask("e4")
        await r.record(settle=["e4"])  # interrupted before the call ran
        other = StepRunner(r.journal, claude, r.agents)
        assert result.stop == "tool_use"
        assert (await other.ask("e5")).stop == "end_turn"
        assert (await other.ask("e6")).stop == "refusal"
    assert {e.outcome for e in server.requests} == {"completed"}
    assert overlaps(server.requests) == []


@pytest.mark.promise("MOD-1")
async def test_a_changed_agent_passes_the_strict_server_with_thinking(
    server: StrictClaude, claude: Claude, tmp_path: Path
) -> None:
    async with worker(tmp_path, claude) as r:
        await r.ask("e1")
        changed = Agent("support", model=MODEL, instructions="Be long.")
        assert (await StepRunner(r.journal, claude, [changed]).ask("e2")).stop == "end_turn"
        assert (await r.ask("e3")).stop == "end_turn"
        assert len(await r.entries("system.message")) == 2
    first, *rest = server.requests
    assert all(e.outcome == "completed" and e.body["tools"] == first.body["tools"] for e in rest)


@pytest.mark.promise("MOD-3")
async def test_a_broken_attempt_leaves_nothing_behind(server: StrictClaude, claude: Claude, tmp_path: Path) -> None:
    server.script(Answer("", (ToolCall("add", a=1, b=2),)))
    server.faults(Fault(kind="cut", at=-20))
    async with worker(tmp_path, claude) as r:
        with pytest.raises(ApplicationError) as failed:
            await r.ask()
        assert (failed.value.type, failed.value.non_retryable) == (names.OUTAGE, False)
        assert await r.entries("agent.message") == []
        assert (await r.ask(attempt=2)).stop in ("tool_use", "end_turn")


@pytest.mark.promise("EFF-8")
async def test_an_interrupt_closes_the_stream(server: StrictClaude, claude: Claude, tmp_path: Path) -> None:
    server.script(Answer("a b c d e f g h", delay=30))
    async with worker(tmp_path, claude) as r:
        made = environment(SESSION.turn("e1").step(0))
        task = asyncio.create_task(made.run(r.steps.call_model, ModelInput(event={"content": "hi"})))
        async with asyncio.timeout(WAIT):
            while not server.requests:
                await asyncio.sleep(0.01)
            made.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while server.requests[0].outcome == "open":
                await asyncio.sleep(0.01)
        assert server.requests[0].outcome == "aborted"
        await r.record(settle=["e1"])
        assert (await r.ask("e2")).stop == "end_turn"


async def test_many_sessions_at_once_share_one_client(server: StrictClaude, claude: Claude) -> None:
    requests = [request(f"canary {i}", user_id=f"acme/s{i}") for i in range(30)]
    answers = await asyncio.gather(*(claude.respond(r, nothing) for r in requests))
    for index, answer in enumerate(answers):
        assert f"canary {index}" in answer.content[-1]["text"]


def worker(tmp_path: Path, claude: Claude):  # type: ignore[no-untyped-def]
    """A worker's steps with one agent."""
    return rig(tmp_path, model=claude, agents=[Agent("support", model=MODEL, instructions="Be brief.", tools=[add])])


def test_the_transport_errors_are_those_of_the_sdk() -> None:
    assert issubclass(httpx2.ReadTimeout, httpx2.TransportError)

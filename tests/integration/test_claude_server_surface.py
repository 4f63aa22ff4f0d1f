"""What the strict Claude offers beside plain answers, through the real SDK: any block, summaries, counts, models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import CompactionBlockAmbiguousError, Message

from inturn.models.facts import MODELS
from inturn.testing import ClaudeProcess, StrictClaude
from inturn.testing.claude import Reply

MODEL = "claude-sonnet-5-5"
WEB: Any = {"type": "web_search_20260318", "name": "web_search", "max_uses": 2}
CITATION = {
    "type": "char_location",
    "cited_text": "a",
    "document_index": 0,
    "document_title": None,
    "file_id": None,
    "start_char_index": 0,
    "end_char_index": 1,
}


@pytest.fixture
async def client(server: StrictClaude) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=server.url, api_key="k", max_retries=0, timeout=httpx2.Timeout(10)) as made:
        yield made


async def said(client: AsyncAnthropic, messages: list[Any], **more: Any) -> Message:
    async with client.messages.stream(model=MODEL, max_tokens=1000, messages=messages, **more) as stream:
        return await stream.get_final_message()


async def test_every_kind_of_block_streams_and_goes_back_as_it_came(
    server: StrictClaude, client: AsyncAnthropic
) -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "first I search"},
        {"type": "redacted_thinking"},
        {"type": "text", "text": "Let me look.", "citations": None},
        {"type": "server_tool_use", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "content": []},
        {"type": "thinking", "thinking": "then I say it"},
        {"type": "text", "text": "It says a.", "citations": [CITATION]},
    ]
    server.script(Reply(content=blocks))
    asked: list[Any] = [{"role": "user", "content": "look"}]
    message = await said(client, asked, tools=[WEB])
    assert [block.type for block in message.content] == [block["type"] for block in blocks]
    last = message.content[-1]
    assert last.type == "text"
    assert last.citations is not None
    assert last.citations[0].cited_text == "a"
    assert message.usage.server_tool_use is not None
    assert message.usage.server_tool_use.web_search_requests == 1
    back = [block.to_dict() for block in message.content]
    again = await said(
        client,
        [*asked, {"role": "assistant", "content": back}, {"role": "user", "content": "thanks"}],
        tools=[WEB],
    )
    assert again.stop_reason == "end_turn"


async def test_why_an_answer_stopped_and_missed_the_cache_can_be_scripted(
    server: StrictClaude, client: AsyncAnthropic
) -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "no"}
    server.script(Reply(stop="refusal", stop_details=details))
    refused = await said(client, [{"role": "user", "content": "x"}])
    assert refused.stop_details is not None
    assert refused.stop_details.category == "cyber"
    first = await said(client, [{"role": "user", "content": "a"}], system="one")
    other = await said(
        client,
        [{"role": "user", "content": "a"}],
        system="two",
        diagnostics={"previous_message_id": first.id},
    )
    assert other.diagnostics is not None
    assert other.diagnostics.cache_miss_reason is not None
    assert other.diagnostics.cache_miss_reason.type == "system_changed"


async def test_a_conversation_is_summarised_on_demand_and_goes_on_behind_the_summary(client: AsyncAnthropic) -> None:
    asked: list[Any] = [{"role": "user", "content": "one"}]
    kept = await said(client, asked, system="s")
    summary = await client.beta.messages.create(
        model=MODEL,
        max_tokens=1000,
        messages=asked,
        system="s",
        compaction={"type": "summarize"},
        betas=["compact-2026-09-04"],
    )
    assert summary.stop_reason == "compaction"
    [block] = summary.content
    assert block.type == "compaction"
    messages: list[Any] = [
        {"role": "assistant", "content": [block.to_dict()]},
        {"role": "assistant", "content": [part.to_dict() for part in kept.content]},
        {"role": "user", "content": "and now?"},
    ]
    more: Any = {"model": MODEL, "max_tokens": 1000, "system": "s"}
    went_on = await client.beta.messages.create(messages=messages, betas=["compact-2026-09-04"], **more)
    assert went_on.stop_reason == "end_turn"
    with pytest.raises(anthropic.BadRequestError, match="beta header"):
        await client.beta.messages.create(messages=messages, **more)
    twice: list[Any] = [messages[0], messages[0], messages[2]]
    with pytest.raises(CompactionBlockAmbiguousError):
        await client.beta.messages.create(messages=twice, betas=["compact-2026-09-04"], **more)


async def test_tokens_are_counted_as_an_answer_counts_them(client: AsyncAnthropic) -> None:
    asked: list[Any] = [{"role": "user", "content": "hello " * 50}]
    counted = await client.messages.count_tokens(model=MODEL, messages=asked, system="s")
    answered = await said(client, asked, system="s")
    assert counted.input_tokens == answered.usage.input_tokens
    unknown: dict[str, Any] = {"max_tokens": 5}
    with pytest.raises(anthropic.BadRequestError, match="Extra inputs"):
        await client.messages.count_tokens(model=MODEL, messages=asked, extra_body=unknown)


async def test_models_are_listed_with_what_they_take(client: AsyncAnthropic) -> None:
    found = {model.id: model async for model in client.models.list()}
    assert found.keys() == MODELS.keys()
    older, newer = found["claude-haiku-4-5"].capabilities, found["claude-opus-5-5"].capabilities
    assert older is not None
    assert newer is not None
    assert not older.effort.supported
    assert older.thinking.types.enabled.supported
    assert not newer.thinking.types.disabled.supported
    assert found["claude-haiku-4-5"].max_tokens == 64_000
    assert (await client.models.retrieve("claude-haiku-4-5-20251001")).max_input_tokens == 200_000
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("claude-opus-9")


async def test_instructions_that_a_model_does_not_read_are_noted(server: StrictClaude, client: AsyncAnthropic) -> None:
    asked: list[Any] = [{"role": "user", "content": "x"}, {"role": "system", "content": "Be long."}]
    await client.messages.create(model="claude-sonnet-5", max_tokens=10, messages=asked)
    await client.messages.create(model=MODEL, max_tokens=10, messages=asked)
    assert [exchange.ignored for exchange in server.requests] == [1, 0]


@pytest.fixture(scope="module")
def process() -> Iterator[ClaudeProcess]:
    with ClaudeProcess() as started:
        yield started


async def test_an_address_that_expires_is_refused_from_then_on(process: ClaudeProcess) -> None:
    asked: list[Any] = [
        {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://a.example/b"}}]}
    ]
    async with AsyncAnthropic(base_url=process.url, api_key="k", max_retries=0) as client:
        await client.messages.create(model=MODEL, max_tokens=10, messages=asked)
        process.gone("https://a.example/b")
        with pytest.raises(anthropic.BadRequestError, match="Unable to download"):
            await client.messages.create(model=MODEL, max_tokens=10, messages=asked)


async def test_a_warmed_cache_is_read(client: AsyncAnthropic) -> None:
    asked: list[Any] = [{"role": "user", "content": "hello " * 50}]
    marked: Any = {"type": "ephemeral"}
    warmed = await client.messages.create(model=MODEL, max_tokens=0, messages=asked, cache_control=marked)
    assert (warmed.content, warmed.usage.output_tokens) == ([], 0)
    answered = await client.messages.create(model=MODEL, max_tokens=10, messages=asked, cache_control=marked)
    assert answered.usage.cache_read_input_tokens == warmed.usage.cache_creation_input_tokens

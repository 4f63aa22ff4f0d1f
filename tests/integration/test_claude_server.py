"""The strict Claude server through the real SDK: what it answers, how it fails, and what its log says."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message

from inturn.testing import Answer, ClaudeProcess, Fault, StrictClaude, ToolCall
from inturn.testing.claude import Exchange, overlaps

TOOLS: Any = [
    {"name": "add", "description": "Add.", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
]


class Asker:
    """A conversation through the real SDK."""

    def __init__(self, url: str, session: str = "t/s") -> None:
        self.client = AsyncAnthropic(base_url=url, api_key="test", max_retries=0, timeout=httpx2.Timeout(10))
        self.session = session
        self.messages: list[Any] = []

    async def __aenter__(self) -> Asker:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.client.close()

    async def ask(self, content: Any, **more: Any) -> Message:
        """Say something and keep the answer."""
        self.messages.append({"role": "user", "content": content})
        message = await self.once(self.messages, **more)
        self.messages.append({"role": "assistant", "content": [block.to_dict() for block in message.content]})
        return message

    async def once(self, messages: list[Any], **more: Any) -> Message:
        """Ask without keeping anything."""
        options: dict[str, Any] = {
            "model": "claude-sonnet-5-5",
            "max_tokens": 1000,
            "system": "Be brief.",
            "tools": TOOLS,
            "metadata": {"user_id": self.session},
            **more,
        }
        async with self.client.messages.stream(messages=messages, **options) as stream:
            return await stream.get_final_message()


@pytest.fixture
async def asker(server: StrictClaude) -> AsyncIterator[Asker]:
    async with Asker(server.url) as made:
        yield made


def text(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def calls(message: Message) -> list[Any]:
    return [block for block in message.content if block.type == "tool_use"]


async def ended(server: StrictClaude, number: int = -1) -> Exchange:
    """Wait until a request has ended."""
    async with asyncio.timeout(5):
        while not server.requests or server.requests[number].ended is None:
            await asyncio.sleep(0.005)
    return server.requests[number]


async def test_a_conversation_with_tools_passes_every_check(server: StrictClaude, asker: Asker) -> None:
    message = await asker.ask('hi [[tool add {"a": 1}]] [[tool add {"a": 2}]]')
    assert message.stop_reason == "tool_use"
    assert [call.input for call in calls(message)] == [{"a": 1}, {"a": 2}]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "ok"} for call in calls(message)]
    assert text(await asker.ask(results)) == "Results: add: ok; add: ok"
    assert text(await asker.ask("thanks")) == "You said: thanks"
    assert [e.outcome for e in server.requests] == ["completed"] * 3
    assert overlaps(server.requests) == []
    assert server.requests[0].session == "t/s"


async def test_without_streaming_the_answer_is_plain_json(asker: Asker) -> None:
    message = await asker.client.messages.create(
        model="claude-sonnet-5-5", max_tokens=100, messages=[{"role": "user", "content": "hi"}]
    )
    assert text(message) == "You said: hi"
    assert message.stop_reason == "end_turn"


async def test_newer_models_think_and_older_ones_when_asked(asker: Asker) -> None:
    asked: Any = [{"role": "user", "content": "hi"}]

    async def kinds(**more: Any) -> list[str]:
        return [block.type for block in (await asker.once(asked, **more)).content]

    assert await kinds() == ["thinking", "text"]
    assert await kinds(model="claude-sonnet-5", thinking={"type": "disabled"}) == ["text"]
    assert await kinds(model="claude-opus-4-6") == ["text"]
    assert await kinds(model="claude-opus-4-6", thinking={"type": "adaptive"}) == ["thinking", "text"]


@pytest.mark.parametrize("change", [{"system": "Be verbose."}, {"tools": []}])
async def test_a_changed_prefix_is_refused(asker: Asker, change: dict[str, Any]) -> None:
    await asker.ask("hi")
    with pytest.raises(anthropic.BadRequestError, match="bound to a different conversation") as refused:
        await asker.ask("again", **change)
    assert refused.value.type == "invalid_request_error"
    assert refused.value.request_id


async def test_an_orphan_call_is_refused_and_logged(server: StrictClaude, asker: Asker) -> None:
    await asker.ask("[[tool add]]")
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result` blocks"):
        await asker.ask("never mind")
    assert server.requests[-1].outcome == "rejected"
    assert "tool_result" in str(server.requests[-1].error)


async def test_a_call_that_the_model_invented_may_be_answered(asker: Asker) -> None:
    call = calls(await asker.ask("[[tool format_disk]]"))[0]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "unknown tool", "is_error": True}
    assert text(await asker.ask([result])) == "Results: format_disk failed: unknown tool"


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"anthropic-version": ""}, anthropic.BadRequestError),
        ({"Authorization": "Basic dXNlcg=="}, anthropic.AuthenticationError),
    ],
)
async def test_missing_headers_are_refused(asker: Asker, headers: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        await asker.once([{"role": "user", "content": "hi"}], extra_headers=headers)


async def test_a_script_answers_in_order_and_by_match(server: StrictClaude, asker: Asker) -> None:
    server.script("one", ToolCall("add", a=7))
    server.script(Answer("about tea", thinking="Tea..."), when="tea")
    server.script("for the other", session="t/other")
    assert text(await asker.once([{"role": "user", "content": "tea?"}])) == "one"
    assert calls(await asker.once([{"role": "user", "content": "x"}]))[0].input == {"a": 7}
    tea = await asker.once([{"role": "user", "content": "tea?"}])
    assert [getattr(b, "thinking", getattr(b, "text", None)) for b in tea.content] == ["Tea...", "about tea"]
    assert text(await asker.once([{"role": "user", "content": "x"}])) == "You said: x"


async def test_the_delay_spreads_the_stream(asker: Asker) -> None:
    began = time.monotonic()
    assert text(await asker.ask("slow [[delay 0.3]]")) == "You said: slow"
    assert 0.3 <= time.monotonic() - began < 3


FAULTS: list[tuple[str | Fault, type[Exception], dict[str, Any]]] = [
    ("429 retry_after=2", anthropic.RateLimitError, {"type": "rate_limit_error"}),
    ("529", anthropic.OverloadedError, {"type": "overloaded_error"}),
    ("500", anthropic.InternalServerError, {"type": "api_error"}),
    ("503", anthropic.ServiceUnavailableError, {}),
    ("504", anthropic.GatewayTimeoutError, {"type": "timeout_error"}),
    ("400", anthropic.BadRequestError, {}),
    ("401", anthropic.AuthenticationError, {}),
    ("402", anthropic.PaymentRequiredError, {"type": "billing_error"}),
    ("413", anthropic.ContentTooLargeError, {}),
    ("error", anthropic.APIStatusError, {"type": "overloaded_error", "status_code": 200}),
    ("error type=api_error", anthropic.APIStatusError, {"type": "api_error", "status_code": 200}),
    ("reset", httpx2.RemoteProtocolError, {}),
    ("reset at=0", httpx2.RemoteProtocolError, {}),
]


@pytest.mark.parametrize(("fault", "error", "attributes"), FAULTS, ids=[str(fault) for fault, _, _ in FAULTS])
async def test_a_fault_is_what_the_sdk_takes_it_for(
    server: StrictClaude, asker: Asker, fault: str, error: type[Exception], attributes: dict[str, Any]
) -> None:
    server.faults(fault)
    asked: list[Any] = [{"role": "user", "content": "one two three"}]
    with pytest.raises(error) as failed:
        await asker.once(asked)
    assert {name: getattr(failed.value, name) for name in attributes} == attributes
    assert server.requests[0].outcome == "faulted"
    assert text(await asker.once(asked)) == "You said: one two three"


async def test_the_spend_limit_is_told_from_a_rate_limit(server: StrictClaude, asker: Asker) -> None:
    server.faults("spend_limit")
    with pytest.raises(anthropic.RateLimitError) as failed:
        await asker.ask("hi")
    assert failed.value.error_code == "enforced_spend_limit_reached"


async def test_a_rate_limit_says_when_to_come_back(server: StrictClaude, asker: Asker) -> None:
    server.faults(Fault(status=429, retry_after=1.5, should_retry=True))
    with pytest.raises(anthropic.RateLimitError) as failed:
        await asker.ask("hi")
    assert failed.value.response.headers["retry-after"] == "1.5"
    assert failed.value.response.headers["x-should-retry"] == "true"


async def test_a_stream_can_be_cut_at_any_byte(server: StrictClaude, asker: Asker) -> None:
    """No cut may look whole: `message_stop` is missing in each of them."""
    server.script(["let me", ToolCall("add", a=12345)], times=None)
    whole = await _raw(asker)
    assert b"message_stop" in whole
    for at in [0, 1, *range(7, len(whole) - 20, 61), -30, -2]:
        server.faults(Fault(kind="cut", at=at))
        part = await _raw(asker)
        assert b'"type":"message_stop"}\n\n' not in part
        assert len(part) == (at if at >= 0 else len(whole) + at)
    assert {e.outcome for e in server.requests[1:]} == {"faulted"}


async def _raw(asker: Asker) -> bytes:
    """Return a stream's bytes. Ids differ from call to call, but not in length."""
    body = {"model": "claude-sonnet-5-5", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    response = await asker.client.post("/v1/messages", body={**body, "stream": True}, cast_to=httpx2.Response)
    return await response.aread()


async def test_a_cut_call_looks_whole_to_a_careless_client(server: StrictClaude, asker: Asker) -> None:
    """The trap that the server is here to lay: the SDK itself takes half of the arguments for all of them."""
    server.script(ToolCall("add", a=1, why="because of all the things that they said before"), times=None)
    server.faults(Fault(kind="cut", at=(await _raw(asker)).index(b"things")))
    message = await asker.once([{"role": "user", "content": "hi"}])
    assert message.stop_reason is None
    assert calls(message)[0].input["a"] == 1
    assert "before" not in str(calls(message)[0].input)


async def test_a_stall_goes_on_or_lasts_until_the_client_leaves(server: StrictClaude, asker: Asker) -> None:
    server.faults("stall seconds=0.2", "stall at=200")
    assert text(await asker.once([{"role": "user", "content": "hi"}])) == "You said: hi"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asker.once([{"role": "user", "content": "hi"}]), 0.3)
    assert (await ended(server)).outcome == "aborted"


async def test_a_hang_sends_no_headers(server: StrictClaude, asker: Asker) -> None:
    server.faults("hang seconds=0.2", "hang")
    assert text(await asker.once([{"role": "user", "content": "hi"}])) == "You said: hi"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asker.once([{"role": "user", "content": "hi"}]), 0.3)
    assert (await ended(server)).outcome == "aborted"


@pytest.mark.parametrize("stop", ["refusal", "max_tokens", "model_context_window_exceeded", "stop_sequence"])
async def test_answers_can_stop_for_any_reason(asker: Asker, stop: str) -> None:
    assert (await asker.ask(f"hi [[stop {stop}]]")).stop_reason == stop


async def test_max_tokens_in_the_middle_of_a_call_leaves_half_of_its_arguments(asker: Asker) -> None:
    message = await asker.ask('[[tool add {"a": 123456789}]] [[stop max_tokens]]')
    assert message.stop_reason == "max_tokens"
    assert calls(message)[0].input != {"a": 123456789}


async def test_a_paused_turn_is_sent_back_as_it_is_and_goes_on(asker: Asker) -> None:
    assert (await asker.ask("go [[stop pause_turn]]")).stop_reason == "pause_turn"
    message = await asker.once(asker.messages)
    assert (text(message), message.stop_reason) == ("Done.", "end_turn")
    with pytest.raises(anthropic.BadRequestError, match="prefill"):
        await asker.once([*asker.messages[:1], {"role": "assistant", "content": "my own words"}])


async def test_a_fault_in_the_text_happens_once(server: StrictClaude, asker: Asker) -> None:
    asked: list[Any] = [{"role": "user", "content": "hi [[fault 529]] [[fault error]]"}]
    for error in (anthropic.OverloadedError, anthropic.APIStatusError):
        with pytest.raises(error):
            await asker.once(asked)
    assert text(await asker.once(asked)) == "You said: hi"
    async with Asker(server.url, "t/other") as other:
        with pytest.raises(anthropic.OverloadedError):
            await other.once(asked)


async def test_the_cache_is_counted(asker: Asker) -> None:
    marked: Any = {"cache_control": {"type": "ephemeral"}}
    first = (await asker.ask("hi", **marked)).usage
    second = (await asker.ask("again", **marked)).usage
    assert (first.cache_read_input_tokens, first.input_tokens) == (0, 0)
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation_input_tokens


async def test_the_log_shows_overlapping_calls_of_one_session(server: StrictClaude, asker: Asker) -> None:
    slow: list[Any] = [{"role": "user", "content": "hi [[delay 0.3]]"}]
    async with Asker(server.url, "t/other") as other:
        await asyncio.gather(asker.once(slow), asker.once(slow), other.once(slow))
    found = overlaps(server.requests)
    assert [(a.session, b.session) for a, b in found] == [("t/s", "t/s")]


async def test_a_client_that_leaves_ends_its_request(server: StrictClaude, asker: Asker) -> None:
    asking = asyncio.create_task(asker.ask("hi [[delay 60]]"))
    async with asyncio.timeout(5):
        while not server.requests or server.requests[0].answer is None:
            await asyncio.sleep(0.005)
    asking.cancel()
    exchange = await ended(server)
    assert exchange.outcome == "aborted"
    assert exchange.ended is not None
    assert exchange.ended - exchange.began < 5


async def test_a_stopped_server_leaves_nothing_behind() -> None:
    async with StrictClaude() as server:
        asker = Asker(server.url)
        asking = asyncio.create_task(asker.ask("hi [[delay 60]]"))
        async with asyncio.timeout(5):
            while not server.requests or server.requests[0].answer is None:
                await asyncio.sleep(0.005)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    async with asker:
        with pytest.raises(httpx2.TransportError):
            await asking
        with pytest.raises(anthropic.APIConnectionError):
            await asker.ask("again")


async def test_reset_forgets_script_faults_log_and_cache(server: StrictClaude, asker: Asker) -> None:
    server.script("never")
    server.faults("529")
    server.reset()
    assert text(await asker.ask("hi")) == "You said: hi"
    assert len(server.requests) == 1


@pytest.fixture(scope="module")
def process() -> Iterator[ClaudeProcess]:
    with ClaudeProcess() as started:
        yield started


async def test_the_process_is_told_the_same_things(process: ClaudeProcess) -> None:
    process.reset()
    process.script(["one", ToolCall("add", a=1)], Answer("two", stop="refusal"), when="hi")
    process.faults("529", session="t/s")
    asked: list[Any] = [{"role": "user", "content": "hi"}]
    async with Asker(process.url) as asker:
        with pytest.raises(anthropic.OverloadedError):
            await asker.once(asked)
        assert calls(await asker.once(asked))[0].input == {"a": 1}
        assert (await asker.once(asked)).stop_reason == "refusal"
    assert [e.outcome for e in process.requests] == ["faulted", "completed", "completed"]
    assert process.requests[-1].body["system"] == "Be brief."
    process.reset()
    assert process.requests == []


def _http(url: str, body: bytes | None = None) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_test_paths_speak_http(process: ClaudeProcess) -> None:
    process.reset()
    assert _http(f"{process.url}/_test/script", b'["hi", {"text": "there", "when": "x"}]') == (200, {"waiting": 2})
    assert _http(f"{process.url}/_test/faults", b'["529", {"kind": "cut", "at": 5}]') == (200, {"waiting": 2})
    assert _http(f"{process.url}/_test/requests?session=t/s&after=0") == (200, {"requests": []})
    status, body = _http(f"{process.url}/_test/faults", b'["explode"]')
    assert status == 400
    assert "kind" in body["error"]["message"]
    assert _http(f"{process.url}/v1/nothing", b"{}")[0] == 404


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_program_says_where_it_listens_and_stops_at_a_signal(number: signal.Signals) -> None:
    command = (sys.executable, "-m", "inturn.testing.claude", "--port", "0")
    program = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert program.stdout is not None
    url = (await program.stdout.readline()).decode().split()[-1]
    async with Asker(url) as asker, asyncio.timeout(20):
        asking = asyncio.create_task(asker.ask("hi [[fault stall]]"))
        while not (await asyncio.to_thread(_http, f"{url}/_test/requests"))[1]["requests"]:
            await asyncio.sleep(0.01)
        program.send_signal(number)
        with pytest.raises((httpx2.TransportError, anthropic.APIConnectionError)):
            await asking
        assert await program.wait() == 0

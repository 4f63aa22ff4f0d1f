"""The strict Claude server's parts that need no server: cache, faults, script, log, streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inturn.testing import Answer, Fault, ToolCall
from inturn.testing.claude import Exchange, Reply, overlaps
from inturn.testing.claude.caching import Cache
from inturn.testing.claude.prefix import positions
from inturn.testing.claude.script import Queue, reply
from inturn.testing.claude.sending import Chunk, broken, paced
from inturn.testing.claude.streaming import encode, events

MARK = {"type": "ephemeral"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def asked(*texts: str, top: bool = True, model: str = "claude-sonnet-5-5") -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": said} for n, said in enumerate(texts)]
    system = [{"type": "text", "text": "Be brief. " * 20, "cache_control": MARK}]
    made: dict[str, Any] = {"model": model, "system": system, "messages": messages}
    return {**made, "cache_control": MARK} if top else made


def count(cache: Cache, body: dict[str, Any]) -> tuple[int, int, int]:
    usage = cache.count(body, positions(body))
    total = positions(body)[-1].tokens
    counted = (usage["input_tokens"], usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"])
    assert sum(counted) == total
    assert sum(usage["cache_creation"].values()) == counted[2]
    return counted


def test_a_growing_conversation_reads_what_it_wrote() -> None:
    cache = Cache()
    _, read, first = count(cache, asked("one"))
    assert read == 0
    plain, read, written = count(cache, asked("one", "two", "three"))
    assert (plain, read) == (0, first)
    assert written > 0


def test_another_session_reads_the_shared_system_prompt() -> None:
    cache = Cache()
    count(cache, asked("one"))
    assert count(cache, asked("other"))[1] == positions(asked("other"))[0].tokens


def test_an_altered_prefix_reads_nothing_behind_the_change() -> None:
    cache = Cache()
    count(cache, asked("one", "two", "three"))
    assert count(cache, asked("ONE", "two", "three"))[1] == positions(asked("x"))[0].tokens


def test_another_model_has_another_cache() -> None:
    cache = Cache()
    count(cache, asked("one"))
    assert count(cache, asked("one", model="claude-opus-5-5"))[1] == 0


def test_the_cache_expires_and_reading_renews_it() -> None:
    clock = Clock()
    cache = Cache(clock=clock)
    count(cache, asked("one"))
    clock.now = 250.0
    assert count(cache, asked("one"))[1] > 0
    clock.now = 500.0
    assert count(cache, asked("one"))[1] > 0
    clock.now = 801.0
    assert count(cache, asked("one"))[1] == 0


def test_without_markers_nothing_is_cached() -> None:
    cache = Cache()
    bare = {"model": "claude-sonnet-5-5", "messages": [{"role": "user", "content": "hi"}]}
    assert count(cache, bare)[1:] == count(cache, bare)[1:] == (0, 0)


def test_a_short_prompt_is_below_the_minimum() -> None:
    assert count(Cache(minimum=10_000), asked("one"))[1:] == (0, 0)


def test_the_lookback_ends_after_twenty_blocks() -> None:
    cache = Cache()
    first = asked("one", top=False)
    first["system"][0].pop("cache_control")
    first["messages"][0]["content"] = [{"type": "text", "text": "0", "cache_control": MARK}]
    count(cache, first)

    def later(blocks: int) -> dict[str, Any]:
        request = asked("one", top=False)
        request["system"][0].pop("cache_control")
        texts: list[dict[str, Any]] = [{"type": "text", "text": str(n)} for n in range(blocks)]
        texts[-1]["cache_control"] = MARK
        request["messages"][0]["content"] = texts
        return request

    assert count(cache, later(22))[1] == 0
    cache = Cache()
    count(cache, first)
    assert count(cache, later(21))[1] > 0


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ("529", {"kind": "status", "status": 529}),
        ("429 retry_after=2.5", {"status": 429, "retry_after": 2.5}),
        ("cut at=-10", {"kind": "cut", "at": -10}),
        ("stall seconds=3 times=2", {"kind": "stall", "seconds": 3.0, "times": 2}),
        ("error type=api_error", {"kind": "error", "type": "api_error"}),
        ("503 should_retry=false", {"status": 503, "should_retry": False}),
    ],
)
def test_faults_have_a_short_form(short: str, expected: dict[str, Any]) -> None:
    fault = Fault.model_validate(short)
    assert {key: getattr(fault, key) for key in expected} == expected


@pytest.mark.parametrize("short", ["", "200", "explode", "cut at=middle", "529 color=red", "stall seconds=-1"])
def test_a_fault_that_nobody_knows_is_refused(short: str) -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate(short)


def test_a_queue_gives_each_item_as_often_as_it_says() -> None:
    queue: Queue[Reply] = Queue()
    queue.extend([Reply(text="twice", times=2), Reply(text="always", times=None), Reply(text="never")])
    assert [found.text for _ in range(4) if (found := queue.take(None, ""))] == ["twice", "twice", "always", "always"]
    assert len(queue) == 2


def test_a_queue_gives_the_first_that_matches() -> None:
    queue: Queue[Reply] = Queue()
    queue.extend([Reply(text="a", when="apple"), Reply(text="s", session="t/s"), Reply(text="any")])
    assert [getattr(queue.take(*request), "text", None) for request in [(None, "x"), ("t/s", "x"), ("t/s", "x")]] == [
        "any",
        "s",
        None,
    ]
    assert getattr(queue.take("u", "an apple"), "text", None) == "a"


def test_whatever_a_script_holds_becomes_the_same_answer() -> None:
    call = ToolCall("add", a=1)
    answer = Answer("hm", (call,), "max_tokens", 1.5, "well")
    assert reply(answer).answer() == answer
    assert reply(["hm", call]).answer() == Answer("hm", (call,))
    assert reply("hm", when="x", times=3) == Reply(text="hm", when="x", times=3)
    assert reply(Reply(text="hm"), session="t/s").session == "t/s"
    with pytest.raises(ValidationError):
        reply(Reply(text="hm"), sesion="t/s")
    with pytest.raises(TypeError):
        reply([7])  # type: ignore[list-item]


def exchange(session: str | None, began: float, ended: float | None, **more: Any) -> Exchange:
    return Exchange(number=1, request_id="r", session=session, began=began, ended=ended, began_at=began, **more)


def test_calls_of_one_session_that_overlap_are_found() -> None:
    first, second, third = exchange("a", 0, 10), exchange("a", 1, 2), exchange("a", 9, 11)
    assert overlaps([third, first, second]) == [(first, second), (first, third)]
    assert overlaps([exchange("a", 0, None), exchange("a", 5, 6)])


def test_calls_that_do_not_overlap_are_not_found() -> None:
    others = [exchange("b", 0, 10), exchange(None, 0, 10), exchange(None, 1, 2)]
    refused = exchange("a", 1, 2, outcome="rejected")
    assert overlaps([exchange("a", 0, 1), exchange("a", 1, 2), refused, *others]) == []


def message(**more: Any) -> dict[str, Any]:
    content = [
        {"type": "thinking", "thinking": "well then", "signature": "s"},
        {"type": "text", "text": "one two three " * 50},
        {"type": "tool_use", "id": "a", "name": "add", "input": {"amount": 1234, "to": "me and you"}},
    ]
    blank: dict[str, Any] = {"stop_sequence": None, "stop_details": None, "usage": {"output_tokens": 9}}
    return {"type": "message", "content": content, "stop_reason": "tool_use", **blank, **more}


def joined(made: list[dict[str, Any]], index: int, key: str) -> str:
    deltas = [event["delta"] for event in made if event["type"] == "content_block_delta" and event["index"] == index]
    return "".join(delta.get(key, "") for delta in deltas)


def test_the_deltas_of_a_stream_join_to_the_message() -> None:
    made = events(message())
    assert joined(made, 0, "thinking") == "well then"
    assert joined(made, 1, "text") == "one two three " * 50
    assert json.loads(joined(made, 2, "partial_json")) == {"amount": 1234, "to": "me and you"}
    assert made[0]["type"] == "message_start"
    assert [event["type"] for event in made].count("message_stop") == 1
    assert made[-1]["type"] == "message_stop"
    assert len(made) < 100


def test_max_tokens_cuts_the_last_call_in_the_middle_of_its_arguments() -> None:
    made = events(message(stop_reason="max_tokens"))
    with pytest.raises(json.JSONDecodeError):
        json.loads(joined(made, 2, "partial_json"))


STREAM = [encode(event) for event in events(message())]


@given(st.integers(-5000, 5000), st.sampled_from([0.0, 3.0]))
def test_a_cut_leaves_exactly_the_bytes_before_it(at: int, delay: float) -> None:
    whole = b"".join(STREAM)
    fault = Fault(kind="cut", at=at)
    left = b"".join(chunk.data for chunk in broken(paced(STREAM, delay), fault, "r"))
    assert left == whole[: fault.place(len(whole))]


@given(st.integers(0, 5000))
def test_an_error_event_comes_at_a_boundary(at: int) -> None:
    sent = b"".join(chunk.data for chunk in broken(paced(STREAM, 1.0), Fault(kind="error", at=at), "r"))
    parts = sent.split(b"\n\n")
    assert parts[-1] == b""
    assert parts[-2].startswith(b"event: error\ndata: ")
    assert b"".join(STREAM).startswith(b"".join(part + b"\n\n" for part in parts[:-2]))


def test_a_stall_holds_back_the_rest() -> None:
    chunks = broken([Chunk(b"abcdef")], Fault(kind="stall", at=2, seconds=None), "r")
    assert chunks == [Chunk(b"ab"), Chunk(b"cdef", None)]

"""The transcript under any sequence of entries: what it gives is always a request that the API takes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inturn.journal.views.transcript import Transcript
from tests.support.journal import entry

CALLS = [f"c{n}" for n in range(4)]
EVENTS = st.sampled_from(["e1", "e2", "e3"])
TEXT = st.sampled_from(["", " ", "hi", "\n", "more"])
IMAGE: dict[str, Any] = {"type": "image", "source": {}}


def texts() -> st.SearchStrategy[dict[str, Any]]:
    return TEXT.map(lambda t: {"type": "text", "text": t})


USER_BLOCK = texts() | st.just(IMAGE) | st.just({"type": "tool_result", "tool_use_id": "c0"}) | st.just({"type": "?"})
AGENT_BLOCK = (
    texts()
    | st.just({"type": "thinking", "thinking": "hm", "signature": "s"})
    | st.sampled_from(CALLS).map(lambda c: {"type": "tool_use", "id": c, "name": "t", "input": {}})
    | st.just({"type": "unknown"})
)
STOP = st.sampled_from(["end_turn", "tool_use", "max_tokens", "refusal", "pause_turn", None])
STATUS = st.sampled_from(["ok", "error", "unknown", "denied", "interrupted", "timeout"])

ENTRY = st.one_of(
    st.tuples(
        st.just("user.message"), EVENTS, st.fixed_dictionaries({"content": TEXT | st.lists(USER_BLOCK, max_size=3)})
    ),
    st.tuples(
        st.just("agent.message"),
        EVENTS,
        st.fixed_dictionaries({"content": st.lists(AGENT_BLOCK, max_size=5), "stop": STOP}),
    ),
    st.tuples(
        st.just("agent.tool_result"),
        EVENTS,
        st.fixed_dictionaries(
            {"call_id": st.sampled_from(CALLS), "status": STATUS},
            optional={"text": TEXT, "content": st.lists(USER_BLOCK, max_size=2)},
        ),
    ),
    st.tuples(st.just("system.message"), EVENTS, st.fixed_dictionaries({"text": TEXT})),
    st.tuples(
        st.sampled_from(["turn.failed", "turn.interrupted", "turn.completed", "turn.started"]), EVENTS, st.just({})
    ),
    st.tuples(st.just("turn.interrupted"), EVENTS, st.fixed_dictionaries({"partial": st.sampled_from(["It", " "])})),
    st.tuples(st.just("ask"), EVENTS, st.fixed_dictionaries({"alone": st.booleans()})),
)
"""`ask` is no entry: there a model request is made, and the next answer says that it saw this much.

`alone`: without what other events had said, as the model refused that.
"""


def faults(messages: list[dict[str, Any]], *, paused: bool = False) -> list[str]:
    """What the API would refuse; `paused`: it may end with an answer that is to go on."""
    messages = merged(messages)
    found = ["begins with another role than user's"] if messages and messages[0]["role"] != "user" else []
    before: str | None = None
    calls: list[str] = []
    for index, message in enumerate(messages):
        goes_on = paused and message is messages[-1] and message["role"] == "assistant"
        found += [f"{index}: {fault}" for fault in message_faults(message, before) if not goes_on]
        if message["role"] != "system":
            found += [f"{index}: {fault}" for fault in pairing_faults(message, calls)]
            calls = [b["id"] for b in message["content"] if b["type"] == "tool_use" and not goes_on]
        before = message["role"]
    return [*found, *([f"{calls} unanswered at the end"] if calls else [])]


def merged(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge answers that stand in a row, as the API does."""
    made: list[dict[str, Any]] = []
    for message in messages:
        if made and made[-1]["role"] == message["role"] == "assistant":
            made[-1] = {**made[-1], "content": [*made[-1]["content"], *message["content"]]}
        else:
            made.append(message)
    return made


def message_faults(message: dict[str, Any], before: str | None) -> list[str]:
    role, content = message["role"], message["content"]
    rules = {
        "two user messages in a row": role == before == "user",
        "system message not behind a user's": role == "system" and before != "user",
        "empty": not content,
        "blank text": any(b["type"] == "text" and not b["text"].strip() for b in content),
        "ends in thinking": content[-1:] and content[-1]["type"] == "thinking",
    }
    return [name for name, broken in rules.items() if broken] + [f for b in content for f in result_faults(b)]


def pairing_faults(message: dict[str, Any], calls: list[str]) -> list[str]:
    """Results must answer the calls before them: all, once, first, in order; and no id may name two calls."""
    content = message["content"]
    if message["role"] == "assistant":
        ids = [b["id"] for b in content if b["type"] == "tool_use"]
        return [f"{calls} unanswered"] * bool(calls) + ["one id twice"] * (len(set(ids)) != len(ids))
    results = [b["tool_use_id"] for b in content if b["type"] == "tool_result"]
    first = [b.get("tool_use_id") for b in content[: len(calls)]]
    return [f"results {results} for calls {calls}"] * (results != calls or first != calls)


def result_faults(block: dict[str, Any]) -> list[str]:
    content = block.get("content")
    if block["type"] != "tool_result" or not isinstance(content, list):
        return []
    blank = any(b["type"] == "text" and not b["text"].strip() for b in content)
    odd = block.get("is_error") and any(b["type"] != "text" for b in content)
    return (["blank text in a result"] if blank else []) + (["an error with more than text"] if odd else [])


Steps = list[tuple[str, str, dict[str, Any]]]


@pytest.mark.promise("MOD-1", "MOD-2", "ORD-8")
@given(steps=st.lists(ENTRY, max_size=25))
@settings(max_examples=400, deadline=None)
def test_every_request_is_valid_and_none_changes_what_an_answered_one_held(steps: Steps) -> None:
    transcript, seq = Transcript(), 0
    asked: tuple[int, list[str], list[dict[str, Any]]] | None = None
    answered: list[dict[str, Any]] = []
    paused = False
    for type_, event_id, body in steps:
        if type_ == "ask":
            without = transcript.others(event_id) if body["alone"] else []
            asked = (transcript.seq, without, copy.deepcopy(transcript.request_messages(without=without)))
            assert faults(asked[2], paused=paused) == []
            continue
        seq += 1
        made = dict(body)
        if type_ == "agent.message" and asked:
            made |= {"seen": asked[0], "without": asked[1]}
        transcript.apply(entry(seq, type_, made, event_id))
        messages = transcript.request_messages()
        if type_ == "agent.message" and made["stop"] == "refusal":
            # Nothing of it is kept, nor of what paused before it.
            asked, paused, answered = None, False, copy.deepcopy(messages[: min(committed(messages), len(answered))])
        elif type_ == "agent.message":
            paused = made["stop"] == "pause_turn"
            if asked and asked[2]:
                assert messages[: len(asked[2])] == asked[2], "the answered request was not committed as it was sent"
                assert paused or messages[len(asked[2])]["role"] == "assistant"
            answered, asked = copy.deepcopy(messages[: committed(messages)]), None
        assert faults(messages, paused=paused) == []
        assert messages[: len(answered)] == answered, "what was answered has changed"


def committed(messages: list[dict[str, Any]]) -> int:
    """How many messages stand up to the last answer."""
    return max((index for index, m in enumerate(messages) if m["role"] == "assistant"), default=-1) + 1


@pytest.mark.promise("ORD-8")
@given(steps=st.lists(ENTRY, max_size=25), cuts=st.sets(st.integers(0, 25)))
@settings(max_examples=200, deadline=None)
def test_a_transcript_grown_in_pieces_is_the_one_read_at_once(steps: Steps, cuts: set[int]) -> None:
    entries = [entry(seq, t, b, e) for seq, (t, e, b) in enumerate(steps, 1) if t != "ask"]
    grown = Transcript()
    for index, made in enumerate(entries):
        if index in cuts:
            grown.request_messages()
        grown.apply(made)
    assert grown.request_messages() == Transcript(entries).request_messages()

"""What is kept of an answer can be sent back, whatever a model gave."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inturn.journal.log import codec
from inturn.keys import SessionKey
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.shapes import check_shape
from inturn.turns import arguments
from inturn.turns.answers import MAX_CALLS, KeptAnswer, keep

pytestmark = pytest.mark.promise("MOD-8", "MOD-9")

STEP = SessionKey("acme", "s1").turn("e1").step(0)
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}


def use(call: Any = "t1", name: Any = "pay", **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call, "name": name, "input": {"cents": 1}, **more}


def kept(content: Any, stop: Any = "tool_use", taken: Any = ()) -> KeptAnswer:
    return keep(content, stop, step=STEP, taken=set(taken), declared=["pay"])


def accepted(answer: KeptAnswer) -> bool:
    """Whether the API takes what is kept, by its shape."""
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": answer.content}]
    json.dumps(messages, allow_nan=False).encode()
    try:
        check_shape({"model": "claude-sonnet-5-5", "max_tokens": 1, "messages": messages})
    except Rejection as refusal:
        raise AssertionError(refusal.message) from None
    ids = [block["id"] for block in answer.content if block["type"] == "tool_use"]
    return len(set(ids)) == len(ids)


def test_what_can_be_sent_back_is_kept_as_it_came() -> None:
    content = [THOUGHT, {"type": "text", "text": "I'll"}, use()]
    answer = kept(content)
    assert (answer.content, answer.changed, answer.stop) == (content, False, "tool_use")
    [call] = answer.calls
    assert call.body(0) == {"call_id": "t1", "tool": "pay", "args": {"cents": 1}, "index": 0}


@pytest.mark.parametrize("name", ["do.it", "do it", "", "x" * 129, "käse", None, 5, ["pay"]])
def test_a_name_that_no_tool_can_have_is_said_as_text_and_ends_in_an_error(name: Any) -> None:
    answer = kept([use(name=name), use("t2")])
    assert accepted(answer)
    said, ran = answer.calls
    assert answer.content[0]["type"] == "text"
    assert answer.said == [said.id]
    assert said.error is not None
    assert "There is no tool" in said.error
    assert (ran.id, ran.error) == ("t2", None)


@pytest.mark.parametrize(
    "text",
    [
        '{"cents": 1,}',
        '{"cents": ',
        '{"note": "a\nb"}',
        '{"cents": ' + "9" * 5_000 + "}",
        '{"cents": NaN}',
        '{"cents": -Infinity}',
        '{"cents": 1, "cents": 500}',
        '{"a": ' * 300 + "1" + "}" * 300,
        '{"a": ' * 100_000,
        '{"note": "\\ud800"}',
        '{"\\udc00": 1}',
        '{"cents": 1e999}',
        '[["cents", 1]]',
        '"cents"',
        "null",
        "5",
        "cents=1",
    ],
)
def test_arguments_that_are_no_object_of_json_end_in_an_error_result(text: str) -> None:
    answer = kept([use(input=arguments.parse(text))])
    assert accepted(answer)
    [call] = answer.calls
    assert call.input == {}
    assert call.error is not None
    assert call.error.startswith("The arguments do not fit: ")
    assert len(call.error) < 300
    assert answer.stop == "tool_use"


@pytest.mark.parametrize(
    "value", [{"a": {"b": 10**5_000}}, {"a": math.nan}, {"a": {1, 2}}, {1: 2}, {"a": "\udfff"}, {"a": object()}, (1, 2)]
)
def test_a_value_that_no_json_has_ends_in_an_error_result(value: Any) -> None:
    answer = kept([use(input=value)])
    assert accepted(answer)
    assert [call.error is not None for call in answer.calls] == [True]


@pytest.mark.parametrize("own", ["", "a b", "x" * 65, "käse", None, 7, "toolu_1", "t1"])
def test_an_id_that_cannot_be_this_calls_alone_is_replaced_and_kept_beside(own: Any) -> None:
    answer = kept([use("t1"), use(own)], taken={"toolu_1"})
    assert accepted(answer)
    first, second = answer.calls
    assert (first.id, first.own_id) == ("t1", None)
    assert second.id.startswith("call_")
    assert second.own_id == str(own)
    again = keep([use("t1")], "tool_use", step=STEP.turn.step(1), taken={"t1", second.id}, declared=["pay"])
    redriven = STEP.session.turn("e1", redrive=1).step(0)
    once_more = keep([use(own)], "tool_use", step=redriven, taken={"t1", "toolu_1"}, declared=["pay"])
    assert len({second.id, again.calls[0].id, once_more.calls[0].id}) == 3


def test_a_name_made_by_us_that_is_taken_is_made_anew() -> None:
    made = kept([use("")]).calls[0].id
    assert kept([use("")], taken={made}).calls[0].id not in ("", made)


def test_of_too_many_calls_the_first_ones_run() -> None:
    answer = kept([use(f"t{n}") for n in range(5_000)])
    assert len(answer.calls) == MAX_CALLS
    assert answer.body()["ran"] == MAX_CALLS
    assert len(answer.content) == 5_000


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "text", "text": "hi", "new": 1},
        {"type": "text", "text": " "},
        {"type": "text"},
        {"type": "web_search_tool_result", "content": []},
        use(name="do.it"),
        use(input=[1]),
        use(new=1),
        {**THOUGHT, "signature": ""},
        {"type": "redacted_thinking"},
        "text",
        None,
    ],
)
def test_thinking_behind_a_block_that_was_changed_is_left_out(odd: Any) -> None:
    answer = kept([THOUGHT, odd, {"type": "text", "text": "so"}, THOUGHT, use("t2")])
    assert accepted(answer)
    assert [block["type"] for block in answer.content].count("thinking") == 1
    assert answer.content[0] == THOUGHT
    assert answer.changed


@pytest.mark.parametrize("stop", [None, "invented", 5, ["tool_use"], {}, ""])
def test_a_stop_reason_that_nobody_knows_runs_nothing(stop: Any) -> None:
    assert kept([use()], stop).stop == "unknown"


@pytest.mark.parametrize("content", [None, "text", 5, {}, [], [None], [[]], [{"type": ["text"]}], [{"type": {}}]])
def test_a_content_that_is_none_costs_nothing_but_itself(content: Any) -> None:
    answer = kept(content, "end_turn")
    assert (answer.content, answer.calls, answer.stop) == ([], [], "end_turn")


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["text", "tool_use"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "tool_use", "thinking", "redacted_thinking", "image", "new"]) | ANY},
    optional={name: ANY for name in ("text", "id", "name", "input", "thinking", "signature", "data", "citations")},
)


@given(content=st.lists(BLOCK | ANY, max_size=6) | ANY, stop=ANY)
@settings(max_examples=300, deadline=None)
def test_whatever_a_model_gives_what_is_kept_can_be_sent_and_stored(content: Any, stop: Any) -> None:
    answer = kept(content, stop)
    if answer.content:
        for block in answer.content:
            if isinstance(block.get("citations"), list):  # whether they are right, only the API knows
                del block["citations"]
            for name in ("caller", "toolset_name"):
                block.pop(name, None)
        assert accepted(answer)
    assert codec.copied(answer.body()) == answer.body()
    assert len({call.id for call in answer.calls}) == len(answer.calls)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(10**5_000, id="a long number"),
        pytest.param({"a": [10**9_000]}, id="within"),
        pytest.param(json.loads("[" * 900 + "]" * 900), id="deep"),
        pytest.param({10**5_000: 1}, id="as a name"),
        pytest.param({"a": math.inf}, id="infinite"),
    ],
)
def test_a_journal_can_store_any_number_and_any_depth(value: Any) -> None:
    assert codec.dumps(codec.loads(codec.dumps(value))) == codec.dumps(value)


def test_a_value_without_end_is_named_where_it_goes_too_deep() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "nested too deeply" in codec.dumps(endless)

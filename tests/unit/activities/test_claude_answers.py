"""An answer of Claude's that is whole is never thrown away for what its model wrote in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inturn.keys import SessionKey
from inturn.turns.answers import keep
from inturn_activities.model.claude_answer import Answer

STEP = SessionKey("acme", "s1").turn("e1").step(0)


def _input(*pieces: str) -> Any:
    """Return the input of the one call of an answer whose arguments stream in these pieces."""
    answer = Answer(request_id="req_1", on_delta=lambda *piece: None)
    call = {"type": "tool_use", "id": "toolu_1", "name": "pay", "input": {}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": call},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}
            for piece in pieces
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    for event in events:
        answer.take(json.dumps(event).encode())
    return answer.complete().content[0]["input"]


def _error(given: Any) -> str:
    """Return why a call with this input does not run."""
    block = {"type": "tool_use", "id": "toolu_1", "name": "pay", "input": given}
    (call,) = keep([block], "tool_use", step=STEP, taken=(), declared=["pay"]).calls
    assert call.error is not None
    return call.error


@pytest.mark.promise("MOD-9", "EFF-3")
@pytest.mark.parametrize(
    "written",
    [
        '{"cents": 1,}',
        '{"cents": ',
        "{'cents': 1}",
        '{"text": "a\nb"}',
        '{"cents": 1} and more',
        "NaN",
        '{"a": -Infinity}',
    ],
)
def test_arguments_that_are_no_json_come_as_they_were_written(written: str) -> None:
    assert _input(written[:4], written[4:]) == written
    assert _error(written).startswith("The arguments do not fit: they are no JSON")


@pytest.mark.promise("MOD-9", "EFF-3")
@pytest.mark.parametrize(
    "written", ['{"cents": ' + "9" * 5_000 + "}", '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000]
)
def test_numbers_and_depths_that_nobody_reads_come_as_they_were_written(written: str) -> None:
    assert _input(written) == written
    assert len(_error(written)) < 500


@pytest.mark.promise("MOD-9", "SEC-4")
def test_a_name_that_comes_twice_is_no_json_of_the_calls() -> None:
    written = '{"cents": 1, "cents": 99999}'
    assert _input(written) == written
    assert "twice" in _error(written)


@pytest.mark.promise("MOD-9")
@pytest.mark.parametrize(("written", "given"), [("", {}), ("  ", {}), ('{"cents": 1}', {"cents": 1}), ("[1]", [1])])
def test_arguments_that_are_json_are_what_they_say(written: str, given: Any) -> None:
    assert _input(written) == given

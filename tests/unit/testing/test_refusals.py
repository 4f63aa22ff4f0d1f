"""A model that refuses what is committed: `inturn.testing.run` looks into it as a worker does, and ends the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import Agent, names
from inturn.errors import ModelError
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import ScriptedModel, ToolCall, run
from inturn.tools import tool
from inturn_activities.messages import Decision
from tests.support.steps import StepRunner, rig

Refuses = Callable[[ModelRequest], str | None]


class Fussy(ScriptedModel):
    """Answers by rule, and refuses what it is told to once it is `armed`."""

    def __init__(self, refuses: Refuses) -> None:
        super().__init__()
        self.refuses = refuses
        self.armed = False
        self.asked: list[tuple[list[dict[str, Any]], int]] = []

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        self.asked.append(([dict(message) for message in request.messages], request.max_tokens))
        if self.armed and (why := self.refuses(request)):
            raise ModelError(why, kind="own")
        return await super().respond(request, on_delta)


def picture(n: int) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "url", "url": f"https://pictures.example/{n}.png"}}


@tool
async def show() -> list[dict[str, Any]]:
    """Show."""
    return [{"type": "text", "text": "see"}, picture(1)]


@tool
async def look() -> str:
    """Look."""
    return "seen"


def agent() -> Agent:
    return Agent("support", model="m", instructions="Be brief.", tools=[show, look])


def named(request: ModelRequest) -> str | None:
    for at, message in enumerate(request.messages):
        for n, block in enumerate(message["content"]):
            if "odd" in str(block):
                return f"400 messages.{at}.content.{n}: nobody knows"
    return None


def unnamed(request: ModelRequest) -> str | None:
    return "400 nobody knows" if "odd" in str(request.messages) else None


def named_whole(request: ModelRequest) -> str | None:
    at = next((at for at, message in enumerate(request.messages) if "odd" in str(message)), None)
    return None if at is None else f"400 messages.{at}: nobody knows"


def gone(request: ModelRequest) -> str | None:
    return "400 Unable to download the file at this url" if "pictures.example" in str(request.messages) else None


def after_results(request: ModelRequest) -> str | None:
    return unnamed(request) if "tool_result" in str(request.messages) else None


def too_long(request: ModelRequest) -> str | None:
    return "400 prompt is too long: 9 tokens > 8 maximum" if len(request.messages) > 4 else None


def huge(request: ModelRequest) -> str | None:
    return "400 prompt is too long: 9 tokens > 8 maximum" if "huge" in str(request.messages) else None


def all_of_it(request: ModelRequest) -> str | None:
    return "400 tools.0.custom.input_schema: bad"


def odd_and_huge(request: ModelRequest) -> str | None:
    return named(request) or huge(request)


@dataclass(frozen=True)
class Case:
    """What is said, turn by turn: at the last the model is armed. `goes_on`: it answers in the end."""

    refuses: Refuses
    said: Sequence[Any]
    goes_on: bool = True


PLAIN = ["one", "odd", "three", "four"]
ODD = [("odd " if n % 3 == 1 else "plain ") + str(n) for n in range(12)]
CASES = {
    "a_block_that_is_named": Case(named, PLAIN),
    "a_block_among_others": Case(named, [[{"type": "text", "text": each} for each in PLAIN], "and?"]),
    "a_message_that_is_named": Case(named_whole, PLAIN),
    "words_that_nothing_names": Case(unnamed, PLAIN),
    "more_than_one_search_finds": Case(unnamed, [*ODD[:6], "and?"]),
    "more_than_all_searches_find": Case(unnamed, [*ODD, "and?"], goes_on=False),
    "a_picture_that_is_gone": Case(gone, ["one", [picture(1)], "three"]),
    "a_tools_picture_that_is_gone": Case(gone, ["[[tool show {}]]", "two", "three"]),
    "a_call_of_an_earlier_turn": Case(named, ['[[tool look {"odd": 1}]]', "two"]),
    "what_the_turn_itself_had_said": Case(after_results, ["one", "odd [[tool look {}]]"]),
    "what_the_first_turn_itself_had_said": Case(after_results, ["odd [[tool look {}]]"]),
    "an_event_that_is_to_blame": Case(unnamed, ["one", "odd"], goes_on=False),
    "a_first_event_that_is_to_blame": Case(unnamed, ["odd"], goes_on=False),
    "a_conversation_that_is_too_long": Case(too_long, PLAIN),
    "an_event_that_is_too_large": Case(huge, ["one", "huge"], goes_on=False),
    "an_event_that_is_too_large_behind_a_finding": Case(odd_and_huge, ["odd", "huge"], goes_on=False),
    "an_agent_that_is_refused": Case(all_of_it, PLAIN, goes_on=False),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_refusal_ends_as_it_does_on_a_worker(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    kit, worker = Fussy(case.refuses), Fussy(case.refuses)
    failed = await by_kit(kit, case.said)
    truth = await by_worker(tmp_path, worker, case.said)
    assert kit.asked == worker.asked
    assert (failed is None) == (truth is None) == case.goes_on
    assert (failed or "") in (truth or "")


@pytest.mark.parametrize("said", ["odd", "odd [[tool look {}]]", "[[tool look {}]]"])
async def test_a_turn_that_failed_is_taken_back_as_on_a_worker(tmp_path: Path, said: str) -> None:
    def refuses(request: ModelRequest) -> str | None:
        return unnamed(request) if "tool" not in said else "400 no" if "'seen'" in str(request.messages) else None

    kit, worker = Fussy(refuses), Fussy(refuses)
    kit.armed = worker.armed = True
    messages: list[dict[str, Any]] = []
    await run(agent(), "one", model=kit, messages=messages)
    with pytest.raises(ModelError):
        await run(agent(), said, model=kit, messages=messages)
    await run(agent(), "three", model=kit, messages=messages)
    async with rig(tmp_path, model=worker, agents=[agent()]) as r:
        await _turn(r, "e1", "one")
        assert await _turn(r, "e2", said)
        await r.record(Decision(type="turn.failed", turn="e2", key="e2/end", disposition="parked"), settle=["e2"])
        assert await _turn(r, "e3", "three") is None
    assert kit.asked == worker.asked


async def by_kit(model: Fussy, said: Sequence[Any]) -> str | None:
    """Say it all in one conversation; return what the last turn failed of."""
    messages: list[dict[str, Any]] = []
    for content in said[:-1]:
        await run(agent(), content, model=model, messages=messages)
    model.armed = True
    try:
        await run(agent(), said[-1], model=model, messages=messages)
    except ModelError as error:
        return str(error)
    return None


async def by_worker(tmp_path: Path, model: Fussy, said: Sequence[Any]) -> str | None:
    """The same in one session."""
    async with rig(tmp_path, model=model, agents=[agent()]) as r:
        for n, content in enumerate(said):
            model.armed = n == len(said) - 1
            if failed := await _turn(r, f"e{n}", content):
                return failed
    return None


async def _turn(r: StepRunner, event_id: str, content: Any) -> str | None:
    step, attempt = 0, 1
    while True:
        try:
            result = await r.ask(event_id, content, step=step, attempt=attempt)
        except ApplicationError as error:
            if error.non_retryable or error.type == names.ACCOUNT:  # that is waited out for a day
                return error.message
            attempt += 1
            continue
        if result.stop != "tool_use":
            return None
        await r.tools(result, event_id, step)
        step, attempt = step + 1, 1


EARLIER: list[dict[str, Any]] = [
    {"role": "user", "content": "zero"},
    {"role": "assistant", "content": [{"type": "text", "text": "one"}]},
    {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "four"}}]},
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "five"},
            {"type": "text", "text": "six"},
        ],
    },
    {"role": "assistant", "content": "seven"},
]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven"]


@pytest.mark.parametrize("word", WORDS)
async def test_what_a_refusal_names_of_an_earlier_conversation_is_left_out_alone(word: str) -> None:
    def refuses(request: ModelRequest) -> str | None:
        for at, message in enumerate(request.messages):
            for n, block in enumerate(message["content"]):
                if word in str(block):
                    return f"400 messages.{at}.content.{n}: nobody knows"
        return None

    model, messages = Fussy(refuses), [dict(message) for message in EARLIER]
    model.armed = True
    turn = await run(agent(), "next", model=model, messages=messages)
    assert turn.text == "You said: next"
    assert len(model.asked) == 5, "the request, two of one token, one without what is named, and the request again"
    gone = {word} | ({"five"} if word == "four" else set())  # a call goes with its result
    assert [each for each in WORDS if each not in str(messages)] == [each for each in WORDS if each in gone]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 4


async def test_an_earlier_conversation_is_sent_in_the_form_that_the_api_takes() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "one"}, {"role": "assistant", "content": [call]}]
    model = ScriptedModel(["done"])
    await run(agent(), "two", model=model, messages=messages)
    sent = model.requests[0].messages[-1]["content"]
    assert [(block["type"], block.get("tool_use_id")) for block in sent] == [("tool_result", "t1"), ("text", None)]


async def test_a_refusal_stands_where_the_script_has_no_lines_for_the_search() -> None:
    for more in ([], ["hi"]):
        with pytest.raises(ModelError, match="nobody knows"):
            await run(agent(), "one", script=[ToolCall("look"), ModelError("nobody knows", kind="own"), *more])

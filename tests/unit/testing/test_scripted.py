"""The scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic_core import to_json

from inturn.models import Model, ModelRequest
from inturn.models import scripted_sizes as counting
from inturn.models.scripted import Entry, ScriptExhausted
from inturn.models.scripted_sizes import Sizes
from inturn.testing import Answer, ScriptedModel, ToolCall
from inturn.turns import tokens


def request(text: str = "hi") -> ModelRequest:
    return ModelRequest("claude-sonnet-5-5", "system", [{"role": "user", "content": text}])


async def ask(model: Model, asked: ModelRequest | None = None) -> tuple[list[dict[str, object]], str | None]:
    message = await model.respond(asked or request(), lambda *_: None)
    return message.content, message.stop_reason


async def test_without_a_script_it_echoes_for_ever() -> None:
    model = ScriptedModel()
    for _ in range(3):
        assert await ask(model) == ([{"type": "text", "text": "You said: hi"}], "end_turn")
    assert model.requests == []


async def test_its_answers_are_labelled_and_cost_nothing() -> None:
    message = await ScriptedModel().respond(request(), lambda *_: None)
    assert "scripted" in message.model
    assert message.usage.usd == 0
    assert message.usage.output_tokens > 0


async def test_a_script_is_followed_in_order() -> None:
    script: list[Entry] = [
        "one",
        ToolCall("a", x=1),
        ["two", ToolCall("b"), ToolCall("c")],
        Answer("three", stop="refusal"),
    ]
    model = ScriptedModel(script)
    contents = [await ask(model) for _ in script]
    assert [stop for _, stop in contents] == ["end_turn", "tool_use", "tool_use", "refusal"]
    assert [[b.get("name", b.get("text")) for b in content] for content, _ in contents] == [
        ["one"],
        ["a"],
        ["two", "b", "c"],
        ["three"],
    ]
    assert model.left == 0
    assert len(model.requests) == 4


async def test_an_error_in_the_script_is_raised() -> None:
    model = ScriptedModel([ConnectionError("down"), "up"])
    with pytest.raises(ConnectionError, match="down"):
        await ask(model)
    assert (await ask(model))[0] == [{"type": "text", "text": "up"}]


async def test_functions_of_the_request_answer() -> None:
    async def later(asked: ModelRequest) -> str:
        return f"later {asked.model}"

    model = ScriptedModel([lambda asked: ToolCall("a", n=len(asked.messages)), later])
    assert (await ask(model))[0][0]["input"] == {"n": 1}
    assert (await ask(model))[0][0]["text"] == "later claude-sonnet-5-5"


async def test_an_exhausted_script_says_so() -> None:
    model = ScriptedModel(["one"])
    await ask(model)
    with pytest.raises(ScriptExhausted, match="call 2"):
        await ask(model)


async def test_what_no_script_may_hold_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="a script has texts"):
        await ask(ScriptedModel([["text", 7]]))  # type: ignore[list-item]


async def test_call_ids_repeat_for_the_same_request_and_differ_otherwise() -> None:
    def ids(content: list[dict[str, object]]) -> list[object]:
        return [block["id"] for block in content]

    text = "[[tool a]] [[tool b]]"
    first, again = (await ask(ScriptedModel(), request(text)))[0], (await ask(ScriptedModel(), request(text)))[0]
    longer = ModelRequest(
        "m", "s", [*request("x").messages, {"role": "assistant", "content": "y"}, *request(text).messages]
    )
    assert ids(first) == ids(again)
    assert len({*ids(first), *ids((await ask(ScriptedModel(), longer))[0])}) == 4


async def test_text_streams_piece_by_piece_over_the_delay() -> None:
    heard: list[str] = []
    asked = request("a b c [[delay 0.2]]")
    answering = asyncio.create_task(ScriptedModel().respond(asked, lambda block, kind, text: heard.append(text)))
    async with asyncio.timeout(5):
        while not heard:
            await asyncio.sleep(0.005)
    assert not answering.done()
    await answering
    assert "".join(heard) == "You said: a b c"
    assert len(heard) > 2


def test_a_conversation_that_grows_is_counted_as_it_is() -> None:
    sizes, conversation = Sizes(), [{"role": "user", "content": "é" * 10}]
    assert sizes.of([]) == len(to_json([]))
    for turn in range(5):
        asked = [*conversation, {"role": "user", "content": f"pending {turn}"}, {"role": "system", "content": "note"}]
        assert sizes.of(asked) == len(to_json(asked))
        conversation += [{"role": "user", "content": f"taken {turn}"}, {"role": "assistant", "content": "x" * turn}]
        assert sizes.of(conversation) == len(to_json(conversation))
    for other in (conversation[:2], [conversation[0], *conversation[3:]], [dict(message) for message in conversation]):
        assert sizes.of(other) == len(to_json(other))


def test_of_a_conversation_that_grew_only_what_is_new_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, size_of = list[object](), tokens.sizes

    def sizes_counted(message: Mapping[str, Any]) -> tuple[int, int]:
        counted.append(message)
        return size_of(message)

    monkeypatch.setattr(tokens, "sizes", sizes_counted)
    sizes, conversation = Sizes(), [{"role": role, "content": "hi"} for role in ("user", "assistant") * 100]
    for _ in range(10):
        conversation += [{"role": role, "content": "more"} for role in ("user", "assistant")]
        sizes.of(conversation)
    assert len(counted) == 220
    for number in range(counting.REMEMBERED):
        sizes.of([{"role": "user", "content": str(number)}])
    sizes.of(conversation)
    assert len(counted) == 440 + counting.REMEMBERED, "it was forgotten for others"

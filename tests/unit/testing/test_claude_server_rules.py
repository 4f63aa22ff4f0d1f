"""What the strict Claude server refuses, and what it must not refuse."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from inturn.testing.claude import rules, signing
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.memory import Memory
from inturn.testing.claude.prefix import positions
from inturn.testing.claude.shapes import check_shape

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
MANUAL = "claude-sonnet-4-5"
"""A model that thinks when it is told how much."""


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def use(call_id: str, name: str = "add") -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": {}}


def result(call_id: str, content: Any = "3", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def body(*messages: Any, **more: Any) -> dict[str, Any]:
    tools = [{"name": "add", "input_schema": {"type": "object", "properties": {}}}]
    said = list(messages) or [{"role": "user", "content": "hi"}]
    return {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": said, "tools": tools, **more}


def check(request: dict[str, Any], *, window: int = 100_000) -> None:
    check_shape(request)
    line = positions(request)
    rules.check(request, line, memory=Memory(), window=window)
    signing.verify(line, request["model"])


CALLED = (user(text("hi")), assistant(use("a"), use("b")))

ACCEPTED = {
    "a text": body(),
    "a system prompt": body(system="Be brief."),
    "results in another order": body(*CALLED, user(result("b"), result("a"))),
    "results over two messages": body(*CALLED, user(result("a")), user(result("b"), text("and?"))),
    "text after the results": body(*CALLED, user(result("a"), result("b"), text("hurry"))),
    "an error result": body(*CALLED, user(result("a"), result("b", "broke", is_error=True))),
    "an empty result": body(*CALLED, user(result("a", ""), result("b", []))),
    "users in a row": body(user(text("one")), user(text("two"))),
    "a system message at the end": body(user(text("hi")), {"role": "system", "content": "new rules"}),
    "a system message before an answer": body(
        user(text("hi")), {"role": "system", "content": [text("new rules")]}, assistant(text("ok")), user(text("go"))
    ),
    "four markers": body(
        user(text("hi", cache_control=MARK)), system=[text("s", cache_control=HOUR)], cache_control=MARK
    ),
    "an image": body(user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}})),
    "adaptive thinking": body(thinking={"type": "adaptive"}),
    "everything that has a name": body(
        metadata={"user_id": "t/s"}, stop_sequences=["x"], service_tier="auto", output_config={"effort": "low"}
    ),
}


@pytest.mark.parametrize("request_body", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_valid_request_passes(request_body: dict[str, Any]) -> None:
    check(request_body)


REFUSED = {
    "no messages": (body(messages=[]), "at least one message"),
    "an unknown field": (body(temperature=1), "temperature: Extra inputs are not permitted"),
    "an unknown field of a message": (body({**user(text("x")), "name": "x"}), "Extra inputs are not permitted"),
    "an unknown field of a block": (body(user(text("x", n=1))), "Extra inputs are not permitted"),
    "an unknown field of a tool": (body(tools=[{"name": "a", "input_schema": {}, "x": 1}]), "Extra inputs"),
    "a missing field": ({"model": "claude-sonnet-5-5", "messages": []}, "max_tokens: Field required"),
    "a number as a string": (body(max_tokens="100"), "max_tokens: Input should be a valid integer"),
    "fewer tokens than none": (body(max_tokens=-1), "max_tokens"),
    "an unknown block": (body(user({"type": "video"})), "does not match any of the expected tags"),
    "an unknown role": (body({"role": "tool", "content": "x"}), "does not match any of the expected tags"),
    "a call by the user": (body(user(use("a"))), "does not match any of the expected tags"),
    "a marker on thinking": (
        body(user(text("x")), assistant({"type": "thinking", "thinking": "x", "signature": "", "cache_control": MARK})),
        "Extra inputs are not permitted",
    ),
    "another maker's model": (body(model="gpt-9"), "model: gpt-9"),
    "an assistant first": (body(assistant(text("x")), user(text("y"))), 'first message must use the "user" role'),
    "a prefilled answer": (body(user(text("x")), assistant(text("y"))), "assistant message prefill"),
    "no content": (body(user()), "non-empty content"),
    "an empty string": (body({"role": "user", "content": ""}), "non-empty content"),
    "an empty text": (body(user(text(""))), "text content blocks must be non-empty"),
    "a blank text": (body(user(text(" \n"))), "non-whitespace text"),
    "a blank string": (body({"role": "user", "content": " "}), "non-whitespace text"),
    "an empty text in a result": (body(*CALLED, user(result("a", [text("")]), result("b"))), "must be non-empty"),
    "an empty system prompt": (body(system=""), "system: text content blocks must be non-empty"),
    "an answer that ends in thinking": (
        body(user(text("x")), assistant({"type": "thinking", "thinking": "x", "signature": ""}), user(text("y"))),
        "final block in an assistant message cannot be `thinking`",
    ),
    "no result": (body(*CALLED, user(text("next"))), "`tool_use` ids were found without `tool_result` blocks"),
    "no message after the calls": (body(*CALLED), "immediately after: a, b"),
    "one result of two": (body(*CALLED, user(result("a"))), "immediately after: b"),
    "text before the results": (body(*CALLED, user(text("wait"), result("a"), result("b"))), "without `tool_result`"),
    "a late result": (
        body(*CALLED, user(result("a")), assistant(text("ok")), user(result("b"))),
        "without `tool_result` blocks immediately after: b",
    ),
    "a result of no call": (body(user(text("x"), result("z"))), "unexpected `tool_use_id`"),
    "a result of an earlier call": (
        body(*CALLED, user(result("a"), result("b")), assistant(text("ok")), user(result("a"))),
        "unexpected `tool_use_id`",
    ),
    "two results of one call": (body(*CALLED, user(result("a"), result("b"), result("a"))), "single result"),
    "an id used twice": (body(user(text("x")), assistant(use("a"), use("a")), user(result("a"))), "must be unique"),
    "an id used again": (
        body(*CALLED, user(result("a"), result("b")), assistant(use("a")), user(result("a"))),
        "must be unique",
    ),
    "an error without words": (body(*CALLED, user(result("a", "", is_error=True), result("b"))), "cannot be empty"),
    "an error with an image": (
        body(
            *CALLED,
            user(
                result("a", [{"type": "image", "source": {"type": "file", "file_id": "f"}}], is_error=True), result("b")
            ),
        ),
        "must be type `text`",
    ),
    "a call of an undeclared tool": (body(user(text("x")), assistant(use("a", "rm")), user(result("a"))), "'rm'"),
    "calls without any tools": (body(*CALLED, user(result("a"), result("b")), tools=[]), "does not define"),
    "two tools of one name": (body(tools=[{"name": "a", "input_schema": {"type": "object"}}] * 2), "must be unique"),
    "a tool without a schema": (body(tools=[{"name": "a", "input_schema": {}}]), "Input should be 'object'"),
    "a tool with choices at the top": (
        body(tools=[{"name": "a", "input_schema": {"type": "object", "anyOf": []}}]),
        "at the top level",
    ),
    "a bad tool name": (body(tools=[{"name": "a b", "input_schema": {"type": "object"}}]), "pattern"),
    "a choice without tools": (body(tools=[], tool_choice={"type": "auto"}), "while providing tools"),
    "a choice of no tool": (body(tool_choice={"type": "tool", "name": "x"}), "not found"),
    "a system message first": (body({"role": "system", "content": "x"}, user(text("y"))), "first message"),
    "a system message after an answer": (
        body(user(text("x")), assistant(text("y")), {"role": "system", "content": "z"}, user(text("w"))),
        "must follow a `user` message",
    ),
    "a system message before the user's": (
        body(user(text("x")), {"role": "system", "content": "z"}, user(text("w"))),
        "must follow a `user` message",
    ),
    "a system message between call and result": (
        body(*CALLED, {"role": "system", "content": "z"}, user(result("a"), result("b"))),
        "without `tool_result`",
    ),
    "a system message for an older model": (
        body(user(text("x")), {"role": "system", "content": "z"}, model="claude-sonnet-4-5"),
        "not supported on this model",
    ),
    "five markers": (
        body(
            user(*(text(str(n), cache_control=MARK) for n in range(3)), text("x")),
            system=[text("s", cache_control=MARK)],
            cache_control=MARK,
        ),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "a long marker after a short one": (
        body(user(text("x", cache_control=HOUR)), system=[text("s", cache_control=MARK)]),
        "must not come after",
    ),
    "a budget without thinking": (body(thinking={"type": "adaptive", "budget_tokens": 2000}), "goes with type"),
    "a small budget": (body(thinking={"type": "enabled", "budget_tokens": 10}, model=MANUAL), "1024"),
    "a budget over the limit": (
        body(thinking={"type": "enabled", "budget_tokens": 1024}, model=MANUAL),
        "must be greater than",
    ),
    "thinking that nobody signed": (
        body(
            user(text("x")),
            assistant({"type": "thinking", "thinking": "x", "signature": ""}, text("y")),
            user(text("z")),
        ),
        "Invalid `signature` in `thinking` block",
    ),
}


@pytest.mark.parametrize(("request_body", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_an_invalid_request_is_refused(request_body: dict[str, Any], message: str) -> None:
    with pytest.raises(Rejection) as refused:
        check(request_body)
    assert message in refused.value.message
    assert refused.value.status == (404 if request_body["model"] == "gpt-9" else 400)


def test_a_prompt_over_the_window_is_refused() -> None:
    with pytest.raises(Rejection, match="prompt is too long"):
        check(body(user(text("word " * 1000))), window=500)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"anthropic-version": "2026-10-21"}, 401),
        ({"anthropic-version": "2026-10-21", "authorization": "Basic x"}, 401),
        ({"authorization": "Bearer k"}, 400),
        ({"authorization": "Bearer k", "anthropic-version": "yesterday"}, 400),
    ],
)
def test_a_request_without_its_headers_is_refused(headers: dict[str, str], status: int) -> None:
    with pytest.raises(Rejection) as refused:
        rules.check_headers(headers)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("claude-sonnet-4-5", False),
        ("claude-opus-4-7-20260401", False),
        ("claude-3-5-sonnet-latest", False),
        ("claude-sonnet-5", True),
        ("claude-fable-5-2", True),
        ("claude-haiku-5-5", True),
    ],
)
def test_newer_models_think_unasked(model: str, thinks: bool) -> None:
    assert rules.thinks(body(model=model)) is thinks


def conversation() -> dict[str, Any]:
    """A conversation with one signed answer, and the question after it."""
    asked = body(user(text("hi")), system="Be brief.")
    signature = signing.sign(positions(asked)[-1].digest, "hm", asked["model"])
    thinking = {"type": "thinking", "thinking": "hm", "signature": signature}
    asked["messages"] += [assistant(thinking, text("yes?")), user(text("go"))]
    return asked


def test_what_nobody_altered_verifies() -> None:
    check(conversation())


def test_what_means_the_same_verifies() -> None:
    request = conversation()
    request["system"] = [text("Be brief.", cache_control=MARK)]
    request["messages"][0] = {"role": "user", "content": "hi"}
    request["cache_control"] = MARK
    request["max_tokens"] = 7
    check(request)


def _new_text(request: dict[str, Any]) -> None:
    request["messages"][0]["content"][0]["text"] = "ho"


def _more_text(request: dict[str, Any]) -> None:
    request["messages"][0]["content"].append(text("also"))


def _new_system(request: dict[str, Any]) -> None:
    request["system"] = "Be verbose."


def _new_tools(request: dict[str, Any]) -> None:
    request["tools"][0]["description"] = "Add two numbers."


def _no_tools(request: dict[str, Any]) -> None:
    request["tools"] = []


@pytest.mark.parametrize("alter", [_new_text, _more_text, _new_system, _new_tools, _no_tools])
def test_an_altered_prefix_is_refused(alter: Any) -> None:
    request = copy.deepcopy(conversation())
    alter(request)
    with pytest.raises(Rejection, match="bound to a different conversation"):
        check(request)


def test_altered_thinking_is_refused() -> None:
    request = conversation()
    request["messages"][1]["content"][0]["thinking"] = "haha"
    with pytest.raises(Rejection, match="Invalid `signature`"):
        check(request)

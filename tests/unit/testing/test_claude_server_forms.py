"""What the strict server refuses about forms of answers, and about containers in which code runs."""

from __future__ import annotations

from typing import Any

import pytest

from inturn.testing.claude.answering import Api
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.script import Reply

CLOSED: dict[str, Any] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
CODE: dict[str, Any] = {"type": "code_execution_20260521", "name": "code_execution"}
CALL: dict[str, Any] = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "code_execution", "input": {}}


def body(**more: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": "hi"}]
    return {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": said, **more}


def form(schema: Any, **more: Any) -> dict[str, Any]:
    return body(output_config={"format": {"type": "json_schema", "schema": schema}}, **more)


def fields(**properties: Any) -> dict[str, Any]:
    return {**CLOSED, "properties": properties, "required": list(properties)}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a model without forms": (form(CLOSED, model="claude-sonnet-4"), "not supported on this model"),
    "an open object": (form({"type": "object", "properties": {}}), "additionalProperties"),
    "an open object within": (form(fields(a={"type": "object", "properties": {}})), "additionalProperties"),
    "a bound": (form(fields(a={"type": "integer", "minimum": 1})), "'minimum' is not supported"),
    "a pattern": (form(fields(a={"type": "string", "pattern": "x"})), "'pattern' is not supported"),
    "a format of ours": (form(fields(a={"type": "string", "format": "colour"})), "format 'colour'"),
    "many items": (form(fields(a={"type": "array", "items": {"type": "string"}, "minItems": 2})), "minItems"),
    "itself": (
        form({**fields(a={"$ref": "#/$defs/A"}), "$defs": {"A": fields(b={"$ref": "#/$defs/A"})}}),
        "recursive",
    ),
    "much that is optional": (
        form({**CLOSED, "properties": {f"f{n}": {"type": "string"} for n in range(25)}}),
        "at most 24",
    ),
    "many unions": (form(fields(**{f"f{n}": {"type": ["string", "null"]} for n in range(17)})), "at most 16"),
    "a container without code": (body(container="container_1"), "code execution tool"),
    "a container of nobody": (body(container="container_1", tools=[CODE]), "not found"),
    "a container of nobody, in full": (body(container={"id": "container_1"}, tools=[CODE]), "not found"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    given, why = REFUSED[name]
    with pytest.raises(Rejection, match=why):
        Api().judge(given)


TAKEN: dict[str, dict[str, Any]] = {
    "no fields": form(CLOSED),
    "every type": form(
        fields(
            a={"type": "string", "format": "date"},
            b={"anyOf": [{"type": "integer"}, {"type": "null"}]},
            c={"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 1},
            d=fields(e={"const": 1}),
            minimum={"type": "integer"},
        )
    ),
    "a definition": form({**fields(a={"$ref": "#/$defs/A"}), "$defs": {"A": fields(pattern={"type": "string"})}}),
}


@pytest.mark.parametrize("name", TAKEN)
def test_it_is_taken(name: str) -> None:
    Api().judge(TAKEN[name])


@pytest.mark.parametrize(
    "schema", [{"properties": 5, "required": [{}]}, {"$ref": 7}, {"anyOf": {}}, {"enum": []}, {"type": {}}], ids=repr
)
def test_whatever_a_schema_is_the_server_does_not_fail(schema: Any) -> None:
    api = Api()
    try:
        asked = api.judge(form(schema))
    except Rejection:
        return
    message, _ = api.answer(asked)
    assert message["stop_reason"] == "end_turn"


def test_code_that_waits_for_its_end_names_its_container() -> None:
    api = Api()
    first, _ = _answered(api, body(tools=[CODE]), [CALL], stop="pause_turn")
    again = body(tools=[CODE], messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": [CALL]}])
    with pytest.raises(Rejection, match="container_id is required"):
        api.judge(again)
    api.judge({**again, "container": first["container"]["id"]})
    api.memory.lose([first["container"]["id"]])
    with pytest.raises(Rejection, match="has expired"):
        api.judge({**again, "container": first["container"]["id"]})


def _answered(api: Api, asked: dict[str, Any], content: list[Any], **more: Any) -> tuple[dict[str, Any], float]:
    api.replies.extend([Reply(content=content, **more)])
    return api.answer(api.judge(asked))

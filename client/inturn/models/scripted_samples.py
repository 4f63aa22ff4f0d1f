"""What a model without a mind says where its answer has to have a form, or to call a tool.

Invariant: it depends on the schema alone, and fits it as far as a schema without patterns says what fits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import to_json

from inturn.models.scripted_answers import Answer, ToolCall
from inturn.models.settings import ModelSettings

MAX_DEPTH: Final = 20
MOST: Final = 100
"""Items of a list, and characters of a text, that are made because a schema asks for them."""
_TEXTS: Final = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "scripted@example.com",
    "hostname": "example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_PLAIN: Final[dict[str, Any]] = {"boolean": False, "null": None, "integer": 0, "number": 0}


def obeying(answer: Answer, settings: ModelSettings, tools: Sequence[Mapping[str, Any]]) -> Answer:
    """Return an answer by rule as the settings of its request ask for it."""
    ours = [tool for tool in tools if "input_schema" in tool]
    calls = answer.calls if settings.tool_choice != "none" else ()
    if settings.forces and not calls:
        forced = [tool for tool in ours if settings.tool_choice in ("any", tool["name"])]
        calls = tuple(ToolCall.of(tool["name"], sample(tool["input_schema"])) for tool in forced[:1])
    if not settings.parallel:
        calls = calls[:1]
    text = answer.text
    if settings.output is not None and not calls and not _is_object(text):
        text = to_json(sample(settings.output)).decode()
    return dataclasses.replace(answer, text=text, calls=calls)


def sample(schema: Any) -> Any:
    """Return a value that fits a JSON schema."""
    return _sample(schema, schema, MAX_DEPTH)


def _sample(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth == 0:
        return None
    part = _resolved(schema, root)
    for name in ("anyOf", "oneOf", "allOf"):
        if choices := _list(part.get(name)):
            return _sample(choices[0], root, depth - 1)
    if "const" in part:
        return part["const"]
    if values := _list(part.get("enum")):
        return values[0]
    if "default" in part:
        return part["default"]
    return _by_type(part, root, depth)


def _by_type(part: dict[str, Any], root: Any, depth: int) -> Any:
    kind = part.get("type")
    if kind == "object":
        properties = _mapping(part.get("properties"))
        required = [name for name in _list(part.get("required")) if isinstance(name, str) and name in properties]
        return {name: _sample(properties[name], root, depth - 1) for name in required}
    if kind == "array":
        return [_sample(part.get("items"), root, depth - 1)] * _count(part.get("minItems"))
    if kind == "string":
        return _TEXTS.get(str(part.get("format")), "scripted").ljust(_count(part.get("minLength")), ".")
    return part["minimum"] if kind in ("integer", "number") and "minimum" in part else _PLAIN.get(str(kind))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    return min(value, MOST) if isinstance(value, int) and value > 0 else 0


def _resolved(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    for _ in range(MAX_DEPTH):
        if "$ref" not in schema:
            break
        name = str(schema["$ref"]).rpartition("/")[2]
        schema = _mapping(_mapping(_mapping(root).get("$defs")).get(name))
    return schema


def _is_object(text: str) -> bool:
    return text.startswith("{") and text.endswith("}")

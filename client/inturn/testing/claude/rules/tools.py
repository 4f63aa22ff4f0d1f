"""Rules about tools: their schemas, strict and deferred ones, and the choice among them."""

from __future__ import annotations

import re
from typing import Any, Final

from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.rules.asked import Asked
from inturn.testing.claude.rules.schemas import freedom

MAX_STRICT: Final = 20
MAX_OPTIONAL: Final = 24
"""Optional parameters of all strict tools together."""
MAX_UNIONS: Final = 16
"""Parameters with a union type of all strict tools together."""

_PROPERTY: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")

Tool = dict[str, Any]


def definitions(asked: Asked) -> None:
    """Names are unique, and a schema is an object's with keys that the API takes."""
    tools = asked.body.get("tools") or []
    names = [tool["name"] for tool in tools if tool.get("name")]
    if len(set(names)) < len(names):
        raise Rejection("tools: Tool names must be unique.")
    for index, tool in enumerate(tools):
        if "input_schema" in tool:
            _schema(tool["input_schema"], f"tools.{index}.custom.input_schema")


def strict(asked: Asked) -> None:
    """Strict tools are few, closed, and not too free."""
    tools = [tool for tool in asked.body.get("tools") or [] if tool.get("strict") and "input_schema" in tool]
    if len(tools) > MAX_STRICT:
        raise Rejection(f"tools: at most {MAX_STRICT} strict tools are allowed, found {len(tools)}")
    optional = unions = 0
    for tool in tools:
        found = freedom(tool["input_schema"])
        optional, unions = optional + found.optional, unions + found.unions
        if found.recursive:
            raise Rejection(f"tools: strict tool '{tool['name']}' has a recursive schema")
        if found.open:
            raise Rejection(
                f"tools: strict tool '{tool['name']}': for 'object' type, 'additionalProperties' "
                "must be explicitly set to false"
            )
    if optional > MAX_OPTIONAL:
        raise Rejection(f"tools: strict tools have {optional} optional parameters, at most {MAX_OPTIONAL} are allowed")
    if unions > MAX_UNIONS:
        raise Rejection(
            f"tools: strict tools have {unions} parameters of union types, at most {MAX_UNIONS} are allowed"
        )


def deferred(asked: Asked) -> None:
    """Some tool is there from the start."""
    tools = asked.body.get("tools") or []
    if tools and all(tool.get("defer_loading") for tool in tools):
        raise Rejection("tools: At least one tool must have defer_loading=false.")


def choice(asked: Asked) -> None:
    """A choice is among tools that are there, and forces a call only where the model takes that."""
    tools, chosen = asked.body.get("tools") or [], asked.body.get("tool_choice")
    if not chosen:
        return
    if not tools:
        raise Rejection("tool_choice: may only be specified while providing tools")
    if chosen["type"] == "tool" and chosen["name"] not in [tool.get("name") for tool in tools]:
        raise Rejection(f"tool_choice: Tool '{chosen['name']}' not found in provided tools")
    if chosen["type"] in ("any", "tool") and not asked.facts.forced_tools:
        raise Rejection(f"tool_choice: type '{chosen['type']}' is not supported on this model")


def _schema(schema: dict[str, Any], where: str) -> None:
    if schema.get("type") != "object":
        raise Rejection(f"{where}.type: Input should be 'object'")
    if {"oneOf", "allOf", "anyOf"} & schema.keys():
        raise Rejection(f"{where}: does not support oneOf, allOf, or anyOf at the top level")
    properties = schema.get("properties")
    if properties is not None and not isinstance(properties, dict):
        raise Rejection(f"{where}.properties: Input should be a valid dictionary")
    if any(not _PROPERTY.fullmatch(key) for key in properties or ()):
        raise Rejection(f"{where}.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{{1,64}}$'")

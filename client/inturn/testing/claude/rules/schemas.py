"""What a JSON schema leaves open: the API holds an answer, or a strict tool's input, to one that leaves little.

Invariant: it only looks, and takes any JSON for a schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_INSIDE: Final = ("properties", "$defs", "definitions")
_LITERAL: Final = ("enum", "const", "default", "examples", "required")
"""Values, not schemas."""


@dataclass(frozen=True, slots=True)
class Freedom:
    """What a schema leaves open.

    Attributes:
        optional: How many properties may be left out.
        unions: How many parts are of several types.
        open: Some object takes properties that it does not name.
        recursive: Some definition holds itself.
    """

    optional: int
    unions: int
    open: bool
    recursive: bool


def freedom(schema: dict[str, Any]) -> Freedom:
    """Return what a schema leaves open."""
    found = list(parts(schema))
    return Freedom(
        optional=sum(len(_properties(part).keys() - _required(part)) for part in found),
        unions=sum("anyOf" in part or isinstance(part.get("type"), list) for part in found),
        open=any(part.get("type") == "object" and part.get("additionalProperties") is not False for part in found),
        recursive=any(isinstance(part.get("$ref"), str) and _recurses(schema, part["$ref"]) for part in found),
    )


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all schemas within it."""
    if isinstance(schema, dict):
        yield schema
        for name, value in schema.items():
            if name in _INSIDE and isinstance(value, dict):
                for inner in value.values():
                    yield from parts(inner)
            elif name not in _LITERAL:
                yield from parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from parts(value)


def _properties(part: dict[str, Any]) -> dict[str, Any]:
    named = part.get("properties")
    return named if isinstance(named, dict) else {}


def _required(part: dict[str, Any]) -> set[str]:
    named = part.get("required")
    return {name for name in named if isinstance(name, str)} if isinstance(named, list) else set()


def _recurses(root: dict[str, Any], ref: str) -> bool:
    """Return whether a definition holds a reference to itself."""
    seen: set[str] = set()
    left = [ref]
    while left:
        current = left.pop()
        target: Any = root
        for part in current.removeprefix("#").strip("/").split("/"):
            target = target.get(part, {}) if part and isinstance(target, dict) else target
        found = {inner["$ref"] for inner in parts(target) if isinstance(inner.get("$ref"), str)}
        if ref in found:
            return True
        left += found - seen
        seen |= found
    return False

"""What a model wrote as a call's arguments.

Invariant: a mistake of the model's is found here, once, and named for the model; what passes can be stored, hashed,
sent back and shown by whatever reads JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, cast

from inturn.events import MAX_NESTING
from inturn.journal.log import codec


def parse(text: str) -> Any:
    """Return what the text of a call's arguments says; the text itself where it is no JSON."""
    try:
        return _loaded(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return text


def fault(value: object) -> str | None:
    """Return why a value cannot be a call's input; `None` where it can."""
    if isinstance(value, str):
        return f"they are no JSON ({_reason(value)})"
    if not isinstance(value, dict):
        return "they are no object"
    return _fault(cast("object", value), MAX_NESTING)


def _loaded(text: str) -> Any:
    return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)


def _reason(text: str) -> str:
    try:
        _loaded(text)
    except json.JSONDecodeError as error:
        return str(error)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return str(error)[:100]
    return "they are a text"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON's")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return made


def _fault(value: object, depth: int) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return None if codec.whole(value) == value else "a text holds half a character"
    if isinstance(value, int):
        return None if value.bit_length() <= codec.MAX_BITS else "a number is too long"
    if isinstance(value, float):
        return None if math.isfinite(value) else "a number is not finite"
    if not isinstance(value, dict | list):
        return f"they hold a {type(value).__name__}"
    if depth == 0:
        return f"they nest deeper than {MAX_NESTING} levels"
    inside = [*value, *value.values()] if isinstance(value, dict) else value
    if isinstance(value, dict) and not all(isinstance(name, str) for name in value):
        return "a name is no text"
    return next((found for item in inside if (found := _fault(item, depth - 1))), None)

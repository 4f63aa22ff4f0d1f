"""The form that an agent's answers have: a pydantic model.

Invariant: a model is refused where it is declared that no API could hold an answer to; and what a turn gives out fits
the model, or is nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from pydantic import BaseModel, RootModel, ValidationError

from inturn.journal.log import codec
from inturn.turns.blocks import Block

MAX_OPTIONAL: Final = 24
"""Fields in all that may be left out."""
MAX_UNIONS: Final = 16
"""Fields in all that are of several types."""
MAX_ERROR: Final = 2_000
"""Characters of what the model is told of an answer that does not fit."""

_KEY: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_SAYS_WHAT: Final = frozenset({"type", "anyOf", "oneOf", "allOf", "$ref", "enum", "const"})
_ASKED: Final = "Your answer does not fit the form that it has to have: {}\nAnswer again, in that form alone."


def schema_of(model: object) -> dict[str, Any]:
    """Return the JSON schema of a pydantic model that answers have to fit.

    Raises:
        ValueError: It is none, or one that no answer can be held to.
    """
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or issubclass(model, RootModel):
        raise ValueError(f"output={model!r:.60} is no pydantic model with fields")
    try:
        schema = model.model_json_schema()
    except Exception as error:  # whatever a field's author got wrong
        raise ValueError(f"output={model.__name__} has no JSON schema: {error}") from error
    if not schema.get("properties"):
        raise ValueError(f"output={model.__name__} refers to itself, or has no fields: {_NOT_HELD}")
    optional = unions = 0
    for place, part in _parts(schema, model.__name__):
        _check(part, place)
        optional += len(part.get("properties", {}).keys() - set(part.get("required", ())))
        unions += "anyOf" in part or "oneOf" in part or isinstance(part.get("type"), list)
    if _recurses(schema):
        raise ValueError(f"output={model.__name__} refers to itself: {_NOT_HELD}")
    if optional > MAX_OPTIONAL:
        raise ValueError(f"output={model.__name__} has {optional} fields that may be left out: {MAX_OPTIONAL} at most")
    if unions > MAX_UNIONS:
        raise ValueError(f"output={model.__name__} has {unions} fields of several types: {MAX_UNIONS} at most")
    return schema


_NOT_HELD: Final = "no answer can be held to that"


def fitting(model: type[BaseModel], answer: Sequence[Block], before: str = "") -> Any:
    """Return what an answer says in the form of a model, as JSON.

    Args:
        model: The form.
        answer: The answer's blocks.
        before: What answers said that it goes on from.

    Raises:
        ValueError: It does not fit; says why.
    """
    texts = [str(block.get("text") or "") for block in answer if block.get("type") == "text"]
    whole = before + "".join(texts)
    error: Exception | None = None
    for said in dict.fromkeys((whole, *texts[-1:])):  # what comes before a tool's use is talk
        try:
            return codec.copied(model.model_validate_json(said).model_dump(mode="json"))
        except Exception as wrong:  # a validator of the user's may raise anything
            error = error or wrong
    raise ValueError(_why(error))


def correction(why: object) -> str:
    """Return what the model is told of an answer that does not fit."""
    return _ASKED.format(codec.whole(str(why))[:MAX_ERROR])


def _why(error: Exception | None) -> str:
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {error}"
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in wrong)


def _parts(schema: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a schema and all within it that are schemas, with where they stand."""
    if not isinstance(schema, dict):
        return
    part = cast("dict[str, Any]", schema)
    yield place, part
    for name in ("properties", "$defs"):
        for key, inner in part.get(name, {}).items():
            yield from _parts(inner, f"{place}.{key}")
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for inner in part.get(name, ()):
            yield from _parts(inner, place)
    yield from _parts(part.get("items"), f"{place}[]")


def _check(part: Mapping[str, Any], place: str) -> None:
    if not _SAYS_WHAT & part.keys():
        raise ValueError(f"output={place} may be anything: say of what type it is")
    if part.get("type") == "object" and "properties" not in part:
        raise ValueError(f"output={place} is a mapping of any keys: name its fields by a model")
    if part.get("type") == "array" and not isinstance(part.get("items"), dict):
        raise ValueError(f"output={place} is a list of anything, or a tuple: say of what, list[str] for one")
    if keys := [key for key in part.get("properties", {}) if not _KEY.fullmatch(key)]:
        raise ValueError(f"output={place} has a field {keys[0]!r}: letters, digits and _.- only, 1 to 64 of them")
    if any(value is not None and not isinstance(value, str | int | float | bool) for value in part.get("enum", ())):
        raise ValueError(f"output={place} is one of values that are no texts, numbers or truths")


def _recurses(schema: Mapping[str, Any]) -> bool:
    """Return whether a definition holds itself."""
    definitions: dict[str, Any] = schema.get("$defs", {})
    uses = {name: set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(inner))) for name, inner in definitions.items()}
    while uses:
        ends = [name for name, used in uses.items() if not used & uses.keys()]
        if not ends:
            return True
        for name in ends:
            del uses[name]
    return False

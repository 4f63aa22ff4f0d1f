"""Whether checking arguments runs nothing but pydantic's own code.

Invariant: what is not known to be plain is not; it is then checked in a thread, which costs a tenth of a millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

_LEAVES: Final = frozenset(
    {"any", "none", "bool", "int", "float", "str", "bytes", "date", "time", "datetime", "timedelta", "literal"}
    | {"uuid", "url", "decimal", "definition-ref"}
)
_NODES: Final = frozenset(
    {"nullable", "default", "list", "tuple", "set", "frozenset", "dict", "union", "tagged-union", "definitions"}
    | {"typed-dict", "typed-dict-field", "model", "model-fields", "model-field", "enum"}
)
_INSIDE: Final = (
    *("schema", "fields", "choices", "definitions", "items_schema", "keys_schema", "values_schema"),
    *("extras_schema", "extras_keys_schema"),
)
_CODE: Final = frozenset(
    {"custom_init", "post_init", "default_factory", "missing", "computed_fields", "serialization", "custom_error_type"}
)
"""Keys behind which code of somebody's own may stand."""


def is_plain(model: type[BaseModel], *, templates: bool) -> bool:
    """Return whether validating for a model calls nobody's functions, nor does formatting what it gave."""
    top = model.__pydantic_core_schema__
    fields = top.get("schema", top)
    return _plain(fields, objects=not templates)


def _plain(schema: Any, *, objects: bool) -> bool:
    if isinstance(schema, list | tuple):
        return all(_plain(item, objects=objects) for item in schema)
    if not isinstance(schema, Mapping):
        return True
    kind = schema.get("type")
    if not isinstance(kind, str):  # fields, or choices, by name
        return all(_plain(item, objects=objects) for item in schema.values())
    if (kind not in _LEAVES and kind not in _NODES) or (kind in ("model", "enum") and not objects):
        return False
    if any(schema.get(name) for name in _CODE) or schema.get("regex_engine") == "python-re":
        return False
    if callable(schema.get("discriminator")):
        return False
    return all(_plain(schema[name], objects=objects) for name in _INSIDE if name in schema)

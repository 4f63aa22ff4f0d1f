"""Rules about how a model answers: how much, with which thinking, with which effort, in which form.

They differ by model.
"""

from __future__ import annotations

from typing import Final

from inturn.models.facts import facts
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.rules.asked import Asked, Body
from inturn.testing.claude.rules.schemas import Freedom, freedom, parts

MAX_OPTIONAL: Final = 24
MAX_UNIONS: Final = 16

_OFF = ("disabled", "between_tools")
_UNSUPPORTED: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern"}
    | {"maxItems", "uniqueItems", "prefixItems", "minProperties", "maxProperties", "patternProperties", "not", "if"}
    | {"oneOf", "default", "discriminator"}
)
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
"""Of texts."""


def thinks(body: Body) -> bool:
    """Return whether the model thinks before it answers."""
    config = body.get("thinking")
    return config["type"] not in _OFF if config else facts(body["model"]).thinks


def output_tokens(asked: Asked) -> None:
    """No answer is longer than the model can make it; zero only warms the cache."""
    wanted, most = asked.body["max_tokens"], asked.facts.max_output
    if wanted > most:
        raise Rejection(
            f"max_tokens: {wanted} > {most}, which is the maximum allowed number of output tokens "
            f"for {asked.body['model']}"
        )


def config(asked: Asked) -> None:
    """The model takes this kind of thinking, with a budget where that belongs to it."""
    given = asked.body.get("thinking")
    if not given:
        return
    kind, budget = given["type"], given.get("budget_tokens")
    if kind not in asked.facts.thinking:
        raise Rejection(f"thinking.type: '{kind}' is not supported on this model")
    if (kind == "enabled") != (budget is not None):
        raise Rejection("thinking.budget_tokens: goes with type 'enabled', and with no other")
    if budget is not None and budget < 1024:
        raise Rejection("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if budget is not None and budget >= asked.body["max_tokens"]:
        raise Rejection("`max_tokens` must be greater than `thinking.budget_tokens`")
    if kind == "enabled" and (asked.body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise Rejection("Thinking may not be enabled when tool_choice forces tool use.")


def effort(asked: Asked) -> None:
    """The model takes this effort, and the highest only where it may think."""
    level = (asked.body.get("output_config") or {}).get("effort")
    if level is None:
        return
    if level not in asked.facts.effort:
        raise Rejection(f"output_config.effort: '{level}' is not supported on this model")
    if level in ("xhigh", "max") and (asked.body.get("thinking") or {}).get("type") in _OFF:
        raise Rejection(f"output_config.effort: '{level}' is not supported with thinking turned off")


def form(asked: Asked) -> None:
    """The form of an answer is a closed schema of few freedoms, and the model can be held to it."""
    given = (asked.body.get("output_config") or {}).get("format")
    if given is None:
        return
    where, schema = "output_config.format.schema", given["schema"]
    if not asked.facts.formats:
        raise Rejection("output_config.format: is not supported on this model")
    for part in parts(schema):
        if unsupported := sorted(_UNSUPPORTED & part.keys()):
            raise Rejection(f"{where}: property '{unsupported[0]}' is not supported")
        if part.get("format") not in (None, *_FORMATS):
            raise Rejection(f"{where}: format '{part['format']}' is not supported")
        if part.get("minItems") not in (None, 0, 1):
            raise Rejection(f"{where}: 'minItems' values other than 0 and 1 are not supported")
    found = freedom(schema)
    _closed(found, where)


def _closed(found: Freedom, where: str) -> None:
    if found.open:
        raise Rejection(f"{where}: for 'object' type, 'additionalProperties' must be explicitly set to false")
    if found.recursive:
        raise Rejection(f"{where}: recursive schemas are not supported")
    if found.optional > MAX_OPTIONAL:
        raise Rejection(f"{where}: {found.optional} optional parameters, at most {MAX_OPTIONAL} are allowed")
    if found.unions > MAX_UNIONS:
        raise Rejection(f"{where}: {found.unions} parameters of union types, at most {MAX_UNIONS} are allowed")

"""Rules about how a model answers: how much, with which thinking, with which effort. They differ by model."""

from __future__ import annotations

from inturn.models.facts import facts
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.rules.asked import Asked, Body

_OFF = ("disabled", "between_tools")


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

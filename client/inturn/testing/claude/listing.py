"""The models that the server knows: `GET /v1/models`.

Invariant: what is listed of a model is what the rules hold requests to it to.
"""

from __future__ import annotations

from typing import Any

from inturn.models.facts import AS_OF, MODELS, ModelFacts, family
from inturn.testing.claude.errors import Rejection


def models() -> dict[str, Any]:
    """Return the list of models, as one page."""
    names = list(MODELS)
    data = [_model(name, name) for name in names]
    return {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}


def model(name: str) -> dict[str, Any]:
    """Return one model.

    Raises:
        Rejection: There is none of this name.
    """
    known = family(name)
    if known is None:
        raise Rejection(f"model: {name}", status=404)
    return _model(name, known)


def _model(name: str, known: str) -> dict[str, Any]:
    facts = MODELS[known]
    return {
        "type": "model",
        "id": name,
        "display_name": known.removeprefix("claude-").replace("-", " ").title(),
        "created_at": f"{AS_OF}T00:00:00Z",
        "lifecycle": "active",
        "line": known.split("-")[1],
        "max_input_tokens": facts.window,
        "max_tokens": facts.max_output,
        "capabilities": _capabilities(facts),
    }


def _capabilities(facts: ModelFacts) -> dict[str, Any]:
    types = {kind: _is(kind in facts.thinking) for kind in ("adaptive", "enabled", "disabled", "between_tools")}
    levels = {level: _is(level in facts.effort) for level in ("low", "medium", "high", "xhigh", "max")}
    return {
        "batch": _is(True),
        "citations": _is(True),
        "code_execution": _is(True),
        "context_management": {**_is(True), "compact_20260112": _is(facts.compaction)},
        "effort": {**_is(bool(facts.effort)), **levels},
        "image_input": _is(facts.images),
        "pdf_input": _is(facts.images),
        "server_tools": {**_is(True), "code_execution": _is(True), "web_search": _is(True)},
        "structured_outputs": _is(True),
        "thinking": {**_is(bool(facts.thinking)), "types": types},
    }


def _is(supported: bool) -> dict[str, Any]:
    return {"supported": supported}

"""All rules, in the order in which the API tells what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from inturn.models.facts import facts
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.memory import Memory
from inturn.testing.claude.prefix import Position
from inturn.testing.claude.rules import calls, compaction, markers, media, messages, thinking, tools
from inturn.testing.claude.rules.asked import Asked, Body, merged

VERSIONS: Final = ("2023-06-01", "2026-10-21")

Rule = Callable[[Asked], None]

_RULES: Final[Sequence[Rule]] = (
    messages.begins,
    compaction.allowed,
    messages.texts,
    messages.answers,
    calls.paired,
    calls.server_calls,
    calls.containers,
    messages.system_messages,
    messages.ends,
    tools.definitions,
    tools.strict,
    tools.deferred,
    tools.choice,
    thinking.output_tokens,
    thinking.config,
    thinking.effort,
    thinking.form,
    media.images,
    media.documents,
    media.addresses,
    markers.markers,
    calls.declared,
)


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse a request without version or authorization.

    Raises:
        Rejection: 400 or 401.
    """
    bearer = headers.get("authorization", "")
    if not headers.get("x-api-key") and not re.fullmatch(r"Bearer \S+", bearer):
        raise Rejection("Authorization: a bearer token is required", status=401)
    version = headers.get("anthropic-version")
    if not version:
        raise Rejection("anthropic-version: header is required")
    if version not in VERSIONS:
        raise Rejection(f"anthropic-version: {version!r} is not a valid version")


def betas_of(headers: Mapping[str, str]) -> frozenset[str]:
    """Return the betas that a request asks for."""
    return frozenset(name for name in re.split(r"[,\s]+", headers.get("anthropic-beta", "")) if name)


def check(body: Body, line: Sequence[Position], *, memory: Memory, window: int) -> None:
    """Refuse what the real API would refuse.

    Args:
        body: The request, whose shape is right.
        line: Its blocks with their digests.
        memory: What the server did before.
        window: Tokens that the server takes; the model's own window holds as well, where it is known.

    Raises:
        Rejection: With the API's own words, as far as they are known.
    """
    if not re.match(r"claude-[a-z0-9]", body["model"]):
        raise Rejection(f"model: {body['model']}", status=404)
    known = facts(body["model"])
    asked = Asked(body, known, merged(body["messages"]), line, memory)
    for rule in _RULES:
        rule(asked)
    most = min(window, known.window) if known.known else window
    if line[-1].tokens > most:
        raise Rejection(f"prompt is too long: {line[-1].tokens} tokens > {most} maximum")

"""The body of a request.

Invariant: a field is refused that is not written here, or whose beta the request did not ask for.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, create_model

from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.shapes.blocks import AssistantBlock, CacheControl, Shape, Text, UserBlock
from inturn.testing.claude.shapes.tools import Tool

COMPACT: Final = "compact-2026-09-04"

BETA_FIELDS: Final = {
    "compaction": ("compact-2026-09-04",),
    "context_management": ("context-management-2025-06-27", "compact-2026-01-12"),
    "fallbacks": ("server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01"),
    "fallback_credit_token": ("fallback-credit-2026-06-01", "fallback-credit-2026-07-01"),
    "mcp_servers": ("mcp-client-2025-04-04", "mcp-client-2025-11-20", "mcp-client-2026-09-15"),
    "thread": ("message-threads-2026-08-12",),
}
"""Fields that exist for requests with one of these betas only."""


class UserMessage(Shape):
    """What the user, and the tools, said."""

    role: Literal["user"]
    content: str | list[UserBlock]


class AssistantMessage(Shape):
    """What the model said."""

    role: Literal["assistant"]
    content: str | list[AssistantBlock]


class SystemMessage(Shape):
    """Instructions within the conversation."""

    role: Literal["system"]
    content: str | list[Text]


class Metadata(Shape):
    """Who it is for."""

    user_id: Annotated[str, StringConstraints(max_length=512)] | None = None


class ThinkingConfig(Shape):
    """Whether the model thinks."""

    type: Literal["adaptive", "enabled", "disabled", "between_tools"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class FreeChoice(Shape):
    """Leaves it to the model which tools it calls."""

    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool | None = None


class ToolChoice(Shape):
    """Makes the model call this tool."""

    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool | None = None


class NoChoice(Shape):
    """Lets the model call no tool."""

    type: Literal["none"]


class JsonFormat(Shape):
    """Makes the model answer in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Shape):
    """How it answers."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class Diagnostics(Shape):
    """Asks why the cache missed."""

    previous_message_id: str | None = None


class CompactionConfig(Shape):
    """Asks for a summary instead of an answer."""

    type: Literal["summarize"]
    instructions: str | None = None


class CountRequest(Shape):
    """The body of `POST /v1/messages/count_tokens`."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    messages: list[Annotated[UserMessage | AssistantMessage | SystemMessage, Field(discriminator="role")]]
    system: str | list[Text] | None = None
    tools: list[Tool] | None = None
    tool_choice: Annotated[FreeChoice | ToolChoice | NoChoice, Field(discriminator="type")] | None = None
    thinking: ThinkingConfig | None = None
    cache_control: CacheControl | None = None
    output_config: OutputConfig | None = None
    speed: Literal["standard", "fast"] | None = None


class MessagesRequest(CountRequest):
    """The body of `POST /v1/messages`."""

    max_tokens: Annotated[int, Field(ge=0)]
    metadata: Metadata | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    container: str | dict[str, Any] | None = None
    diagnostics: Diagnostics | None = None
    inference_geo: str | None = None
    service_tier: Literal["auto", "standard_only"] | None = None


_TYPES: Final[dict[str, Any]] = {
    "compaction": CompactionConfig,
    "mcp_servers": list[dict[str, Any]],
    "fallbacks": list[dict[str, Any]],
    "fallback_credit_token": str,
}
_shapes: dict[tuple[str, ...], type[Shape]] = {}


def check_shape(body: object, *, betas: Set[str] = frozenset(), counting: bool = False) -> dict[str, Any]:
    """Return the body, where its shape is right.

    Args:
        body: What came.
        betas: What the header `anthropic-beta` asked for.
        counting: Whether it asks for a count of tokens only.

    Raises:
        Rejection: A field is missing, unknown, or has another type.
    """
    if not isinstance(body, dict):
        raise Rejection("Input should be a valid dictionary")
    fields = tuple(name for name, headers in BETA_FIELDS.items() if not betas.isdisjoint(headers))
    try:
        _shape(fields, counting).model_validate(body)
    except ValidationError as error:
        raise Rejection(explain(error)) from None
    if "compaction" not in fields and _has_compaction(body):
        raise Rejection(f"messages: `compaction` blocks require the beta header `{COMPACT}`")
    return body


def explain(error: ValidationError) -> str:
    """Return what is wrong as the API words it: the place and the reason.

    Where a content may be a text or a list, both are tried and both complain: the complaint from deepest within is
    the one that was meant.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    deepest = max(found, key=lambda each: len(each["loc"]))
    place = [str(part) for part in deepest["loc"] if not str(part).startswith(("list[", "tagged-union", "str"))]
    return f"{'.'.join(place) or 'body'}: {deepest['msg']}"


def _shape(fields: tuple[str, ...], counting: bool) -> type[Shape]:
    base = CountRequest if counting else MessagesRequest
    if not fields:
        return base
    key = (*fields, str(counting))
    if key not in _shapes:
        optional: dict[str, Any] = {name: (_TYPES.get(name, dict[str, Any]) | None, None) for name in fields}
        _shapes[key] = create_model("BetaRequest", __base__=base, **optional)
    return _shapes[key]


def _has_compaction(body: dict[str, Any]) -> bool:
    return any(
        block.get("type") == "compaction"
        for message in body["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
    )

"""The shape of a request: every field that the API takes, and its type.

Invariant: a field that is not written here is refused. The real API checks with the same library, so the places and
messages of its errors are the same as well.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from inturn.testing.claude.errors import Rejection

Id = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]+$", max_length=256)]
ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]


class Shape(BaseModel):
    """Base: no conversions, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class CacheControl(Shape):
    """A cache marker."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class Text(Shape):
    """A text block."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None
    citations: list[dict[str, Any]] | None = None


class Base64(Shape):
    """Data in the request itself."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf"]
    data: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class Url(Shape):
    """Data behind an address."""

    type: Literal["url"]
    url: Annotated[str, StringConstraints(pattern=r"^https?://.+")]


class File(Shape):
    """An uploaded file."""

    type: Literal["file"]
    file_id: str


class PlainText(Shape):
    """A document's text."""

    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: str


class Image(Shape):
    """An image block."""

    type: Literal["image"]
    source: Annotated[Base64 | Url | File, Field(discriminator="type")]
    cache_control: CacheControl | None = None


class Document(Shape):
    """A document block."""

    type: Literal["document"]
    source: Annotated[Base64 | Url | File | PlainText, Field(discriminator="type")]
    title: str | None = None
    context: str | None = None
    citations: dict[str, Any] | None = None
    cache_control: CacheControl | None = None


class ToolResult(Shape):
    """The result of a call."""

    type: Literal["tool_result"]
    tool_use_id: Id
    content: str | list[Annotated[Text | Image | Document, Field(discriminator="type")]] = ""
    is_error: bool = False
    toolset_name: str | None = None
    cache_control: CacheControl | None = None


class Thinking(Shape):
    """A thinking block; takes no cache marker."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinking(Shape):
    """Thinking that nobody can read."""

    type: Literal["redacted_thinking"]
    data: str


class ToolUse(Shape):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: Id
    name: ToolName
    input: dict[str, Any]
    caller: dict[str, Any] | None = None
    toolset_name: str | None = None
    cache_control: CacheControl | None = None


class UserMessage(Shape):
    """What the user, and the tools, said."""

    role: Literal["user"]
    content: str | list[Annotated[Text | Image | Document | ToolResult, Field(discriminator="type")]]


class AssistantMessage(Shape):
    """What the model said."""

    role: Literal["assistant"]
    content: str | list[Annotated[Text | Thinking | RedactedThinking | ToolUse, Field(discriminator="type")]]


class SystemMessage(Shape):
    """Instructions within the conversation."""

    role: Literal["system"]
    content: str | list[Text]


class ToolDefinition(Shape):
    """A tool of the client's."""

    name: ToolName
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    cache_control: CacheControl | None = None
    strict: bool | None = None
    defer_loading: bool | None = None
    eager_input_streaming: bool | None = None
    input_examples: list[dict[str, Any]] | None = None
    allowed_callers: list[str] | None = None


class Metadata(Shape):
    """Who it is for."""

    user_id: Annotated[str, StringConstraints(max_length=512)] | None = None


class ThinkingConfig(Shape):
    """Whether the model thinks."""

    type: Literal["adaptive", "enabled", "disabled", "between_tools"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class ToolChoice(Shape):
    """Which tools it may call."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class OutputConfig(Shape):
    """How it answers."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: dict[str, Any] | None = None


class Diagnostics(Shape):
    """Asks why the cache missed."""

    previous_message_id: str | None = None


class MessagesRequest(Shape):
    """The body of `POST /v1/messages`."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    max_tokens: Annotated[int, Field(ge=1)]
    messages: list[Annotated[UserMessage | AssistantMessage | SystemMessage, Field(discriminator="role")]]
    system: str | list[Text] | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    metadata: Metadata | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    cache_control: CacheControl | None = None
    container: str | dict[str, Any] | None = None
    diagnostics: Diagnostics | None = None
    inference_geo: str | None = None
    output_config: OutputConfig | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    speed: Literal["standard", "fast"] | None = None
    user_profile_id: str | None = None
    workspace_id: str | None = None


def check_shape(body: object) -> dict[str, Any]:
    """Return the body, where its shape is right.

    Raises:
        Rejection: A field is missing, unknown, or has another type.
    """
    if not isinstance(body, dict):
        raise Rejection("Input should be a valid dictionary")
    try:
        MessagesRequest.model_validate(body)
    except ValidationError as error:
        raise Rejection(explain(error)) from None
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

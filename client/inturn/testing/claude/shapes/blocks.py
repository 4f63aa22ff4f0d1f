"""Content blocks: what messages are made of.

Invariant: a block has the fields that the API takes, and no others.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Id = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]+$", max_length=256)]
ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
ServerToolName = Literal[
    "web_search",
    "web_fetch",
    "code_execution",
    "bash_code_execution",
    "text_editor_code_execution",
    "tool_search_tool_regex",
    "tool_search_tool_bm25",
]


class Shape(BaseModel):
    """Base: no conversions, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class CacheControl(Shape):
    """A cache marker."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class Marked(Shape):
    """A block that takes a cache marker."""

    cache_control: CacheControl | None = None


class Citations(Shape):
    """Whether a source may be cited."""

    enabled: bool | None = None


class Text(Marked):
    """A text block."""

    type: Literal["text"]
    text: str
    citations: list[dict[str, Any]] | None = None


class Base64Image(Shape):
    """An image's data in the request itself."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class Base64Pdf(Shape):
    """A document's data in the request itself."""

    type: Literal["base64"]
    media_type: Literal["application/pdf"]
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


class Transformations(Shape):
    """What the server may do to an image before the model sees it."""

    oversized_image: Literal["downsize", "error"] | None = None


class Image(Marked):
    """An image block."""

    type: Literal["image"]
    source: Annotated[Base64Image | Url | File, Field(discriminator="type")]
    transformations: Transformations | None = None


class Parts(Shape):
    """A document that is given as blocks."""

    type: Literal["content"]
    content: str | list[Annotated[Text | Image, Field(discriminator="type")]]


class Document(Marked):
    """A document block."""

    type: Literal["document"]
    source: Annotated[Base64Pdf | Url | File | PlainText | Parts, Field(discriminator="type")]
    title: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    context: Annotated[str, StringConstraints(min_length=1)] | None = None
    citations: Citations | None = None


class SearchResult(Marked):
    """What a search of the client's found."""

    type: Literal["search_result"]
    source: str
    title: str
    content: list[Text]
    citations: Citations | None = None


class ContainerUpload(Marked):
    """A file for the container in which code runs."""

    type: Literal["container_upload"]
    file_id: str


class ToolReference(Marked):
    """A deferred tool that a search of the client's found."""

    type: Literal["tool_reference"]
    tool_name: ToolName


class BrowserState(Marked):
    """What a browser shows after a call."""

    type: Literal["browser_state"]
    tabs: list[dict[str, Any]]
    state_changes: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None


ResultBlock = Annotated[
    Text | Image | Document | SearchResult | ToolReference | BrowserState, Field(discriminator="type")
]


class ToolResult(Marked):
    """The result of a call."""

    type: Literal["tool_result"]
    tool_use_id: Id
    content: str | list[ResultBlock] = ""
    is_error: bool = False
    toolset_name: str | None = None


class Thinking(Shape):
    """A thinking block; takes no cache marker."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinking(Shape):
    """Thinking that nobody can read."""

    type: Literal["redacted_thinking"]
    data: str


class ToolUse(Marked):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: Id
    name: ToolName
    input: dict[str, Any]
    caller: dict[str, Any] | None = None
    toolset_name: str | None = None


class ServerToolUse(Marked):
    """A call that the API runs itself."""

    type: Literal["server_tool_use"]
    id: Annotated[str, StringConstraints(pattern=r"^srvtoolu_[a-zA-Z0-9_]+$")]
    name: ServerToolName
    input: dict[str, Any]
    caller: dict[str, Any] | None = None


class ServerToolResult(Marked):
    """What a call that the API ran gave."""

    type: Literal[
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
    ]
    tool_use_id: Annotated[str, StringConstraints(pattern=r"^srvtoolu_[a-zA-Z0-9_]+$")]
    content: dict[str, Any] | list[dict[str, Any]]
    caller: dict[str, Any] | None = None


class Compaction(Marked):
    """The API's summary of what stood before; goes with its beta only."""

    type: Literal["compaction"]
    content: str | None = None
    signature: str | None = None
    encrypted_content: str | None = None
    tool_changes: list[dict[str, Any]] | None = None


UserBlock = Annotated[
    Text | Image | Document | SearchResult | ContainerUpload | ToolResult | Compaction, Field(discriminator="type")
]
AssistantBlock = Annotated[
    Text | Thinking | RedactedThinking | ToolUse | ServerToolUse | ServerToolResult | ContainerUpload | Compaction,
    Field(discriminator="type"),
]

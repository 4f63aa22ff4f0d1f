"""Tool definitions: the client's own, and those that the API brings.

Invariant: a tool has the fields that the API takes for its type, and no others.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Discriminator, Tag, model_validator
from pydantic_core import PydanticCustomError

from inturn.testing.claude.shapes.blocks import CacheControl, Shape, ToolName


class CustomTool(Shape):
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


_EVERY: Final = frozenset({"allowed_callers", "cache_control", "defer_loading", "strict"})
_CLIENT: Final = _EVERY | {"input_examples"}
_SEARCH: Final = _EVERY | {"allowed_domains", "blocked_domains", "max_uses", "user_location"}
_FETCH: Final = _EVERY | {
    "allowed_domains",
    "blocked_domains",
    "citations",
    "max_content_tokens",
    "max_uses",
    "url_sources",
}
_TOOLSET: Final = frozenset({"cache_control", "configs"})

TYPED: Final[dict[str, tuple[str | None, frozenset[str]]]] = {
    "bash_20250124": ("bash", _CLIENT),
    "text_editor_20250124": ("str_replace_editor", _CLIENT),
    "text_editor_20250429": ("str_replace_based_edit_tool", _CLIENT),
    "text_editor_20250728": ("str_replace_based_edit_tool", _CLIENT | {"max_characters"}),
    "memory_20250818": ("memory", _CLIENT),
    "browser_toolset_20260801": (None, _TOOLSET),
    "computer_toolset_20260801": (None, _TOOLSET),
    "code_execution_20250522": ("code_execution", _EVERY),
    "code_execution_20250825": ("code_execution", _EVERY),
    "code_execution_20260120": ("code_execution", _EVERY),
    "code_execution_20260521": ("code_execution", _EVERY),
    "web_search_20250305": ("web_search", _SEARCH),
    "web_search_20260209": ("web_search", _SEARCH),
    "web_search_20260318": ("web_search", _SEARCH | {"response_inclusion"}),
    "web_fetch_20250910": ("web_fetch", _FETCH),
    "web_fetch_20260209": ("web_fetch", _FETCH),
    "web_fetch_20260309": ("web_fetch", _FETCH | {"use_cache"}),
    "web_fetch_20260318": ("web_fetch", _FETCH | {"use_cache", "response_inclusion"}),
    "tool_search_tool_bm25": ("tool_search_tool_bm25", _EVERY),
    "tool_search_tool_bm25_20251119": ("tool_search_tool_bm25", _EVERY),
    "tool_search_tool_regex": ("tool_search_tool_regex", _EVERY),
    "tool_search_tool_regex_20251119": ("tool_search_tool_regex", _EVERY),
}
"""Name and fields of every tool that the API brings; a toolset has no name."""


class TypedTool(Shape):
    """A tool that the API brings; which fields it takes depends on its type."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: str
    name: str | None = None
    cache_control: CacheControl | None = None

    @model_validator(mode="after")
    def _known(self) -> TypedTool:
        if self.type not in TYPED:
            raise PydanticCustomError("tool_type", "Input tag '{tag}' is no type of a tool", {"tag": self.type})
        name, fields = TYPED[self.type]
        if self.name != name:
            raise PydanticCustomError("tool_name", "name: Input should be '{name}'", {"name": str(name)})
        if unknown := sorted((self.model_extra or {}).keys() - fields):
            raise PydanticCustomError("extra", "{name}: Extra inputs are not permitted", {"name": unknown[0]})
        return self


def _kind(tool: Any) -> str:
    type_ = tool.get("type") if isinstance(tool, dict) else None
    return "custom" if type_ in (None, "custom") or not isinstance(type_, str) else "typed"


Tool = Annotated[Annotated[CustomTool, Tag("custom")] | Annotated[TypedTool, Tag("typed")], Discriminator(_kind)]

"""How a model is to answer.

Invariant: what a model would refuse is refused where it is declared, as far as that is known of the model: no event
meets it. What nobody knows of a model is sent as it was asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Final, Literal, Self, get_args

from pydantic_core import from_json, to_json

from inturn.models.facts import Effort, ModelFacts

CacheTtl = Literal["5m", "1h"]
FREE: Final = ("auto", "none")
"""Choices that force no call."""
MIN_THINKING: Final = 1_024
"""Tokens that a model thinks at least whose thinking has a budget; its answer comes on top."""
MAX_EXTRA: Final = 16 * 1024

_OURS: Final = frozenset(
    {"model", "messages", "system", "tools", "max_tokens", "stream", "metadata", "container", "compaction"}
    | {"thinking", "tool_choice", "output_config", "cache_control", "diagnostics"}
)
"""Fields of a request that something else says."""
_HIGHEST: Final = ("xhigh", "max")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a model is to answer.

    Attributes:
        thinking: Whether it thinks before it answers; `None`: as it does by itself.
        effort: How much it puts into an answer; `None`: as it does by itself.
        tool_choice: `auto` (or `None`), `none`, `any`, or a tool's name. What forces a call forces the first answer of
            a turn alone: the turn could never end otherwise.
        parallel: Whether one answer may call several tools.
        cache_ttl: How long the provider is to keep a conversation that it has read; `1h` costs more to write.
        output: The JSON schema that an answer has to fit: set by `Agent(output=…)`.
        extra: More fields of a request, as the provider takes them; nothing else says them.
    """

    _: KW_ONLY
    thinking: bool | None = None
    effort: Effort | None = None
    tool_choice: str | None = None
    parallel: bool = True
    cache_ttl: CacheTtl = "5m"
    output: Mapping[str, Any] | None = field(default=None, hash=False)
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)

    def __post_init__(self) -> None:
        """Check what no model is needed for.

        Raises:
            ValueError: A setting is none.
        """
        if self.thinking not in (None, True, False):
            raise ValueError(f"thinking={self.thinking!r:.60} is none of None, True, False")
        _check("effort", self.effort, (None, *get_args(Effort)))
        _check("cache_ttl", self.cache_ttl, get_args(CacheTtl))
        choice: object = self.tool_choice
        if choice is not None and not (isinstance(choice, str) and choice.strip()):
            raise ValueError(f"tool_choice={choice!r:.60} is none of auto, none, any, or a tool's name")
        if type(self.parallel) is not bool:
            raise ValueError(f"parallel={self.parallel!r:.60} is none of True, False")
        if self.effort in _HIGHEST and self.thinking is False:
            raise ValueError(f"effort={self.effort!r} needs a model that may think, and thinking=False")
        self._check_extra()

    def _check_extra(self) -> None:
        extra: object = self.extra
        if not isinstance(extra, Mapping) or not all(isinstance(name, str) for name in extra):
            raise ValueError(f"extra={extra!r:.60} is no mapping of a request's fields")
        if ours := sorted(_OURS & extra.keys()):
            raise ValueError(f"extra= says {', '.join(ours)}, which the agent says elsewhere")
        try:
            written = to_json(dict(self.extra))
            same = from_json(written) == dict(self.extra)
        except ValueError:
            written, same = b"", False
        if not same:
            raise ValueError("extra= holds what is no JSON")
        if len(written) > MAX_EXTRA:
            raise ValueError(f"extra= is larger than {MAX_EXTRA:,} bytes")

    @property
    def forces(self) -> bool:
        """Whether an answer has to call a tool."""
        return self.tool_choice is not None and self.tool_choice not in FREE

    def said(self) -> dict[str, Any]:
        """Return those that are not as they are by default, for people; of a form, that there is one."""
        plain = ModelSettings()
        given = {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) != getattr(plain, name)}
        return {**given, **({"extra": sorted(self.extra)} if self.extra else {})} | (
            {"output": True} if self.output else {}
        )

    def free(self) -> Self:
        """Return them for an answer that is neither forced to call a tool nor held to a form."""
        return replace(self, tool_choice=None if self.forces else self.tool_choice, output=None)

    def in_words(self) -> ModelSettings:
        """Return settings, which any model takes, for an answer of words alone."""
        return ModelSettings(tool_choice="none", cache_ttl=self.cache_ttl)


def refusal(settings: ModelSettings, known: ModelFacts, tools: Collection[str], max_tokens: int) -> str | None:
    """Return why a model would refuse these settings; `None` where it takes them, as far as anybody knows.

    Args:
        settings: The settings.
        known: What holds for the model.
        tools: The names of the tools that it is given.
        max_tokens: The most tokens of its answers.
    """
    if settings.forces and settings.tool_choice != "any" and settings.tool_choice not in tools:
        return f"tool_choice={settings.tool_choice!r}, and there is no tool of that name"
    if settings.forces and not tools:
        return "tool_choice='any', and there are no tools"
    if not known.known:
        return None
    if settings.forces and not known.forced_tools:
        return f"tool_choice={settings.tool_choice!r}: no call can be forced of it"
    if settings.output is not None and not known.formats:
        return "output=: its answers cannot be given a form"
    return _thinking(settings, known, max_tokens) or _effort(settings, known)


def _thinking(settings: ModelSettings, known: ModelFacts, max_tokens: int) -> str | None:
    if settings.thinking is False and "disabled" not in known.thinking:
        return "thinking=False: it always thinks"
    if not settings.thinking or "adaptive" in known.thinking:
        return None
    if "enabled" not in known.thinking:
        return "thinking=True: it does not think"
    if max_tokens <= MIN_THINKING:
        return f"thinking=True: that needs max_tokens of more than {MIN_THINKING:,}"
    return "thinking=True: then no call can be forced of it" if settings.forces else None


def _effort(settings: ModelSettings, known: ModelFacts) -> str | None:
    if settings.effort is None or settings.effort in known.effort:
        return None
    taken = [level for level in get_args(Effort) if level in known.effort]
    return f"effort={settings.effort!r}: it takes {', '.join(taken) if taken else 'none'}"


def _check(name: str, value: object, among: Collection[object]) -> None:
    if value not in among:
        raise ValueError(f"{name}={value!r:.60} is none of {', '.join(map(str, among))}")

"""Facts per model: what a request to it may hold, as of `AS_OF`.

Invariant: data only, and careful: what is not known of a model is given as the form that every model accepts, so a
request made by these facts is refused by none.

Sources: the vendor's pages on models, thinking, effort, mid-conversation system messages, compaction and prompt
caching; the names are those of the SDK's `Model` type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

AS_OF: Final = "2026-11-29"

SystemRole = Literal["native", "ignored", "text"]
Effort = Literal["low", "medium", "high", "xhigh", "max"]
ThinkingType = Literal["adaptive", "enabled", "disabled", "between_tools"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What holds for a model; the defaults hold for one that nobody knows.

    Attributes:
        known: Whether this model stands in the table.
        window: Tokens of a request and its answer together.
        max_output: The largest `max_tokens`.
        system: What becomes of a message of role `system`: obeyed, answered and not read, or refused (it must be said
            as a text block of the user's message).
        thinking: The `thinking.type` values that it takes; without any, a request says nothing about thinking.
        thinks: Whether it thinks where a request says nothing.
        effort: The `output_config.effort` values that it takes.
        forced_tools: Whether `tool_choice` may force a call.
        formats: Whether an answer can be made to fit a JSON schema.
        prefill: Whether a conversation may end with the assistant.
        binds_thinking: Whether thinking is refused once anything before it has changed.
        images: Whether it sees images and pages.
        max_images: Images and pages of a request.
        compaction: Whether the API summarises its conversations on demand.
    """

    known: bool = False
    window: int = 200_000
    max_output: int = 32_000
    system: SystemRole = "text"
    thinking: frozenset[ThinkingType] = frozenset()
    thinks: bool = False
    effort: frozenset[Effort] = frozenset()
    forced_tools: bool = False
    formats: bool = False
    prefill: bool = False
    binds_thinking: bool = True
    images: bool = True
    max_images: int = 100
    compaction: bool = False

    @property
    def says_system_as_text(self) -> bool:
        """Whether instructions within the conversation must go as text to be read at all."""
        return self.system != "native"


UNKNOWN: Final = ModelFacts()

_MANUAL: Final[frozenset[ThinkingType]] = frozenset({"enabled", "disabled"})
_BOTH: Final[frozenset[ThinkingType]] = frozenset({"adaptive", "enabled", "disabled"})
_ADAPTIVE: Final[frozenset[ThinkingType]] = frozenset({"adaptive", "disabled"})
_ALWAYS: Final[frozenset[ThinkingType]] = frozenset({"adaptive"})
_TO_HIGH: Final[frozenset[Effort]] = frozenset({"low", "medium", "high"})
_TO_MAX: Final[frozenset[Effort]] = frozenset({"low", "medium", "high", "max"})
_ALL: Final[frozenset[Effort]] = frozenset({"low", "medium", "high", "xhigh", "max"})

_4_0: Final = ModelFacts(known=True, thinking=_MANUAL, forced_tools=True, prefill=True, binds_thinking=False)
_4_5: Final = replace(_4_0, max_output=64_000, formats=True)
_4_6: Final = replace(
    _4_5,
    window=1_000_000,
    max_output=128_000,
    thinking=_BOTH,
    effort=_TO_MAX,
    prefill=False,
    max_images=600,
    compaction=True,
)
_4_7: Final = replace(_4_6, thinking=_ADAPTIVE, effort=_ALL)
_5: Final = replace(_4_7, system="native", thinks=True)
_5_5: Final = replace(_5, thinking=_ALWAYS, forced_tools=False, binds_thinking=True)
_FABLE: Final = replace(_5, thinking=_ALWAYS)

MODELS: Final[dict[str, ModelFacts]] = {
    "claude-opus-4": _4_0,
    "claude-sonnet-4": replace(_4_0, max_output=64_000),
    "claude-opus-4-1": _4_0,
    "claude-sonnet-4-5": _4_5,
    "claude-haiku-4-5": _4_5,
    "claude-opus-4-5": replace(_4_5, effort=_TO_HIGH),
    "claude-sonnet-4-6": _4_6,
    "claude-opus-4-6": _4_6,
    "claude-opus-4-7": _4_7,
    "claude-opus-4-8": replace(_4_7, system="native"),
    "claude-sonnet-5": replace(_5, system="ignored"),
    "claude-opus-5": _5,
    "claude-sonnet-5-5": _5_5,
    "claude-opus-5-5": _5_5,
    "claude-haiku-5-5": replace(_5_5, thinking=_ADAPTIVE),
    "claude-mythos-preview": replace(_FABLE, system="text", effort=_TO_MAX),
    "claude-mythos-5": _FABLE,
    "claude-mythos-5-1": replace(_FABLE, forced_tools=False),
    "claude-mythos-5-2": replace(_FABLE, forced_tools=False, binds_thinking=True),
    "claude-fable-5": _FABLE,
    "claude-fable-5-1": replace(_FABLE, forced_tools=False, binds_thinking=True),
    "claude-fable-5-2": replace(_FABLE, forced_tools=False, binds_thinking=True),
}

# What may stand behind a model's name: a date, an alias, a platform's version; "-5" would be another model's name.
_SUFFIX: Final = re.compile(r"(?:-\d{8}|-latest)?(?:-v\d+)?(?:[@:\[].*)?")


@lru_cache(maxsize=1_024)
def family(model: str) -> str | None:
    """Return the name under which the table knows a model: the longest that begins it; `None` where it knows none.

    A platform's prefix, a date and a version behind the name are looked through: `anthropic.claude-opus-4-5@20251101`
    is `claude-opus-4-5`. A name with another number behind is another model: `claude-opus-5-7` is not `claude-opus-5`.
    """
    _, found, rest = model.lower().rpartition("claude-")
    name = (found + rest).replace(".", "-")
    for known in sorted(MODELS, key=len, reverse=True):
        if name.startswith(known) and _SUFFIX.fullmatch(name, len(known)):
            return known
    return None


def facts(model: str) -> ModelFacts:
    """Return what holds for a model."""
    known = family(model)
    return UNKNOWN if known is None else MODELS[known]

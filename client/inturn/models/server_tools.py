"""Tools that the provider runs itself, within an answer.

Invariant: a session freezes them with its other tools. Nothing of ours runs for them: no lock, no approval, no ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Final

MAX_USES: Final = 1_000


@dataclass(frozen=True, slots=True)
class ServerTool:
    """A tool that the provider runs; make one of the classes below.

    Attributes:
        type: Its name and version at the provider.
        name: What the model calls it.
    """

    type: ClassVar[str] = ""
    name: ClassVar[str] = ""

    def definition(self) -> dict[str, Any]:
        """Return the tool as the Messages API takes it."""
        return {"type": self.type, "name": self.name}


@dataclass(frozen=True, slots=True)
class _Web(ServerTool):
    """What reads the web.

    Attributes:
        max_uses: How often an answer may use it; `None` is no bound.
        allowed_domains: Only there.
        blocked_domains: Not there.
    """

    _: KW_ONLY
    max_uses: int | None = None
    allowed_domains: Sequence[str] = ()
    blocked_domains: Sequence[str] = ()

    def __post_init__(self) -> None:
        uses: object = self.max_uses
        if uses is not None and (type(uses) is not int or not 1 <= uses <= MAX_USES):
            raise ValueError(f"{self.name}: max_uses={uses!r:.60} is no number from 1 to {MAX_USES:,}")
        for domains in (self.allowed_domains, self.blocked_domains):
            if isinstance(domains, str) or not all(isinstance(each, str) and each.strip() for each in domains):
                raise ValueError(f"{self.name}: {domains!r:.60} are no domains: pass a list of names")
        object.__setattr__(self, "allowed_domains", tuple(self.allowed_domains))
        object.__setattr__(self, "blocked_domains", tuple(self.blocked_domains))
        if self.allowed_domains and self.blocked_domains:
            raise ValueError(f"{self.name}: either allowed_domains or blocked_domains, not both")

    def definition(self) -> dict[str, Any]:
        """Return the tool as the Messages API takes it."""
        given = {
            "max_uses": self.max_uses,
            "allowed_domains": list(self.allowed_domains),
            "blocked_domains": list(self.blocked_domains),
        }
        # `super()` knows no class that `slots` made anew.
        return ServerTool.definition(self) | {name: value for name, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class WebSearch(_Web):
    """Lets the model search the web.

    Attributes:
        user_location: Where searches are made from: `city`, `region`, `country`, `timezone`, all or some.
    """

    type: ClassVar[str] = "web_search_20260318"
    name: ClassVar[str] = "web_search"

    _: KW_ONLY
    user_location: Mapping[str, str] | None = field(default=None, hash=False)

    def definition(self) -> dict[str, Any]:
        """Return the tool as the Messages API takes it."""
        where = {"user_location": {"type": "approximate", **self.user_location}} if self.user_location else {}
        return _Web.definition(self) | where


@dataclass(frozen=True, slots=True)
class WebFetch(_Web):
    """Lets the model read pages that the conversation names."""

    type: ClassVar[str] = "web_fetch_20260318"
    name: ClassVar[str] = "web_fetch"


@dataclass(frozen=True, slots=True)
class CodeExecution(ServerTool):
    """Lets the model run code in a container of the provider's, which a session keeps for as long as that does."""

    type: ClassVar[str] = "code_execution_20260521"
    name: ClassVar[str] = "code_execution"

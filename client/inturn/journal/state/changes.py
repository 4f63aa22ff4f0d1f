"""What can be asked of shared state: changes as values, and who asks.

Invariant: a change says everything that its rule needs, so the same change by the same operation is always the same
request. Values travel as JSON text, checked before they come here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from inturn.keys import StepKey


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose state: a session's, or (without one) the tenant's."""

    tenant: str
    session_id: str = ""

    def __str__(self) -> str:
        """Return what tools call it."""
        return "state" if self.session_id else "shared"


@dataclass(frozen=True, slots=True)
class Operation:
    """Who asks for a change, so that it is done once.

    Attributes:
        step: The call whose body asks.
        token: The token of its attempt, which must still hold the call; `None`: it is not checked.
        ordinal: Which operation of the body it is.
        key: Names the operation instead, within its scope.
    """

    step: StepKey | None = None
    token: str | None = None
    ordinal: int = 0
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Incr:
    """Add to a whole number; one that is absent counts as 0."""

    verb: ClassVar = "incr"
    name: str
    by: int


@dataclass(frozen=True, slots=True)
class Put:
    """Replace a value; only at this version, where one is given (0: only where there is none)."""

    verb: ClassVar = "put"
    name: str
    text: str
    version: int | None


@dataclass(frozen=True, slots=True)
class Update:
    """Replace a value that was computed from this version (0: from none). A refusal leaves no record."""

    verb: ClassVar = "update"
    name: str
    text: str
    version: int


@dataclass(frozen=True, slots=True)
class PutIfAbsent:
    """Set a value where there is none, for `ttl` seconds where given."""

    verb: ClassVar = "put_if_absent"
    name: str
    text: str
    ttl: float | None


@dataclass(frozen=True, slots=True)
class Delete:
    """Take a value away; only at this version, where one is given."""

    verb: ClassVar = "delete"
    name: str
    version: int | None


@dataclass(frozen=True, slots=True)
class Push:
    """Put an item at the end of a queue."""

    verb: ClassVar = "push"
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class ClaimNext:
    """Claim the first free item of a queue for `lease` seconds."""

    verb: ClassVar = "claim"
    name: str
    lease: float


@dataclass(frozen=True, slots=True)
class Complete:
    """Take a claimed item out of its queue."""

    verb: ClassVar = "complete"
    name: str
    seq: int
    token: str


@dataclass(frozen=True, slots=True)
class Release:
    """Release a claimed item, to its old place."""

    verb: ClassVar = "release"
    name: str
    seq: int
    token: str


Change = Incr | Put | Update | PutIfAbsent | Delete | Push | ClaimNext | Complete | Release


def describe(scope: Scope, change: Change) -> str:
    """Return what a change is, so that another in its place is found out: `shared.incr('count')`."""
    return f"{scope}.{change.verb}({change.name!r})"


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a change.

    Attributes:
        value: Its result, as JSON has it.
        conflict: Why it was refused, where it was.
        final: It changed something for good. What did not may be done anew by the next attempt of its call.
    """

    value: Any = None
    conflict: str | None = None
    final: bool = True

"""Whoever asks, as its credential says.

Invariant: the tenant comes from the credential alone; nothing of a request's text can change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from inturn_gateway.problems import Problem

Scope = Literal["send", "read", "approve", "operate"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant's program or person.

    Attributes:
        tenant: Whose sessions it sees.
        who: What the journal names it: `key:ik_ab12cd34`, `oidc:{iss}#{sub}`, `local`.
        scopes: What it may do.
        agent: The only agent that it may talk to, where it is bound to one.
        prefix: What the ids of its sessions begin with.
        until: When its credential ends, in seconds since 1970.
    """

    tenant: str
    who: str
    scopes: frozenset[str]
    agent: str | None = None
    prefix: str = ""
    until: float | None = None

    @property
    def bound(self) -> bool:
        """Whether it sees a part of its tenant's sessions alone."""
        return self.agent is not None or bool(self.prefix)

    def demand(self, scope: Scope) -> None:
        """Return if it has the scope.

        Raises:
            Problem: 403, it has not.
        """
        if scope not in self.scopes:
            raise Problem(403, f"this needs the scope {scope}", kind="forbidden", scope=scope)

    def sees(self, session_id: str) -> bool:
        """Return whether a session of its tenant is one of its own."""
        return session_id.startswith(self.prefix)

"""The door: who a request comes from.

Invariant: a credential counts in its header alone; a cookie, a query or a body names nobody. Without any credential
configured only this machine is let in. Who has a valid one is never kept out by those who have none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from starlette.requests import HTTPConnection

from inturn_gateway import bounds
from inturn_gateway.auth.caller import SCOPES, Caller
from inturn_gateway.auth.keys import KeyFile
from inturn_gateway.auth.tokens import Tokens
from inturn_gateway.buckets import Buckets
from inturn_gateway.problems import Problem

_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Of a request that comes from elsewhere, through a proxy of this machine."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass
class Door:
    """Lets callers in.

    Attributes:
        tenant: Whose sessions are seen where no credential is configured.
        keys: API keys, where there are any.
        tokens: JWTs, where there are any.
    """

    tenant: str
    keys: KeyFile | None = None
    tokens: Tokens | None = None
    _failed: Buckets = field(default_factory=lambda: Buckets(bounds.FAILED_RATE, bounds.FAILED_BURST), init=False)
    _calls: Buckets = field(default_factory=lambda: Buckets(bounds.CALLER_RATE, bounds.CALLER_BURST), init=False)

    @property
    def open(self) -> bool:
        """Whether nobody needs a credential."""
        return self.keys is None and self.tokens is None

    async def caller(self, request: HTTPConnection) -> Caller:
        """Return who asks.

        Raises:
            Problem: 401, nobody who may; 429, too many of their requests, or of failed ones from this address.
        """
        address = request.client.host if request.client else "?"
        if self.open:
            caller = self._neighbour(address, request)
        else:
            found = await self._proved(_credential(request))
            if found is None:
                self._failed.take(address, "failed proofs of this address")
                raise Problem(401, "an API key or a token is needed: Authorization: Bearer …, or x-api-key")
            caller = found
        self._calls.take((caller.tenant, caller.who), "requests of this credential")
        return caller

    def _neighbour(self, address: str, request: HTTPConnection) -> Caller:
        if address not in LOOPBACK or any(name in request.headers for name in _FORWARDED):
            raise Problem(401, "no credential is configured here, so only this machine is served")
        return Caller(self.tenant, "local", frozenset(SCOPES))

    async def _proved(self, credential: str | None) -> Caller | None:
        if credential is None or len(credential) > bounds.TOKEN:
            return None
        if self.keys is not None and credential.startswith("ik_"):
            return self.keys.caller(credential)
        return await self.tokens.caller(credential) if self.tokens is not None else None


def _credential(request: HTTPConnection) -> str | None:
    """Return the one credential of a request; `None` where it has none, or several that may differ."""
    headers = request.headers.getlist("authorization")
    found = set(request.headers.getlist("x-api-key"))
    for header in headers:
        kind, _, value = header.partition(" ")
        if kind.lower() != "bearer":
            return None
        found.add(value.strip())
    return found.pop() if len(found) == 1 else None

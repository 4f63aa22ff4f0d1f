"""JWTs of an identity provider: who signed them, for whom, and whose sessions they mean.

Invariant: only asymmetric signatures by a key of the configured set count, with issuer, audience and expiry; whatever
is missing, unknown or not understood lets nobody in.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jwt

from inturn import sizes
from inturn.errors import Misconfigured, Unavailable
from inturn.keys import is_id
from inturn_gateway import bounds
from inturn_gateway.auth.caller import SCOPES, Caller

_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens count.

    Attributes:
        issuer: `iss`.
        audience: `aud`.
        jwks: Where its keys are: an https URL, or a file.
        tenant_claim: The claim that names the tenant.
        scopes_claim: The claim with the scopes: a list, or words of one text, with or without `inturn:` in front.
    """

    issuer: str
    audience: str
    jwks: str
    tenant_claim: str = "tenant"
    scopes_claim: str = "scope"

    def __post_init__(self) -> None:
        """Refuse a URL that anybody on the way can answer.

        Raises:
            Misconfigured: It is not https.
        """
        url = urlsplit(self.jwks)
        if "://" in self.jwks and url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
            raise Misconfigured(f"the keys of {self.issuer} must come by https or from a file, not from {self.jwks}")


@dataclass
class Tokens:
    """The tokens of one issuer, with its keys as they were lately.

    Attributes:
        issuer: Whose.
        clock: Seconds that only go forward.
    """

    issuer: Issuer
    clock: Callable[[], float] = time.monotonic
    _keys: dict[str, jwt.PyJWK] = field(default_factory=dict, init=False)
    _read_at: float | None = field(default=None, init=False)
    _asked_at: float | None = field(default=None, init=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def caller(self, token: str) -> Caller | None:
        """Return whose a token is; `None`: nobody's.

        Raises:
            Unavailable: The issuer's keys cannot be read now.
        """
        try:
            head = jwt.get_unverified_header(token)
            if head.get("alg") not in _ALGORITHMS or head.get("crit"):
                return None
            key = await self._key(head.get("kid"))
            if key is None or key.algorithm_name != head["alg"]:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=[head["alg"]],
                issuer=self.issuer.issuer,
                audience=self.issuer.audience,
                leeway=bounds.CLOCKS_APART,
                options={"require": ["exp", "iss", "aud"]},
            )
            return self._meant(claims)
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            return None

    def _meant(self, claims: Mapping[str, Any]) -> Caller | None:
        tenant = claims.get(self.issuer.tenant_claim)
        if not isinstance(tenant, str) or not is_id(tenant):
            return None
        given = claims.get(self.issuer.scopes_claim, ())
        words = given.split() if isinstance(given, str) else given if isinstance(given, list | tuple) else ()
        named = {str(word).removeprefix("inturn:") for word in words}
        who = sizes.clip(f"oidc:{self.issuer.issuer}#{claims.get('sub', '')}", sizes.WHO)
        who.encode()  # the journal names it
        return Caller(tenant, who, frozenset(named.intersection(SCOPES)), until=float(claims["exp"]))

    async def _key(self, kid: object) -> jwt.PyJWK | None:
        if not isinstance(kid, str):
            return None
        if self._stale() or (kid not in self._keys and self._may_ask()):
            async with self._lock:
                if self._stale() or (kid not in self._keys and self._may_ask()):
                    await self._read()
        return self._keys.get(kid)

    def _stale(self) -> bool:
        return self._read_at is None or self.clock() - self._read_at > bounds.JWKS_FRESH

    def _may_ask(self) -> bool:
        return self._asked_at is None or self.clock() - self._asked_at > bounds.JWKS_AGAIN

    async def _read(self) -> None:
        if self._stale() and not self._may_ask():
            raise Unavailable("the keys of the tokens' issuer cannot be read")
        self._asked_at = self.clock()
        try:
            found = await asyncio.to_thread(_fetched, self.issuer.jwks)
        except (OSError, ValueError, RecursionError, HTTPException) as error:
            if not self._stale():
                return  # for a key id that is not known, those that are serve on
            raise Unavailable("the keys of the tokens' issuer cannot be read") from error
        self._keys = found
        self._read_at = self.clock()


def _fetched(jwks: str) -> dict[str, jwt.PyJWK]:
    if "://" in jwks:
        with urllib.request.build_opener(_Straight).open(jwks, timeout=bounds.JWKS_WITHIN) as answer:
            text = answer.read(bounds.JWKS + 1)
    else:
        with Path(jwks).open("rb") as file:
            text = file.read(bounds.JWKS + 1)
    if len(text) > bounds.JWKS:
        raise ValueError("too large")
    document = json.loads(text)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no set of keys")
    return {key.key_id: key for key in map(_usable, listed) if key is not None and key.key_id}


def _usable(key: Any) -> jwt.PyJWK | None:
    try:
        made = jwt.PyJWK.from_dict(key)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None  # one of another kind
    usable = made.algorithm_name in _ALGORITHMS and made.public_key_use in (None, "sig")
    return made if usable else None


class _Straight(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none: the keys are where the operator said."""

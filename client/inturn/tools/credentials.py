"""What `ctx.credentials(name)` gives: secrets that are refreshed when they run out.

    async def github(asked: Asked) -> Granted:
        token = await oauth.refresh(asked.last.renewal if asked.last else FIRST)
        return Granted(token.access, expires_in=token.expires_in, renewal=token.refresh)

    @asynccontextmanager
    async def lifespan():
        yield {"credentials": Credentials({"github": github})}         # worker.py … --lifespan app:lifespan

Invariant: of one credential at most one refresh runs at a time (in this process; with `store`, on this machine); all
who ask meanwhile wait for it and get what it gave. A refresh that failed is over: the next who asks begins a new one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from inturn.errors import InturnError
from inturn.tools.secrets import Secret

if TYPE_CHECKING:
    from inturn.tools.credential_store import CredentialStore, Slot

logger = logging.getLogger("inturn.tools")

MARGIN: Final = 60.0
"""Seconds before its end from which a credential counts as run out: a call that gets one must have time to use it."""
TIMEOUT: Final = 30.0
"""Seconds a refresh may take; all who need it wait for it."""


@dataclass(frozen=True)
class Granted:
    """What a refresh gave.

    Attributes:
        value: The secret.
        expires_in: Seconds from now until it runs out; `None`: never.
        renewal: What the next refresh needs (a refresh token), where each one gives a new one.
    """

    value: Secret
    expires_in: float | None = None
    renewal: Secret | None = None

    def __init__(
        self, value: str | Secret, *, expires_in: float | None = None, renewal: str | Secret | None = None
    ) -> None:
        """Take plain texts, too."""
        object.__setattr__(self, "value", _secret(value))
        object.__setattr__(self, "expires_in", expires_in)
        object.__setattr__(self, "renewal", None if renewal is None else _secret(renewal))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a refresh is told.

    Attributes:
        name: The credential's name.
        tenant: Whose it is; `None` for one that all tenants share.
        last: What the last refresh gave, if it is known.
    """

    name: str
    tenant: str | None = None
    last: Granted | None = None


Refresh: TypeAlias = Callable[[Asked], Awaitable[Granted]]


@dataclass(frozen=True, slots=True)
class Held:
    """What was granted, and until when it is good (seconds since 1970)."""

    granted: Granted
    until: float | None

    def good(self, margin: float) -> bool:
        """Return whether it is good for `margin` seconds more."""
        return self.until is None or time.time() + margin < self.until


class Credentials:
    """Credentials by name. Yield it from the worker's lifespan: itself, or as `credentials` of a mapping or object."""

    def __init__(
        self,
        shared: Mapping[str, Refresh] | None = None,
        *,
        by_tenant: Mapping[str, Refresh] | None = None,
        margin: float = MARGIN,
        timeout: float = TIMEOUT,
        store: CredentialStore | None = None,
    ) -> None:
        """Take what refreshes each credential.

        Args:
            shared: Those that all tenants use.
            by_tenant: Those of which each tenant has its own.
            margin: Seconds before its end from which one is refreshed.
            timeout: Seconds that a refresh may take.
            store: Where the worker processes of a machine share them; without one each process refreshes its own.

        Raises:
            ValueError: A name stands in both.
        """
        self._shared = dict(shared or {})
        self._by_tenant = dict(by_tenant or {})
        if both := sorted(self._shared.keys() & self._by_tenant.keys()):
            raise ValueError(f"{', '.join(both)} cannot be shared and by tenant at once")
        self._margin = margin
        self._timeout = timeout
        self._store = store
        self._held: dict[tuple[str | None, str], Held] = {}
        self._running: dict[tuple[str | None, str], asyncio.Task[Held]] = {}

    async def get(self, name: str, *, tenant: str) -> Secret:
        """Return a credential, refreshed where it has run out.

        Raises:
            InturnError: There is none of this name, or it cannot be refreshed.
        """
        if name not in self._shared and name not in self._by_tenant:
            there = ", ".join(sorted({*self._shared, *self._by_tenant})) or "none"
            raise InturnError(f"there is no credential named {name!r}; there are: {there}")
        key = (tenant if name in self._by_tenant else None, name)
        held = self._held.get(key)
        if held is None or not held.good(self._margin):
            held = await self._one_refresh(key)
        return held.granted.value

    async def _one_refresh(self, key: tuple[str | None, str]) -> Held:
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.ensure_future(self._refresh(key))
            task.add_done_callback(lambda done: self._over(key, done))
        # Whoever stops waiting does not stop it for the others.
        return await asyncio.shield(task)

    def _over(self, key: tuple[str | None, str], done: asyncio.Task[Held]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # nobody may be left to take it

    async def _refresh(self, key: tuple[str | None, str]) -> Held:
        last = self._held.get(key)
        try:
            async with asyncio.timeout(self._timeout):
                held = await self._shared_refresh(key, last) if self._store else await self._ask(key, last)
        except Exception as error:
            if last is not None and last.good(0):
                return last  # the margin is there for this
            # Not what it says: that may quote what the refresh sent.
            why = error if isinstance(error, InturnError) else type(error).__name__
            raise InturnError(f"credential {key[1]!r} cannot be refreshed: {why}") from error
        self._held[key] = held
        return held

    async def _shared_refresh(self, key: tuple[str | None, str], last: Held | None) -> Held:
        assert self._store is not None
        async with self._store.alone(key) as slot:
            stored = _read(slot.read())
            if stored is not None and stored.good(self._margin):
                return stored  # another process has just done it
            held = await self._ask(key, _newer(stored, last))
            _keep(slot, held, key[1])
            return held

    async def _ask(self, key: tuple[str | None, str], last: Held | None) -> Held:
        tenant, name = key
        refresh = self._shared[name] if tenant is None else self._by_tenant[name]
        granted = await refresh(Asked(name, tenant, last.granted if last else None))
        return Held(granted, None if granted.expires_in is None else time.time() + granted.expires_in)


def credentials_in(resources: Any) -> Credentials:
    """Find the credentials in what a worker's lifespan yielded.

    Raises:
        InturnError: There are none.
    """
    found = resources
    if isinstance(resources, Mapping):
        found = resources.get("credentials")
    elif not isinstance(resources, Credentials):
        found = getattr(resources, "credentials", None)
    if not isinstance(found, Credentials):
        raise InturnError(
            "this worker has no credentials: yield inturn.tools.Credentials from its --lifespan, itself or under the "
            "name `credentials`"
        )
    return found


def _secret(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _read(stored: dict[str, Any] | None) -> Held | None:
    if stored is None:
        return None
    return Held(Granted(stored["value"], renewal=stored.get("renewal")), stored.get("until"))


def _newer(stored: Held | None, last: Held | None) -> Held | None:
    """Return what was granted later: a refresh that could not be stored is known here alone, and may serve once."""
    if stored is None or last is None:
        return stored or last
    return max(stored, last, key=lambda held: math.inf if held.until is None else held.until)


def _keep(slot: Slot, held: Held, name: str) -> None:
    renewal = held.granted.renewal
    kept = {
        "value": held.granted.value.get_secret_value(),
        "renewal": renewal.get_secret_value() if renewal else None,
        "until": held.until,
    }
    try:
        slot.write(kept)
    except OSError:  # it is good here all the same
        logger.exception("credential %r was refreshed and cannot be stored: other processes do not see it", name)

"""Bringing an answer out in parts, each once as far as the platform allows.

    async with outbox(ctx) as send:
        for part in split(render(out), 10_000):
            await send(api.add_note, ticket, part)          # called with idempotency_key=…

What a platform offers decides what becomes of a part whose attempt left no answer:

- keyed: it drops what comes again under one key (the default): the part is sent again under its key;
- findable (`find=`): it can be asked for what it has: the part is looked for, and sent where it is not there;
- blind (`blind=True`): it cannot: the part is sent again, and the journal says that it may be there twice.

Invariant: before a part is sent, that it will be is durable; what is known to be sent is never sent again, by no later
attempt and by no redrive: what is kept is the session's, under the delivery's first name.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from uuid import uuid4

from inturn.channels.failures import is_refusal, judged
from inturn.tools.context import ToolContext

KEPT: Final = 30 * 24 * 3600.0
"""Seconds for which it is known what was sent; a redrive later than that sends anew."""
REQUEST: Final = 5.0
"""Seconds that one request to a platform may take: less than a claim lives when it was just confirmed."""
LISTED: Final = 5.0
"""Seconds after which a platform lists what it took."""
SEND_SOON: Final = 1.0
"""Seconds within which a part is on its way behind its intent; who was held up longer asks for its claim again."""

Find: TypeAlias = Callable[[str, float], Awaitable[str | None]]
"""Takes a part's key and when it was first tried, in seconds since 1970; gives the platform's id of it, if it is there.
"""
Post: TypeAlias = Callable[..., Awaitable[Any]]


def outbox(
    ctx: ToolContext, *, secrets: str | Sequence[str] = "", find: Find | None = None, blind: bool = False
) -> Outbox:
    """Return what sends the parts of one delivery; see the module.

    Args:
        ctx: The delivery's context.
        secrets: Keys outside are made with it (the first, where there are several): nobody else can name them.
        find: Asks the platform for a part.
        blind: The platform takes no key, and cannot be asked.
    """
    secret = secrets if isinstance(secrets, str) else secrets[0]
    return Outbox(ctx, secret, find, blind=blind)


class Outbox:
    """The parts of one delivery, in order. Made by `outbox`."""

    def __init__(self, ctx: ToolContext, secret: str, find: Find | None, *, blind: bool) -> None:
        """Send for a context."""
        self._ctx = ctx
        self._secret = secret
        self._find = find
        self._blind = blind
        self._delivery = first_name(ctx.key)
        self._next = 0

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say what a failed request means: try again when it asks so, or never.

        Raises:
            Retry: The platform asked to come again (429, 503), or cannot be reached.
            ToolError: It refused for good (another 4xx).
        """
        if isinstance(error, Exception) and (made := judged(error)) is not None:
            raise made from error

    async def __call__(self, post: Post, *args: Any, **options: Any) -> str:
        """Send the next part, unless it is known to be there; return the platform's id of it.

        Args:
            post: Sends it, and returns the platform's id; it gets `idempotency_key=`, but where the outbox is blind.
            *args: What it takes.
            **options: What it takes by name.
        """
        number, self._next = self._next, self._next + 1
        part = Part(self._ctx, f"out:{_digest(f'{self._delivery}#{number}')}")
        key = _digest(f"{self._delivery}#{number}", self._secret)
        known = await part.known()
        if known is not None and known.id is not None:
            return known.id
        if known is not None and (found := await self._there(part, key, known.at, number)) is not None:
            return found
        await part.intend()
        if part.age > SEND_SOON:
            await part.intend()
        keyed = options if self._blind else {**options, "idempotency_key": key}
        try:
            async with asyncio.timeout(REQUEST):
                sent = await post(*args, **keyed)
        except Exception as error:
            if is_refusal(error):
                await part.refused()
            raise
        return await part.sent(str(sent if sent is not None else ""))

    async def _there(self, part: Part, key: str, at: float, number: int) -> str | None:
        """Find out what became of a part that an earlier attempt was about to send."""
        if self._blind:
            await self._ctx.progress(f"part {number + 1} may be there twice: an earlier attempt left no answer")
            return None
        if self._find is None:
            return None
        left = at + REQUEST + LISTED - time.time()
        await asyncio.sleep(min(max(left, 0.0), REQUEST + LISTED))
        async with asyncio.timeout(REQUEST):
            found = await self._find(key, at)
        return None if found is None else await part.sent(found)


class Known:
    """What is kept of a part."""

    def __init__(self, value: Any) -> None:
        """Read it."""
        said = value if isinstance(value, dict) else {}
        self.at = float(said.get("at", 0.0))
        self.id: str | None = said.get("id")


class Part:
    """One part, as the session's state has it."""

    def __init__(self, ctx: ToolContext, name: str) -> None:
        """Keep it under a name."""
        self._state = ctx.state
        self._name = name
        self._since = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since before its intent was last written."""
        return time.monotonic() - self._since

    async def known(self) -> Known | None:
        """Return what is known of it."""
        found = await self._state.get(self._name)
        return None if found is None else Known(found.value)

    async def intend(self) -> None:
        """Write that it will be sent; it fails where the delivery is somebody else's by now."""
        self._since, now = time.monotonic(), time.time()
        if not await self._state.put_if_absent(self._name, {"at": now}, KEPT, key=_operation()):
            await self._state.update(self._name, lambda old: {**(old or {}), "at": now}, key=_operation())

    async def refused(self) -> None:
        """Write that it was not: the platform said so."""
        await self._state.delete(self._name, key=_operation())

    async def sent(self, platform_id: str) -> str:
        """Write that it was."""
        await self._state.update(self._name, lambda old: {**(old or {}), "id": platform_id}, key=_operation())
        return platform_id


def first_name(key: str) -> str:
    """Return a delivery's key without the times it was driven again: `…/deliver~2` is `…/deliver` once more."""
    turn, _, step = key.rpartition("/")
    return f"{turn}/{step.partition('~')[0]}"


def _digest(text: str, secret: str = "") -> str:
    key = hashlib.blake2b(secret.encode(), digest_size=32).digest() if secret else b""
    return hashlib.blake2b(text.encode(), digest_size=16, key=key).hexdigest()


def _operation() -> str:
    """Name an operation of its own: writing the same again does no harm, and parts that are skipped shift nothing."""
    return f"out:{uuid4().hex}"

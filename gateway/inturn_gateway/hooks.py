"""`/hooks/{channel}`: a platform's deliveries, verified before anything is read in them, durable before they are
acknowledged.

Invariant: no bytes that anybody sends, and nothing that a channel of a user's raises, is answered with a 5xx of ours; a
503 says that what was delivered is not durable, and is to be delivered again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from opentelemetry import metrics
from starlette.requests import Request
from starlette.responses import Response

from inturn.channels import Call, Channel, Inbound, Reply, Take
from inturn.errors import Misconfigured
from inturn_gateway import bounds
from inturn_gateway.buckets import Buckets
from inturn_gateway.intake import Intake
from inturn_gateway.problems import Problem

logger = logging.getLogger("inturn.gateway")
_count = metrics.get_meter("inturn").create_counter(
    "inturn.hooks", "{delivery}", "Deliveries of channels, by channel and what became of them."
)


class Hooks:
    """The channels of one application."""

    def __init__(self, channels: Sequence[Channel], intake: Intake, *, clock: Callable[[], float] = time.time) -> None:
        """Mount channels.

        Args:
            channels: Each of another label.
            intake: Takes what they read.
            clock: Seconds since 1970: a delivery's window is judged by it.

        Raises:
            Misconfigured: Two have one label.
        """
        self._channels = {channel.label: channel for channel in channels}
        if len(self._channels) != len(channels):
            raise Misconfigured("two channels have one name: give each an instance of its own")
        self._intake = intake
        self._clock = clock
        self._failed = Buckets(bounds.FAILED_RATE, bounds.FAILED_BURST)

    def body(self, path: str) -> int | None:
        """Return how many bytes a delivery to a path may have; `None`: no channel has it."""
        channel = self._channels.get(path.removeprefix("/hooks/"))
        return None if channel is None else min(channel.max_body, bounds.HOOK_BODY)

    async def deliver(self, request: Request) -> Response:
        """Answer a delivery."""
        began = time.monotonic()
        channel = self._channels.get(str(request.path_params["label"]))
        if channel is None:
            raise Problem(404, "no channel has this path")
        if request.method not in channel.methods:
            raise Problem(405, "the platform delivers otherwise")
        call = Call.of(
            await request.body(),
            request.scope["headers"],
            method=request.method,
            path=request.url.path,
            query=request.scope["query_string"],
            now=self._clock(),
        )
        reply = await self._answered(channel, call, request.client.host if request.client else "?", began)
        return Response(reply.body, reply.status, dict(reply.headers))

    async def _answered(self, channel: Channel, call: Call, address: str, began: float) -> Reply:
        if not _verified(channel, call):
            self._failed.take((channel.label, address), "failed proofs of this address")
            _counted(channel, "forged")
            return _refusal(channel, call)
        return await self._taken(channel, call, began)

    async def _taken(self, channel: Channel, call: Call, began: float) -> Reply:
        """Return the reply to a call that is the platform's."""
        with _readable(channel):
            if (hello := channel.hello(call)) is not None:
                return hello
            found: list[Inbound] = list(islice(channel.read(call), bounds.BATCH + 1))
        if len(found) > bounds.BATCH:
            raise Problem(400, f"a delivery has at most {bounds.BATCH} messages", kind="unreadable")
        left = channel.ack_within - bounds.ACK_MARGIN - (time.monotonic() - began)
        taken = await self._intake.take(channel, found, within=max(left, bounds.SHORTEST_ACK))
        for each in taken:
            _counted(channel, each.status if each.status != "ignored" else f"ignored: {each.reason}"[:40])
        try:
            return channel.answer(taken)
        except Exception:  # what is durable is, whatever a channel has to say of it
            logger.exception("channel %s has no answer", channel.label)
            return Channel.answer(channel, taken)

    def connections(self) -> list[Awaitable[None]]:
        """Return what holds the channels' own connections, each until it is cancelled."""
        return [self._connected(channel) for channel in self._channels.values() if channel.listens]

    async def _connected(self, channel: Channel) -> None:
        async def take(call: Call) -> Reply:
            try:
                return await self._taken(channel, call, time.monotonic())
            except Problem as problem:  # it can never be read: what comes behind it can
                return Reply(problem.status)

        held: Take = take
        while True:
            began = time.monotonic()
            try:
                await channel.listen(held)
            except Exception:
                logger.warning("the connection of %s was lost", channel.label, exc_info=True)
            await asyncio.sleep(max(0.0, bounds.RECONNECT - (time.monotonic() - began)))


def _verified(channel: Channel, call: Call) -> bool:
    try:
        return channel.verify(call) is True
    except Exception:
        logger.exception("channel %s raised where it should say no", channel.label)
        return False


def _refusal(channel: Channel, call: Call) -> Reply:
    try:
        return channel.refuses(call)
    except Exception:
        logger.exception("channel %s raised where it should refuse", channel.label)
        return Reply(401)


@contextmanager
def _readable(channel: Channel) -> Iterator[None]:
    """Refuse a call with 400 where its channel cannot read it, whatever that raises.

    Raises:
        Problem: It cannot.
    """
    try:
        yield
    except Exception as error:
        _counted(channel, "unreadable")
        logger.info("channel %s cannot read a delivery: %s", channel.label, type(error).__name__)
        raise Problem(400, "the delivery cannot be read", kind="unreadable") from error


def _counted(channel: Channel, result: str) -> None:
    _count.add(1, {"channel": channel.label, "result": result})

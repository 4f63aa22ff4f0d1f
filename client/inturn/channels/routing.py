"""Bringing each answer out where its event came in: an agent's `deliver=route(slack, desk)`.

Invariant: an answer goes to the channel that its event names, or waits for a worker that has this channel; it is never
dropped for want of one.
"""

from __future__ import annotations

from typing import Final

from inturn.channels.channel import Channel, Out
from inturn.errors import Retry
from inturn.tools.context import ToolContext

PATIENCE: Final = 3600.0
"""Seconds for which a delivery that fails in a way that may pass is tried again; then it is set aside."""
LACKING: Final = 15.0
"""Seconds until a worker is asked again whose agents lack the channel."""


class Route:
    """Brings out by channel. Made by `route`.

    Attributes:
        patience: What makes it a delivery that any attempt may go on with, for so many seconds.
    """

    patience = PATIENCE

    def __init__(self, channels: tuple[Channel, ...], default: Channel | None) -> None:
        """Choose among these.

        Raises:
            ValueError: Two have one label.
        """
        self.channels = {channel.label: channel for channel in channels}
        self.default = default
        if len(self.channels) < len(channels):
            raise ValueError("two channels have one name: give one of them an instance=")

    async def __call__(self, out: Out, ctx: ToolContext) -> None:
        """Bring it out.

        Raises:
            Retry: This worker lacks the channel.
        """
        metadata = ctx.event.metadata
        label = metadata.get("channel") if isinstance(metadata, dict) else None
        channel = self.channels.get(label) if isinstance(label, str) else self.default
        if channel is not None:
            await channel.deliver(out, ctx)
        elif isinstance(label, str):
            raise Retry(f"this worker's agent has no channel {label[:60]!r}", after=LACKING)


def route(*channels: Channel, default: Channel | None = None) -> Route:
    """Return an agent's `deliver`, which answers through the channel that an event came by.

    Args:
        *channels: The channels.
        default: For events that came by none (the CLI, a schedule); without it their answers are only kept.
    """
    return Route(channels, default)

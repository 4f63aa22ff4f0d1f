"""Cards of approvals that were answered elsewhere: each shows how, wherever somebody said so.

Invariant: nobody waits for it, and what goes wrong with it changes no answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from inturn import Client
from inturn.channels import Channel
from inturn.channels.cards import card_name
from inturn.channels.inbound import Answered, Click
from inturn_gateway import bounds

logger = logging.getLogger("inturn.gateway")


class Cards:
    """The cards that channels keep in their tenants' shared state."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        """Show on cards of these channels."""
        self._channels = {channel.label: channel for channel in channels}
        self._telling: set[asyncio.Task[None]] = set()

    def clicked(
        self, channel: Channel, client: Client, click: Click, came: Answered | Callable[[], Awaitable[Answered]]
    ) -> None:
        """Tell who clicked, there, what came of it, once that is known; and the card, where it is another channel's."""

        async def tell() -> None:
            answered = came if isinstance(came, Answered) else await came()
            self._tell(lambda: channel.told(click, answered), channel.label)
            if answered.answer != "refused":
                show = partial(self._show, client, click.session, click.approval_id, answered, channel.label)
                self._tell(show, "cards")

        self._tell(tell, channel.label)

    def answered(self, client: Client, session_id: str, approval_id: str, answered: Answered) -> None:
        """Tell the card of an approval that was answered without one."""
        if self._channels:
            self._tell(lambda: self._show(client, session_id, approval_id, answered, None), "cards")

    async def _show(
        self, client: Client, session_id: str, approval_id: str, answered: Answered, besides: str | None
    ) -> None:
        kept = await client.shared.get(card_name(session_id, approval_id))
        card = kept.value if kept is not None else None
        if not isinstance(card, Mapping):
            return
        channel = self._channels.get(str(card.get("channel")))
        if channel is not None and channel.label != besides:
            await channel.show(card, answered)

    def _tell(self, telling: Callable[[], Awaitable[None]], where: str) -> None:
        async def told() -> None:
            try:
                async with asyncio.timeout(bounds.TELL_WITHIN):
                    await telling()
            except Exception:
                logger.warning("%s could not be told what came of an approval", where, exc_info=True)

        task = asyncio.create_task(told())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

"""A scheduled event, for cron: `0 7 * * * python -m examples.schedule 1001 1002`.

The event's id holds the day: a job that cron, an operator or a second machine starts again is still one turn a day.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from inturn import Client


async def main(orders: list[str], now: datetime) -> None:
    """Ask for a daily check of these orders."""
    async with Client() as client:
        for order in orders:
            session = client.session(f"order-{order}", agent="support")
            text = f"Daily check: is anything open on order {order}?"
            receipt = await session.send(text, event_id=f"daily-{now:%Y-%m-%d}", source="cron", sent_at=now)
            print(order, receipt.event_id, receipt.status)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["1001"], datetime.now(UTC)))

"""`python -m inturn.testing.telegram`: a Telegram to talk in, on this machine.

Each line on standard input is a message to the bot; `!yes` and `!no` press the latest card's buttons.
"""

from __future__ import annotations

import argparse
import asyncio

from inturn.testing.platforms.talking import talk
from inturn.testing.telegram.server import StrictTelegram


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m inturn.testing.telegram", description="A strict Telegram.")
    parser.add_argument("--hook", default="http://127.0.0.1:8787/hooks/telegram", help="where updates go (%(default)s)")
    parser.add_argument("--poll", action="store_true", help="deliver by getUpdates instead")
    parser.add_argument("--port", type=int, default=8094, help="the port of its Bot API (%(default)s)")
    parser.add_argument("--token", default="7:strict", help="the bot's token (%(default)s)")
    parser.add_argument("--secret", default="hook-secret", help="the webhook's secret token (%(default)s)")
    given = parser.parse_args()
    telegram = StrictTelegram(given.hook, token=given.token, secret=given.secret, port=given.port)
    asyncio.run(_talk(telegram, poll=given.poll))


async def _talk(telegram: StrictTelegram, *, poll: bool) -> None:
    async def say(line: str) -> str:
        cards = [each for each in telegram.messages if (each.get("reply_markup") or {}).get("inline_keyboard")]
        if line in ("!yes", "!no") and cards:
            update = telegram.press(cards[-1], ("!yes", "!no").index(line))
        else:
            update = telegram.update(line)
        if poll:
            telegram.offer(update)
        else:
            await telegram.deliver(update)
        return ""

    def shown() -> dict[str, str]:
        return {str(each["message_id"]): each["text"] for each in telegram.messages}

    async with telegram:
        await talk(f"strict Telegram: api={telegram.api} (updates go to {telegram.hook})", say, shown)


if __name__ == "__main__":
    main()

"""`python -m inturn.testing.discord`: a Discord to talk in, on this machine.

Each line on standard input is a command to the bot; `!yes` and `!no` press the latest card's buttons.
"""

from __future__ import annotations

import argparse
import asyncio

from inturn.testing.discord.server import StrictDiscord
from inturn.testing.platforms.talking import talk


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m inturn.testing.discord", description="A strict Discord.")
    parser.add_argument("--hook", default="http://127.0.0.1:8787/hooks/discord", help="where they go (%(default)s)")
    parser.add_argument("--port", type=int, default=8096, help="the port of its API (%(default)s)")
    parser.add_argument("--token", default="bot-token", help="the bot's token (%(default)s)")
    given = parser.parse_args()
    asyncio.run(_talk(StrictDiscord(given.hook, token=given.token, port=given.port)))


async def _talk(discord: StrictDiscord) -> None:
    async def say(line: str) -> str:
        cards = [each for each in discord.messages if each.get("components")]
        if line in ("!yes", "!no") and cards:
            done = await discord.interact(discord.press(cards[-1], ("!yes", "!no").index(line)))
        else:
            done = await discord.interact(discord.command(line))
        return f"{done.status} {done.body.decode(errors='replace')}"

    def shown() -> dict[str, str]:
        return {each["id"]: each["content"] for each in discord.messages}

    async with discord:
        await talk(f"strict Discord: api={discord.api} key={discord.public_key} (to {discord.hook})", say, shown)


if __name__ == "__main__":
    main()

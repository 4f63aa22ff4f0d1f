"""`python -m inturn.testing.github`: an issue to comment on, on this machine.

Each line on standard input is a comment; what the bot comments is printed.
"""

from __future__ import annotations

import argparse
import asyncio

from inturn.testing.github.server import StrictGitHub
from inturn.testing.platforms.talking import talk


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m inturn.testing.github", description="A strict GitHub.")
    parser.add_argument("--hook", default="http://127.0.0.1:8787/hooks/github", help="where events go (%(default)s)")
    parser.add_argument("--port", type=int, default=8095, help="the port of its API (%(default)s)")
    parser.add_argument("--secret", default="hook-secret", help="the webhook's secret (%(default)s)")
    parser.add_argument("--token", default="ghp_test", help="the bot's token (%(default)s)")
    parser.add_argument("--login", default="helper", help="the bot's login (%(default)s)")
    given = parser.parse_args()
    asyncio.run(
        _talk(StrictGitHub(given.hook, secret=given.secret, token=given.token, login=given.login, port=given.port))
    )


async def _talk(github: StrictGitHub) -> None:
    async def say(line: str) -> str:
        payload = github.comment(line)
        done = await github.deliver(payload, guid=f"guid-{payload['comment']['id']}")
        return "" if 200 <= done.status < 300 else f"not taken: {done.status}"

    def shown() -> dict[str, str]:
        own = [each for each in github.comments if each["user"]["login"] == github.login]
        return {str(each["id"]): each["body"] for each in own}

    async with github:
        await talk(f"strict GitHub: api={github.api} (events go to {github.hook})", say, shown)


if __name__ == "__main__":
    main()

"""`python -m inturn.testing.slack --hook http://127.0.0.1:8787/hooks/slack`: a Slack to talk in, on this machine.

Each line on standard input is a message to the bot, in one conversation; `!yes` and `!no` press the latest card's
buttons. What the bot says is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from inturn.testing.slack.server import BOT_ID, StrictSlack

DIRECT = "D1"


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m inturn.testing.slack", description="A strict Slack to talk in.")
    parser.add_argument("--hook", default="http://127.0.0.1:8787/hooks/slack", help="where events go (%(default)s)")
    parser.add_argument("--port", type=int, default=8093, help="the port of its Web API (%(default)s)")
    parser.add_argument("--signing-secret", default="signing", help="SLACK_SIGNING_SECRET (%(default)s)")
    parser.add_argument("--bot-token", default="xoxb-test", help="SLACK_BOT_TOKEN (%(default)s)")
    given = parser.parse_args()
    slack = StrictSlack(given.hook, signing_secret=given.signing_secret, bot_token=given.bot_token, port=given.port)
    asyncio.run(_talk(slack))


async def _talk(slack: StrictSlack) -> None:
    async with slack:
        _tell(f"strict Slack: SLACK_API={slack.api} (events go to {slack.hook})")
        showing = asyncio.create_task(_show(slack))
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip():
                await _do(slack, line.strip())
        showing.cancel()


async def _do(slack: StrictSlack, line: str) -> None:
    if line in ("!yes", "!no"):
        cards = [each for each in slack.messages if any(b["type"] == "actions" for b in each.get("blocks", []))]
        done = await slack.press(cards[-1], yes=line == "!yes") if cards else None
    else:
        done = await slack.say(line, channel=DIRECT)
    if done is not None and not done.taken:
        _tell(f"not taken: {[attempt.status for attempt in done.attempts]}")


async def _show(slack: StrictSlack) -> None:
    shown = dict[str, Any]()
    while True:
        for message in slack.messages:
            said = message.get("markdown_text") or message.get("text")
            state = (said, str(message.get("blocks")))
            if message.get("bot_id") == BOT_ID and shown.get(message["ts"]) != state:
                shown[message["ts"]] = state
                for block in message.get("blocks", []):
                    said = f"{said}\n{block['text']['text']}" if block["type"] == "section" else said
                _tell(f"bot: {said}")
        await asyncio.sleep(0.1)


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

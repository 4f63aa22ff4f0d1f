"""`python -m inturn.testing.slack --hook http://127.0.0.1:8787/hooks/slack`: a Slack to talk in, on this machine.

Each line on standard input is a direct message of U7's to the bot; `!yes` and `!no` are U8 pressing the latest card's
buttons.
"""

from __future__ import annotations

import argparse
import asyncio

from inturn.testing.platforms.talking import talk
from inturn.testing.slack.server import BOT_ID, Message, StrictSlack

DIRECT = "D1"
BOSS = "U8"


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
    async def say(line: str) -> str:
        cards = [each for each in slack.messages if any(b["type"] == "actions" for b in each.get("blocks", []))]
        if line in ("!yes", "!no") and cards:
            done = await slack.press(cards[-1], yes=line == "!yes", user=BOSS)
        else:
            done = await slack.say(line, channel=DIRECT)
        return "" if done.taken else f"not taken: {[attempt.status for attempt in done.attempts]}"

    def shown() -> dict[str, str]:
        said = {each["ts"]: _text(each) for each in slack.messages if each.get("bot_id") == BOT_ID}
        told = {
            f"whisper-{number}": f"(to {each['user']}) {each['text']}" for number, each in enumerate(slack.whispers)
        }
        return said | told

    async with slack:
        await talk(f"strict Slack: SLACK_API={slack.api} (events go to {slack.hook})", say, shown)


def _text(message: Message) -> str:
    texts = [message.get("markdown_text") or message.get("text", "")]
    for block in message.get("blocks", []):
        texts += [block["text"]["text"]] if block["type"] == "section" else []
        texts += [element["text"] for element in block["elements"]] if block["type"] == "context" else []
    return "\n".join(texts)


if __name__ == "__main__":
    main()

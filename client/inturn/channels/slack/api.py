"""The few calls of Slack's Web API that a channel makes.

Invariant: a message that goes out shows no preview, and carries the key by which it is found again; it is found only
where it is our own, in its own thread.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from inturn.channels.chunks import split
from inturn.channels.failures import Refusal
from inturn.channels.pacing import Pace
from inturn.channels.platform import Platform
from inturn.channels.sending import outbox
from inturn.channels.slack.texts import escaped, length
from inturn.tools.context import ToolContext

MARKDOWN: Final = 11_900
"""Characters of a part; Slack takes 12,000."""
EVENT: Final = "inturn_part"
EARLIER: Final = 60
"""Seconds before a part's first attempt from which it is looked for: clocks differ."""
PAGES: Final = 10
"""Pages of a thread that are looked through."""
_PASSING: Final = frozenset(
    {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"}
)

Block = dict[str, Any]


class SlackApi:
    """Slack, as one app with one token."""

    def __init__(self, base: str, token: str) -> None:
        """Ask with a token."""
        self._platform = Platform(base, token)
        self._pace = Pace(1.05, burst=1)
        self._self: tuple[str, str] | None = None

    async def say(self, ctx: ToolContext, secrets: tuple[str, ...], channel: str, thread: Any, text: str) -> None:
        """Post a text, in as many parts as it needs."""
        async with outbox(ctx, secrets=secrets, find=partial(self._find, channel, thread)) as send:
            for part in split(text, MARKDOWN, length=length):
                await self._pace.wait(channel)
                await send(self._post, channel, thread, markdown_text=escaped(part))

    async def post_card(
        self, ctx: ToolContext, secrets: tuple[str, ...], channel: str, thread: Any, text: str, shown: list[Block]
    ) -> str:
        """Post a card; return its time."""
        async with outbox(ctx, secrets=secrets, find=partial(self._find, channel, thread)) as send:
            await self._pace.wait(channel)
            return await send(self._post, channel, thread, text=escaped(text), blocks=shown)
        raise AssertionError("unreachable: the outbox raises or returns")

    async def update(self, channel: str, at: str, text: str, shown: list[Block]) -> None:
        """Change a message of our own."""
        await self.call("chat.update", {"channel": channel, "ts": at, "text": escaped(text), "blocks": shown})

    async def whisper(self, channel: str, user: str, text: str, thread: Any = None) -> None:
        """Say something to one person in a channel."""
        body = {"channel": channel, "user": user, "text": escaped(text)}
        await self.call("chat.postEphemeral", body | ({"thread_ts": thread} if thread else {}))

    async def blocks_of(self, channel: str, at: str, thread: Any) -> list[Block]:
        """Return the blocks of a message."""
        query = {"channel": channel, "ts": str(thread or at), "oldest": at, "latest": at, "inclusive": "true"}
        answer = await self._look("conversations.replies", query)
        messages = [each for each in _list(answer.get("messages")) if each.get("ts") == at]
        return _list(messages[0].get("blocks")) if messages else []

    async def call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call a method.

        Raises:
            Refusal: Slack says no.
        """
        return _judged(method, (await self._platform.post(f"/{method}", body)).object())

    async def _look(self, method: str, query: dict[str, str]) -> dict[str, Any]:
        return _judged(method, (await self._platform.get(f"/{method}", query)).object())

    async def _post(self, channel: str, thread: Any, *, idempotency_key: str, **said: Any) -> str:
        body = {
            "channel": channel,
            **said,
            "unfurl_links": False,
            "unfurl_media": False,
            "metadata": {"event_type": EVENT, "event_payload": {"key": idempotency_key}},
        }
        with self._pace.heeded(channel):
            answer = await self.call("chat.postMessage", body | ({"thread_ts": thread} if thread else {}))
        return str(answer.get("ts"))

    async def _find(self, channel: str, thread: Any, key: str, at: float) -> str | None:
        bot, app = await self._identity()
        query = {
            "channel": channel,
            "oldest": f"{max(at - EARLIER, 0):.6f}",
            "include_all_metadata": "true",
            "limit": "200",
        }
        method = "conversations.history"
        if thread:
            method, query["ts"] = "conversations.replies", str(thread)
        for _ in range(PAGES):
            answer = await self._look(method, query)
            for each in _list(answer.get("messages")):
                if _key(each) == key and (each.get("bot_id") == bot or (app and each.get("app_id") == app)):
                    return str(each.get("ts"))
            cursor = _object(answer.get("response_metadata")).get("next_cursor")
            if not cursor:
                return None
            query["cursor"] = str(cursor)
        raise Refusal("the thread is too long to look through", 503)

    async def _identity(self) -> tuple[str, str]:
        """Return the bot's id and the app's, where Slack tells it."""
        if self._self is None:
            told = await self.call("auth.test", {})
            self._self = str(told.get("bot_id") or "-"), str(told.get("app_id") or "")
        return self._self


def _judged(method: str, answer: dict[str, Any]) -> dict[str, Any]:
    if answer.get("ok") is True:
        return answer
    error = str(answer.get("error") or "no answer")[:80]
    if error in ("ratelimited", "rate_limited"):
        raise Refusal(f"{method}: {error}", 429)
    raise Refusal(f"{method}: {error}", 503 if error in _PASSING or error == "no answer" else 400)


def _key(message: dict[str, Any]) -> Any:
    metadata = _object(message.get("metadata"))
    return _object(metadata.get("event_payload")).get("key") if metadata.get("event_type") == EVENT else None


def _list(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

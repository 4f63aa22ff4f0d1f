"""The server: the Bot API for one bot, and what people do in its chats.

Invariant: it refuses what Telegram refuses, keeps a chat's updates in order, one in flight, and delivers each until it
is taken. A body that answers an update with a `method` is done as a call, which no channel means: it is kept in `done`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from html.parser import HTMLParser
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inturn.channels.chunks import units
from inturn.testing.platforms.delivering import Attempt, Deliveries, Headers
from inturn.testing.platforms.serving import Local

MOST: Final = 4_096
BUTTON: Final = 64
PAUSES: Final = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds before each further try; then a minute each, for a day."""
WITHIN: Final = 60.0
TAGS: Final = frozenset({"b", "i", "u", "s", "code", "pre", "a", "blockquote"})
FIELDS: Final = {
    "sendMessage": {
        *("chat_id", "text", "parse_mode", "message_thread_id", "reply_markup", "reply_parameters"),
        "link_preview_options",
    },
    "editMessageReplyMarkup": {"chat_id", "message_id", "reply_markup"},
    "answerCallbackQuery": {"callback_query_id", "text"},
    "getUpdates": {"offset", "timeout", "allowed_updates"},
}

Message = dict[str, Any]


class Bad(Exception):
    """Telegram's 400, with its description."""


class StrictTelegram(Local):
    """One bot.

    Attributes:
        messages: What the bot said, in order.
        answered: The buttons that were answered.
        done: Bodies of answers to updates that were not empty.
        previews: Messages that would have shown what is behind an address.
        faults: What the next `sendMessage` meet: a status, or `lost` (done, and not answered).
    """

    def __init__(
        self, hook: str = "", *, token: str = "7:strict", secret: str = "hook-secret", speed: float = 1.0, port: int = 0
    ) -> None:
        """Deliver to a hook, so much faster than Telegram."""
        routes = [Route("/bot{token}/{method}", self._api, methods=["POST"])]
        super().__init__(routes, port=port)
        self.hook = hook
        self.messages: list[Message] = []
        self.answered: list[Message] = []
        self.done: list[bytes] = []
        self.previews = 0
        self.faults: list[int | str] = []
        self.next_update = itertools.count(1_000)
        self._token, self._secret, self._speed = token, secret, speed
        self._numbers = itertools.count(1)
        self._queues: dict[int, asyncio.Lock] = {}
        self._waiting: list[Message] = []

    @property
    def api(self) -> str:
        """What a channel's `api=` takes."""
        return self.url

    def update(self, text: str, *, chat: int = 5, user: int = 7, topic: int | None = None) -> Message:
        """Let somebody write; nothing is delivered yet."""
        said: Message = {
            "message_id": next(self._numbers),
            "date": int(time.time()),
            "from": {"id": user, "is_bot": False, "first_name": f"Person {user}"},
            "chat": {"id": chat, "type": "private" if chat > 0 else "supergroup"},
            "text": text,
        }
        if topic is not None:
            said |= {"message_thread_id": topic, "is_topic_message": True}
        return {"update_id": next(self.next_update), "message": said}

    def press(self, card: Message, number: int = 0, *, user: int = 7) -> Message:
        """Let somebody press one of a card's buttons; nothing is delivered yet."""
        chat = card["chat_id"]
        shown = {
            "message_id": card["message_id"],
            "chat": {"id": chat, "type": "private" if chat > 0 else "supergroup"},
        }
        if "message_thread_id" in card:
            shown |= {"message_thread_id": card["message_thread_id"], "is_topic_message": True}
        who = {"id": user, "is_bot": False, "first_name": f"Person {user}"}
        data = card["reply_markup"]["inline_keyboard"][0][number]["callback_data"]
        query = {"id": f"q{next(self._numbers)}", "from": who, "message": shown, "data": data}
        return {"update_id": next(self.next_update), "callback_query": query}

    async def deliver(self, update: Message) -> list[Attempt]:
        """Deliver an update until it is taken; a chat's later ones wait for it."""
        said = update.get("message") or update["callback_query"]["message"]
        queue = self._queues.setdefault(said["chat"]["id"], asyncio.Lock())
        way = Deliveries(self.hook, self.sign, WITHIN, PAUSES, self._speed)
        body = json.dumps(update).encode()
        attempts = list[Attempt]()
        async with queue:
            for number in itertools.count():
                attempts.append(await way.attempt(body, number))
                if 200 <= attempts[-1].status < 300:
                    break
                await asyncio.sleep(PAUSES[min(number, len(PAUSES) - 1)] / self._speed)
        if attempts[-1].body:
            self.done.append(attempts[-1].body)
        return attempts

    def sign(self, body: bytes = b"", number: int = 0) -> Headers:
        """Return the headers of a delivery."""
        return {"x-telegram-bot-api-secret-token": self._secret}

    def offer(self, update: Message) -> None:
        """Keep an update for `getUpdates`."""
        self._waiting.append(update)

    async def _api(self, request: Request) -> Response:
        if request.path_params["token"] != self._token:
            return _refused(401, "Unauthorized")
        method, body = request.path_params["method"], json.loads(await request.body())
        try:
            if method not in FIELDS or body.keys() - FIELDS[method]:
                raise Bad(f"Bad Request: {method} does not take {sorted(body.keys() - FIELDS.get(method, set()))}")
            match method:
                case "getUpdates":
                    self._waiting = [each for each in self._waiting if each["update_id"] >= body["offset"]]
                    await asyncio.sleep(0 if self._waiting else 0.02)
                    return _ok(self._waiting[:100])
                case "answerCallbackQuery":
                    self.answered.append(body)
                    return _ok(True)
                case "editMessageReplyMarkup":
                    self._of(body).update(reply_markup=body["reply_markup"])
                    return _ok(True)
                case _:
                    return self._sent(body)
        except Bad as bad:
            return _refused(400, str(bad))

    def _sent(self, body: Message) -> Response:
        fault = self.faults.pop(0) if self.faults else None
        if fault == 429:
            return JSONResponse(
                {"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 3}},
                429,
            )
        if isinstance(fault, int):
            return _refused(fault, "Forbidden: bot was blocked by the user" if fault == 403 else "Error")
        _check(body)
        preview = body.get("link_preview_options", {}).get("is_disabled") is not True
        self.previews += preview and "://" in body["text"]
        posted = {**body, "message_id": next(self._numbers)}
        self.messages.append(posted)
        return Response(status_code=502) if fault == "lost" else _ok({"message_id": posted["message_id"]})

    def _of(self, body: Message) -> Message:
        for each in self.messages:
            if each["message_id"] == body["message_id"] and each["chat_id"] == body["chat_id"]:
                return each
        raise Bad("Bad Request: message to edit not found")


def _check(body: Message) -> None:
    text = Shown.of(body["text"]) if body.get("parse_mode") == "HTML" else body["text"]
    if not text.strip():
        raise Bad("Bad Request: message text is empty")
    if units(text) > MOST:
        raise Bad("Bad Request: message is too long")
    for row in body.get("reply_markup", {}).get("inline_keyboard", []):
        for button in row:
            if len(button.get("callback_data", "x").encode()) not in range(1, BUTTON + 1):
                raise Bad("Bad Request: BUTTON_DATA_INVALID")


class Shown(HTMLParser):
    """What is shown of a message in Telegram's HTML."""

    def __init__(self) -> None:
        """Show nothing yet."""
        super().__init__()
        self._open: list[str] = []
        self._text: list[str] = []

    @classmethod
    def of(cls, text: str) -> str:
        """Return what is shown.

        Raises:
            Bad: A tag is unknown, or not closed.
        """
        parser = cls()
        parser.feed(text)
        parser.close()
        if parser._open:
            raise Bad("Bad Request: can't parse entities: a tag is not closed")
        return "".join(parser._text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Open a tag."""
        if tag not in TAGS:
            raise Bad(f"Bad Request: can't parse entities: unsupported start tag {tag}")
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close a tag."""
        if not self._open or self._open.pop() != tag:
            raise Bad("Bad Request: can't parse entities: unexpected end tag")

    def handle_data(self, data: str) -> None:
        """Show a text."""
        self._text.append(data)


def _ok(result: Any) -> Response:
    return JSONResponse({"ok": True, "result": result})


def _refused(status: int, description: str) -> Response:
    return JSONResponse({"ok": False, "error_code": status, "description": description}, status)

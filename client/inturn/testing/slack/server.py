"""The server: Slack's Web API for one workspace, and what its people do.

Invariant: it refuses what Slack refuses, asks to wait as Slack does, and delivers as Slack does: within three seconds,
signed anew, at once, after a minute, after five, then never.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inturn.testing.platforms.delivering import Delivered, Deliveries, Headers
from inturn.testing.platforms.serving import Local
from inturn.testing.slack import rules
from inturn.testing.slack.socket_mode import Socket

RETRIES: Final = (0.0, 60.0, 300.0)
"""Seconds before each further try."""
WITHIN: Final = 3.0
PER_CHANNEL: Final = 1.0
"""Seconds between two messages in a channel."""
TEAM: Final = "T1"
BOT: Final = "U0BOT"
BOT_ID: Final = "B0BOT"
APP: Final = "A0APP"

Message = dict[str, Any]


class StrictSlack(Local):
    """One workspace with one app.

    Attributes:
        messages: Every message, in order, of people and of bots.
        whispers: What was said to one person.
        pings: What of the app's messages would have called people.
        unfurled: How many of them would have shown what is behind an address.
        violations: Requests that came before the time that a 429 had named.
        socket: Socket Mode's connections, where a test started them.
        faults: What the next `chat.postMessage` meet: a status, or `hang`, `lost` (done, and not answered).
    """

    def __init__(
        self,
        hook: str = "",
        *,
        signing_secret: str = "signing",
        bot_token: str = "xoxb-test",
        app_token: str = "xapp-test",
        speed: float = 1.0,
        pace: float = PER_CHANNEL,
        port: int = 0,
    ) -> None:
        """Deliver to a hook, so much faster than Slack."""
        routes = [Route("/api/{method}", self._api, methods=["GET", "POST"])]
        super().__init__(routes, port=port)
        self.hook = hook
        self.messages: list[Message] = []
        self.whispers: list[Message] = []
        self.pings: list[str] = []
        self.unfurled = 0
        self.violations = 0
        self.faults: list[int | str] = []
        self._secret, self._token, self._app_token = signing_secret.encode(), bot_token, app_token
        self.socket: Socket | None = None
        self._speed, self._pace = speed, pace
        self._clock = itertools.count(int(time.time()) * 1_000_000)
        self._numbers = itertools.count(1)
        self._last: dict[str, float] = {}
        self._held: dict[str, float] = {}

    @property
    def api(self) -> str:
        """What a channel's `api=` takes."""
        return f"{self.url}/api"

    # What people do.

    def message(self, text: str, *, channel: str = "C1", thread: str | None = None, user: str = "U7") -> Message:
        """Let somebody write; nothing is delivered yet."""
        said = {"type": "message", "channel": channel, "user": user, "text": text, "ts": self._time()}
        said["client_msg_id"] = f"cm-{next(self._numbers)}"
        if channel.startswith("D"):
            said["channel_type"] = "im"
        if thread:
            said["thread_ts"] = thread
        self.messages.append(said)
        return said

    def event(self, event: Message, event_id: str | None = None) -> bytes:
        """Return the body by which an event is delivered; under another id each time, if none is given."""
        return json.dumps(
            {
                "type": "event_callback",
                "team_id": TEAM,
                "api_app_id": APP,
                "event_id": event_id or f"Ev{next(self._numbers)}",
                "event_time": int(time.time()),
                "authorizations": [{"team_id": TEAM, "user_id": BOT, "is_bot": True}],
                "event": event,
            }
        ).encode()

    async def say(self, text: str, **where: Any) -> Delivered:
        """Let somebody write, and deliver it."""
        return await self.deliver(self.event(self.message(text, **where)))

    async def press(
        self, message: Message, *, yes: bool = True, user: str = "U7", value: str | None = None
    ) -> Delivered:
        """Let somebody press a card's button; Slack does not try again."""
        wanted = "inturn:yes" if yes else "inturn:no"
        shown = [element for block in message["blocks"] if block["type"] == "actions" for element in block["elements"]]
        button = next(element for element in shown if element.get("action_id") == wanted)
        payload = {
            "type": "block_actions",
            "team": {"id": TEAM},
            "user": {"id": user, "team_id": TEAM},
            "container": {"type": "message", "channel_id": message["channel"], "message_ts": message["ts"]},
            "message": {name: message[name] for name in ("ts", "thread_ts", "blocks") if name in message},
            "actions": [{**button, "value": value or button["value"]}],
        }
        return await self.form({"payload": json.dumps(payload)})

    async def command(self, text: str, *, channel: str = "C1", user: str = "U7", name: str = "/agent") -> Delivered:
        """Let somebody use a command; Slack does not try again."""
        fields = {"command": name, "text": text, "team_id": TEAM, "channel_id": channel, "user_id": user}
        return await self.form({**fields, "trigger_id": f"{next(self._numbers)}.trigger"})

    async def deliver(self, body: bytes) -> Delivered:
        """Deliver an event, and again by Slack's schedule."""
        return await self._deliveries(RETRIES).deliver(body)

    async def form(self, fields: dict[str, str]) -> Delivered:
        """Deliver what somebody did by hand, once."""
        body = urlencode(fields).encode()
        return await self._deliveries(()).deliver(body, content_type="application/x-www-form-urlencoded")

    def sign(self, body: bytes, number: int = 0, *, at: int | None = None) -> Headers:
        """Return the headers of a delivery."""
        now = int(time.time()) if at is None else at
        made = hmac.new(self._secret, b"v0:%d:%b" % (now, body), hashlib.sha256).hexdigest()
        retry = {"x-slack-retry-num": str(number), "x-slack-retry-reason": "http_error"} if number else {}
        return {"x-slack-request-timestamp": str(now), "x-slack-signature": f"v0={made}", **retry}

    def thread(self, ts: str) -> list[Message]:
        """Return a thread's messages, the first one's too."""
        return [each for each in self.messages if ts in (each["ts"], each.get("thread_ts"))]

    # The Web API.

    def _deliveries(self, pauses: tuple[float, ...]) -> Deliveries:
        return Deliveries(self.hook, self.sign, WITHIN, pauses, self._speed)

    async def _api(self, request: Request) -> Response:
        method, raw = request.path_params["method"], await request.body()
        try:
            wanted = self._app_token if method.startswith("apps.") else self._token
            if request.headers.get("authorization") != f"Bearer {wanted}":
                raise rules.No("invalid_auth")
            if request.method == "GET":
                return JSONResponse({"ok": True, **self._look(method, dict(request.query_params))})
            if method not in rules.FIELDS:
                raise rules.No("unknown_method")
            if not request.headers.get("content-type", "").startswith("application/json"):
                raise rules.No("invalid_post_type")
            body = json.loads(raw)
            rules.check(method, body)
            return await self._done(method, body)
        except rules.No as no:
            return JSONResponse({"ok": False, "error": str(no)})

    async def _done(self, method: str, body: Message) -> Response:
        if method == "auth.test":
            return JSONResponse({"ok": True, "team_id": TEAM, "user_id": BOT, "bot_id": BOT_ID, "app_id": APP})
        if method == "apps.connections.open":
            if self.socket is None:
                raise rules.No("internal_error")
            return JSONResponse({"ok": True, "url": self.socket.url})
        if method == "chat.postEphemeral":
            self.whispers.append(body)
            return JSONResponse({"ok": True})
        if method == "chat.update":
            found = next(
                (each for each in self.messages if each["ts"] == body["ts"] and each.get("bot_id") == BOT_ID), None
            )
            if found is None:
                raise rules.No("message_not_found")
            found.update(body)
            return JSONResponse({"ok": True, "ts": body["ts"]})
        return await self._posted(body)

    async def _posted(self, body: Message) -> Response:
        channel, now = str(body["channel"]), time.monotonic()
        if now < self._held.get(channel, 0.0):
            self.violations += 1
        if now < self._held.get(channel, 0.0) or now < self._last.get(channel, 0.0) + self._pace:
            self._held[channel] = max(self._held.get(channel, 0.0), now + 1.0)
            return JSONResponse({"ok": False, "error": "ratelimited"}, 429, {"retry-after": "1"})
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return Response(status_code=fault)
        if isinstance(fault, str) and fault != "lost":
            raise rules.No(fault)
        if body.get("thread_ts") and not any(each["ts"] == body["thread_ts"] for each in self.messages):
            raise rules.No("thread_not_found")
        self._last[channel] = now
        self.pings += rules.pings(body)
        self.unfurled += rules.unfurls(body)
        posted = {**body, "ts": self._time(), "user": BOT, "bot_id": BOT_ID, "app_id": APP, "type": "message"}
        self.messages.append(posted)
        if fault == "lost":
            return Response(status_code=502)
        return JSONResponse({"ok": True, "channel": channel, "ts": posted["ts"], "message": posted})

    def _look(self, method: str, query: dict[str, str]) -> Message:
        if method not in ("conversations.replies", "conversations.history"):
            raise rules.No("unknown_method")
        found = [each for each in self.messages if each["channel"] == query["channel"]]
        if method == "conversations.replies":
            found = [each for each in found if query["ts"] in (each["ts"], each.get("thread_ts"))]
        found = [each for each in found if float(each["ts"]) >= float(query.get("oldest", 0))]
        found = [each for each in found if float(each["ts"]) <= float(query.get("latest", "inf"))]
        start, most = int(query.get("cursor") or 0), int(query.get("limit", 100))
        cursor = str(start + most) if start + most < len(found) else ""
        hidden = set() if query.get("include_all_metadata") == "true" else {"metadata"}
        page = [{k: v for k, v in each.items() if k not in hidden} for each in found[start : start + most]]
        return {"messages": page, "response_metadata": {"next_cursor": cursor}}

    def _time(self) -> str:
        number = next(self._clock)
        return f"{number // 1_000_000}.{number % 1_000_000:06d}"

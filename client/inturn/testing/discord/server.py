"""The server: interactions of one application, and the messages of its bot.

Invariant: an address counts only once it answers a ping and refuses a bad signature; an interaction is made once, and
its answer is one that Discord knows, within three seconds.
"""

from __future__ import annotations

import itertools
import json
import time
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inturn.testing.platforms.delivering import Attempt, Deliveries, Headers
from inturn.testing.platforms.serving import Local

MOST: Final = 2_000
WITHIN: Final = 3.0
APP: Final = "900"
CHANNEL: Final = "500"
FIELDS: Final = frozenset({"content", "allowed_mentions", "flags", "components", "nonce", "enforce_nonce"})

Message = dict[str, Any]


class StrictDiscord(Local):
    """One application.

    Attributes:
        messages: What its bot said, in order.
        whispers: What one person was told after a press.
        pings: Messages that would have called somebody.
        previews: Messages that would have shown what is behind an address.
        faults: What the next messages meet: a status, or `lost` (done, and not answered).
    """

    def __init__(self, hook: str = "", *, token: str = "bot-token", port: int = 0) -> None:
        """Make interactions at a hook."""
        routes = [
            Route("/channels/{channel}/messages", self._post, methods=["POST"]),
            Route("/channels/{channel}/messages", self._list, methods=["GET"]),
            Route("/channels/{channel}/messages/{message}", self._edit, methods=["GET", "PATCH"]),
            Route("/users/@me", self._me, methods=["GET"]),
            Route("/webhooks/{app}/{token}", self._whisper, methods=["POST"]),
        ]
        super().__init__(routes, port=port)
        self.hook = hook
        self.messages: list[Message] = []
        self.whispers: list[Message] = []
        self.pings = 0
        self.previews = 0
        self.faults: list[int | str] = []
        self._key = Ed25519PrivateKey.from_private_bytes(b"strict-discord-key-of-32-bytes!!")
        self._token = token
        self._ids = itertools.count(1_000)

    @property
    def api(self) -> str:
        """What a channel's `api=` takes."""
        return self.url

    @property
    def public_key(self) -> str:
        """What a channel takes as its key."""
        return self._key.public_key().public_bytes_raw().hex()

    def command(self, text: str, *, user: str = "7", channel: str = CHANNEL) -> Message:
        """Let somebody use the command; nothing is made yet."""
        return self._interaction(2, user, channel) | {
            "data": {"name": "ask", "options": [{"name": "text", "type": 3, "value": text}]}
        }

    def press(self, card: Message, number: int = 0, *, user: str = "7", roles: tuple[str, ...] = ()) -> Message:
        """Let somebody press one of a card's buttons; nothing is made yet."""
        made = self._interaction(3, user, card["channel_id"]) | {"message": card}
        made["member"]["roles"] = list(roles)
        return made | {"data": {"custom_id": card["components"][0]["components"][number]["custom_id"]}}

    async def interact(self, interaction: Message) -> Attempt:
        """Make an interaction, once."""
        return await Deliveries(self.hook, lambda body, _: self.sign(body), WITHIN).attempt(
            json.dumps(interaction).encode()
        )

    async def accepts(self) -> bool:
        """Return whether Discord would take the hook's address: by a ping, and by one with a bad signature."""
        body = json.dumps({"type": 1}).encode()
        good = await Deliveries(self.hook, lambda b, _: self.sign(b), WITHIN).attempt(body)
        bad = await Deliveries(self.hook, lambda b, _: self.sign(b + b" "), WITHIN).attempt(body)
        return good.status == 200 and json.loads(good.body) == {"type": 1} and bad.status == 401

    def sign(self, body: bytes, *, at: int | None = None) -> Headers:
        """Return the headers of an interaction."""
        now = str(int(time.time()) if at is None else at)
        return {"x-signature-timestamp": now, "x-signature-ed25519": self._key.sign(now.encode() + body).hex()}

    def _interaction(self, kind: int, user: str, channel: str) -> Message:
        number = str(next(self._ids))
        member = {"user": {"id": user, "username": f"person{user}"}, "roles": []}
        made = {"id": number, "application_id": APP, "type": kind, "token": f"token-{number}"}
        return {**made, "channel_id": channel, "member": member}

    async def _post(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return JSONResponse(
                {"message": "no", "retry_after": 1.5}, fault, {"retry-after": "2"} if fault == 429 else {}
            )
        body = json.loads(await request.body())
        if body.keys() - FIELDS or not 0 < len(body.get("content", "")) <= MOST or len(str(body.get("nonce", ""))) > 25:
            return JSONResponse({"message": "Invalid Form Body", "code": 50035}, 400)
        if not all(
            len(each.get("custom_id", "")) <= 100 for row in body.get("components", []) for each in row["components"]
        ):
            return JSONResponse({"message": "Invalid Form Body", "code": 50035}, 400)
        known = (
            [each for each in self.messages if each["nonce"] == body.get("nonce")] if body.get("enforce_nonce") else []
        )
        if not known:
            self.pings += body.get("allowed_mentions") != {"parse": []}
            self.previews += "://" in body["content"] and not body.get("flags", 0) & 4
            place = {"id": str(next(self._ids)), "channel_id": request.path_params["channel"], "author": {"id": APP}}
            self.messages.append({**body, **place})
            known = self.messages[-1:]
        return Response(status_code=502) if fault == "lost" else JSONResponse(known[0])

    async def _list(self, request: Request) -> Response:
        found = [each for each in self.messages if each["channel_id"] == request.path_params["channel"]]
        return self._refused(request) or JSONResponse(found[::-1][:100])

    async def _edit(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        found = [each for each in self.messages if each["id"] == request.path_params["message"]]
        if not found:
            return JSONResponse({"message": "Unknown Message"}, 404)
        if request.method == "PATCH":
            found[0].update(json.loads(await request.body()))
        return JSONResponse(found[0])

    async def _me(self, request: Request) -> Response:
        return self._refused(request) or JSONResponse({"id": APP})

    async def _whisper(self, request: Request) -> Response:
        self.whispers.append(json.loads(await request.body()))
        return JSONResponse({})

    def _refused(self, request: Request) -> Response | None:
        good = request.headers.get("authorization") == f"Bot {self._token}"
        return None if good else JSONResponse({"message": "401: Unauthorized"}, 401)

"""The server: comments of one repository, and what people write in its threads.

Invariant: it refuses what GitHub refuses, delivers once, and never again by itself.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import re
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inturn.channels.markdown import outside_code
from inturn.testing.platforms.delivering import Attempt, Deliveries, Headers
from inturn.testing.platforms.serving import Local

MOST: Final = 65_536
WITHIN: Final = 10.0
REPO: Final = "acme/shop"
_MENTION: Final = re.compile(r"@([A-Za-z0-9][A-Za-z0-9-]*(?:/[\w.-]+)?)")
_PICTURE: Final = re.compile(r"!\[[^\]]*\]\(|<img\b", re.IGNORECASE)

Comment = dict[str, Any]


class StrictGitHub(Local):
    """One repository.

    Attributes:
        login: The bot.
        comments: Every comment, in order.
        mentioned: Whom the bot's comments called.
        pictures: How many of them would fetch one.
        faults: What the next comments meet: a status, or `lost` (done, and not answered).
    """

    def __init__(
        self,
        hook: str = "",
        *,
        secret: str = "hook-secret",
        token: str = "ghp_test",
        login: str = "helper",
        port: int = 0,
    ) -> None:
        """Deliver to a hook."""
        path = "/repos/{owner}/{repo}/issues/{number:int}/comments"
        super().__init__(
            [Route(path, self._comment, methods=["POST"]), Route(path, self._list, methods=["GET"])], port=port
        )
        self.hook = hook
        self.comments: list[Comment] = []
        self.mentioned: list[str] = []
        self.pictures = 0
        self.faults: list[int | str] = []
        self._secret, self._token, self.login = secret.encode(), token, login
        self._numbers = itertools.count(1_001)

    @property
    def api(self) -> str:
        """What a channel's `api=` takes."""
        return self.url

    def comment(self, text: str, *, number: int = 17, login: str = "dora", kind: str = "User") -> Comment:
        """Let somebody comment; return what is delivered of it."""
        said = self._written(text, number, login, kind)
        thread = {"number": number, "title": "It breaks"}
        repository = {"id": 812, "full_name": REPO}
        return {"action": "created", "issue": thread, "comment": said, "repository": repository, "sender": said["user"]}

    async def deliver(self, payload: Comment, event: str = "issue_comment", *, guid: str = "guid-1") -> Attempt:
        """Deliver, once; with the same `guid` it is a redelivery."""
        return await Deliveries(self.hook, lambda body, _: self.sign(body, event, guid), WITHIN).attempt(
            json.dumps(payload).encode()
        )

    def sign(self, body: bytes, event: str = "issue_comment", guid: str = "guid-1") -> Headers:
        """Return the headers of a delivery."""
        made = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        return {"x-hub-signature-256": f"sha256={made}", "x-github-event": event, "x-github-delivery": guid}

    def _written(self, text: str, number: int, login: str, kind: str) -> Comment:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = {"id": next(self._numbers), "body": text, "user": {"login": login, "type": kind}, "created_at": now}
        self.comments.append({**said, "number": number})
        return said

    async def _comment(self, request: Request) -> Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            headers = {"retry-after": "2"} if fault in (403, 429) else {}
            return JSONResponse({"message": "no"}, fault, headers)
        body = json.loads(await request.body())
        text = body.get("body")
        if body.keys() != {"body"} or not isinstance(text, str) or not text.strip() or len(text) > MOST:
            return JSONResponse({"message": "Validation Failed"}, 422)
        outside_code(text, self._seen)
        said = self._written(text, request.path_params["number"], self.login, "User")
        return Response(status_code=502) if fault == "lost" else JSONResponse(said, 201)

    async def _list(self, request: Request) -> Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        query = request.query_params
        found = [each for each in self.comments if each["number"] == request.path_params["number"]]
        found = [each for each in found if each["created_at"] >= query.get("since", "")]
        most, page = int(query.get("per_page", 30)), int(query.get("page", 1))
        return JSONResponse(found[(page - 1) * most : page * most])

    def _seen(self, text: str) -> str:
        self.mentioned += _MENTION.findall(text)
        self.pictures += len(_PICTURE.findall(text))
        return text

    def _refused(self, request: Request) -> Response | None:
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return JSONResponse({"message": "Bad credentials"}, 401)
        named = f"{request.path_params['owner']}/{request.path_params['repo']}"
        return None if named == REPO else JSONResponse({"message": "Not Found"}, 404)

"""GitHub: comments on issues and pull requests, and what else is asked for.

    from inturn.channels.github import GitHub

    github = GitHub(os.environ["GITHUB_WEBHOOK_SECRET"], os.environ["GITHUB_TOKEN"], login="support-bot")

GitHub does not come again by itself: what was not taken is redelivered by hand, under the same id, for three days.

Invariant: an answer stands once in its thread: it carries a hidden mark, by which our own comment is found again. It
calls nobody by a name that has not spoken in it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from inturn.channels import signatures
from inturn.channels.call import Call, Reply, Unreadable
from inturn.channels.channel import Channel, Out
from inturn.channels.chunks import split
from inturn.channels.failures import Refusal
from inturn.channels.ident import ident
from inturn.channels.inbound import Ignored, Inbound, Message, Withdraw
from inturn.channels.markdown import outside_code
from inturn.channels.pacing import Pace
from inturn.channels.platform import Platform
from inturn.channels.rendering import render
from inturn.channels.sending import outbox
from inturn.channels.signatures import Secrets, secrets_of
from inturn.errors import ToolError
from inturn.tools.context import ToolContext
from inturn.values import Approval

MOST: Final = 60_000
"""Characters of a comment; GitHub takes 65,536."""
EARLIER: Final = 120
"""Seconds before a part's first attempt from which it is looked for."""
PAGES: Final = 10
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,60}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
_MENTION: Final = re.compile(r"@([A-Za-z0-9][A-Za-z0-9-]*(?:/[\w.-]*)?)")
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|commat);")
_BEGINS: Final = re.compile(r"[@A-Za-z0-9]")
"""What a mention begins with."""
_PICTURE: Final = re.compile(r"!\[|<(?=!--|img|image|picture|source|video|audio)", re.IGNORECASE)
_LOGIN: Final = re.compile(r"[A-Za-z0-9-]{1,39}(\[bot\])?")


class GitHub(Channel):
    """Takes the comments of repositories that send them."""

    name = "github"
    ack_within = 10.0
    max_body = 25 << 20

    def __init__(
        self,
        secret: Secrets,
        token: str,
        *,
        login: str,
        instance: str = "",
        tenant: str | None = None,
        agent: str | None = None,
        mentioned: bool = True,
        bots: Collection[str] = (),
        page: str | None = None,
        api: str = "https://api.github.com",
    ) -> None:
        """Make the channel of an account or app.

        Args:
            secret: The webhook's.
            token: Of who answers.
            login: Its name, without `@`: what it says itself is no message.
            instance: Which of several: `/hooks/github/{instance}`.
            tenant: Whose sessions they are.
            agent: The agent of sessions that start here.
            mentioned: Take only what mentions `@login`.
            bots: Logins of bots whose comments count.
            page: The address of the gateway's page, for approvals: GitHub has no buttons.
            api: Another address of GitHub's.

        Raises:
            ValueError: The secret is missing, or the login is none.
        """
        if not _LOGIN.fullmatch(login):
            raise ValueError(f"{login!r:.60} is no login of GitHub's")
        self._secrets = secrets_of(secret)
        self._login = login.lower()
        self._called = (
            re.compile(rf"@{re.escape(login.removesuffix('[bot]'))}\b,?\s*", re.IGNORECASE) if mentioned else None
        )
        self._bots = frozenset(bot.lower() for bot in bots)
        self._platform = Platform(api, token)
        self._pace = Pace(1.0, burst=10)
        self._page = page
        self.instance, self.tenant, self.agent = instance, tenant, agent

    def verify(self, call: Call) -> bool:
        """Return whether GitHub signed it."""
        return signatures.github(self._secrets, call.body, call.header("x-hub-signature-256"))

    def hello(self, call: Call) -> Reply | None:
        """Return the answer to the ping of a new webhook."""
        return Reply() if call.header("x-github-event") == "ping" else None

    def read(self, call: Call) -> Iterable[Inbound]:
        """Return what a delivery means."""
        said, kind = call.json(), call.header("x-github-event")
        action = said.get("action")
        if kind == "issue_comment" and action == "deleted":
            return [self._withdrawn(said)]
        wanted = {("issue_comment", "created"): "comment", ("pull_request_review_comment", "created"): "comment"}
        wanted |= {("issues", "opened"): "issue", ("pull_request", "opened"): "pull_request"}
        wanted |= {("pull_request_review", "submitted"): "review"}
        part = wanted.get((kind, str(action)))
        return [Ignored("edit" if action == "edited" else "kind") if part is None else self._message(said, part)]

    def _message(self, said: dict[str, Any], part: str) -> Inbound:
        written = _object(said.get(part))
        author = _object(written.get("user"))
        login = str(author.get("login") or "")
        if not _LOGIN.fullmatch(login):
            raise Unreadable("it has no author")
        if login.lower() == self._login:
            return Ignored("own")
        if (author.get("type") == "Bot" or login.endswith("[bot]")) and login.lower() not in self._bots:
            return Ignored("bot")
        body = written.get("body")
        text = body.strip() if isinstance(body, str) else ""
        title = written.get("title")
        if isinstance(title, str) and title.strip():
            text = f"{title.strip()}\n\n{text}".strip()
        if self._called is not None:
            if self._called.search(text) is None:
                return Ignored("not mentioned")
            text = self._called.sub("", text).strip()
        if not text:
            return Ignored("empty")
        repo, number, name = self._place(said)
        letter = {"comment": "c", "review": "r", "issue": "i", "pull_request": "p"}[part]
        return Message(
            session=ident("gh", repo, number),
            event_id=ident("gh", repo, f"{letter}{_number(written, 'id')}"),
            content=f"{login}: {text}",
            sender=f"github:{login}",
            sent_at=_time(written.get("created_at") or written.get("submitted_at")),
            address={"repo": name, "number": number},
        )

    def _withdrawn(self, said: dict[str, Any]) -> Inbound:
        repo, number, _ = self._place(said)
        by = str(_object(said.get("sender")).get("login") or "")
        event_id = ident("gh", repo, f"c{_number(_object(said.get('comment')), 'id')}")
        return Withdraw(session=ident("gh", repo, number), event_id=event_id, by=f"github:{by}" if by else None)

    def _place(self, said: dict[str, Any]) -> tuple[int, int, str]:
        repository = _object(said.get("repository"))
        name = repository.get("full_name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise Unreadable("it has no repository")
        thread = _object(said.get("issue")) or _object(said.get("pull_request"))
        return _number(repository, "id"), _number(thread, "number"), name

    async def deliver(self, out: Out, ctx: ToolContext) -> None:
        """Bring it out, as a comment in its thread."""
        address = ctx.event.metadata or {}
        repo, number = address.get("repo"), address.get("number")
        if not (isinstance(repo, str) and _NAME.fullmatch(repo) and isinstance(number, int)):
            raise ToolError("the event says no thread of GitHub's to answer in")
        thread = f"/repos/{repo}/issues/{number}/comments"
        asked = str(ctx.event.sender or "").removeprefix("github:").lower()
        text = render(out)
        if isinstance(out, Approval):
            text += f"\n\n{self._page.rstrip('/')}/sessions/{ctx.session_id}" if self._page else ""
        async with outbox(ctx, secrets=self._secrets, find=partial(self._find, thread)) as send:
            for part in split(text, MOST, length=_length):
                await self._pace.wait("github")
                await send(self._post, thread, quiet(part, {asked}))

    async def _post(self, thread: str, part: str, *, idempotency_key: str) -> str:
        with self._pace.heeded("github"):
            answer = await self._platform.post(thread, {"body": f"{part}\n\n{_mark(idempotency_key)}"})
        return str(answer.object().get("id"))

    async def _find(self, thread: str, key: str, at: float) -> str | None:
        since = datetime.fromtimestamp(max(at - EARLIER, 0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for page in range(1, PAGES + 1):
            told = (await self._platform.get(thread, {"since": since, "per_page": "100", "page": str(page)})).json()
            listed = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
            for each in listed:
                own = str(_object(each.get("user")).get("login") or "").lower() == self._login
                if own and str(each.get("body") or "").endswith(_mark(key)):
                    return str(each.get("id"))
            if len(listed) < 100:
                return None
        raise Refusal("the thread is too long to look through", 503)


def quiet(text: str, known: Collection[str]) -> str:
    """Return a text that shows no picture, and calls nobody but those who are in the thread; its code stays."""

    def mention(found: re.Match[str]) -> str:
        return found[0] if found[1].lower() in known else f"@\u200b{found[1]}"

    def plain(found: re.Match[str]) -> str:
        meant = html.unescape(found[0])
        return meant if _BEGINS.fullmatch(meant) else found[0]

    def change(part: str) -> str:
        part = _ENTITY.sub(plain, part)  # GitHub looks for names in what is shown, not in what was written
        return _PICTURE.sub(lambda found: f"{found[0][0]}\u200b{found[0][1:]}", _MENTION.sub(mention, part))

    return outside_code(text, change)


def _length(text: str) -> int:
    return len(text) + text.count("@") + text.count("![") + text.count("<")


def _mark(key: str) -> str:
    return f"<!-- inturn:{key} -->"


def _time(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


def _number(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise Unreadable(f"{name} is missing")
    return value


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

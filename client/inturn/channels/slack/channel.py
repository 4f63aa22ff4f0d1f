"""The channel of one Slack app, in one workspace or many.

Invariant: Slack is answered within its three seconds and only for what is durable; each answer stands in the thread of
its question, once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from inturn.channels import signatures
from inturn.channels.approvers import Approvers, Who, mark
from inturn.channels.call import Call, Reply
from inturn.channels.cards import buttons, keep_card
from inturn.channels.channel import Channel, Out, Take
from inturn.channels.inbound import Answered, Click, Inbound, Taken
from inturn.channels.rendering import render
from inturn.channels.signatures import Secrets, secrets_of
from inturn.channels.slack import blocks
from inturn.channels.slack.api import SlackApi
from inturn.channels.slack.reading import Reader, form_or_json
from inturn.channels.slack.socket_mode import hold
from inturn.errors import ToolError
from inturn.tools.context import ToolContext
from inturn.values import Approval

_REPEAT: Final = "That was not taken up: please send it once more."
_SAID: Final = {
    "refused": "Your click does not count",
    "approved": "Approved",
    "denied": "Denied",
    "expired": "Expired",
}


class Slack(Channel):
    """Takes events, commands and buttons; answers in threads."""

    name = "slack"
    ack_within = 3.0

    def __init__(
        self,
        signing_secret: Secrets,
        bot_token: str,
        *,
        app_token: str | None = None,
        instance: str = "",
        tenant: str | None = None,
        tenants: Mapping[str, str] | None = None,
        agent: str | None = None,
        approvers: Who = None,
        four_eyes: bool = False,
        approvals_to: str | None = None,
        page: str | None = None,
        bots: Collection[str] = (),
        name_senders: bool = True,
        api: str = "https://slack.com/api",
    ) -> None:
        """Make the channel of an app.

        Args:
            signing_secret: From the app's page; several, while one replaces another.
            bot_token: `xoxb-…`.
            app_token: `xapp-…`, for Socket Mode: no public address is needed then.
            instance: Which of several apps: `/hooks/slack/{instance}`.
            tenant: Whose sessions they are.
            tenants: The same by workspace; one that is not named is ignored then.
            agent: The agent of sessions that start here.
            approvers: Who may answer approvals: ids (`U7`), a function of the `Click`, or `"anyone"`. Without it cards
                have no buttons.
            four_eyes: Who asked may not answer.
            approvals_to: A channel for the cards; by default they come in the thread.
            page: The address of the gateway's page, for a link on cards.
            bots: Other bots (`B…`) whose messages count.
            name_senders: Say in front of a message in a channel who wrote it.
            api: Another address of Slack's.

        Raises:
            ValueError: A secret is missing, or `approvers` is a text.
        """
        self._secrets = secrets_of(signing_secret)
        self._api = SlackApi(api, bot_token)
        self._apps = SlackApi(api, app_token) if app_token else None
        self._approvers = Approvers(approvers, four_eyes=four_eyes)
        self._approvals_to = approvals_to
        self._page = page
        self._reader = Reader(self._secrets, dict(tenants or {}), frozenset(bots), name_senders)
        self.instance, self.tenant, self.agent = instance, tenant, agent

    # In.

    def verify(self, call: Call) -> bool:
        """Return whether Slack signed it, lately."""
        at, signature = call.header("x-slack-request-timestamp"), call.header("x-slack-signature")
        return signatures.slack(self._secrets, call.body, at, signature, call.now)

    def hello(self, call: Call) -> Reply | None:
        """Return the answer to the challenge by which Slack tries an address."""
        if b"url_verification" not in call.body or _form(call) is not None:
            return None
        said = call.json()
        challenge = said.get("challenge")
        if said.get("type") != "url_verification" or not isinstance(challenge, str):
            return None
        return Reply.text(challenge[:1_000])

    def read(self, call: Call) -> Iterable[Inbound]:
        """Return what it means."""
        fields = _form(call)
        return [self._reader.read(call.json()) if fields is None else self._reader.form(fields)]

    def answer(self, taken: Sequence[Taken]) -> Reply:
        """Return 200, or 503 where Slack comes again; it does not for commands and buttons: the person is told."""
        reply = super().answer(taken)
        if reply.status < 300:
            return reply
        by_hand = [isinstance(each.inbound, Click) or "user" in getattr(each.inbound, "address", ()) for each in taken]
        return Reply.json({"response_type": "ephemeral", "text": _REPEAT}) if all(by_hand) else reply

    async def listen(self, take: Take) -> None:
        """Hold Socket Mode's connection, where there is an app token."""
        if self._apps is not None:
            await hold(self._apps, take)

    @property
    def listens(self) -> bool:
        """Whether it has an app token."""
        return self._apps is not None

    # Approvals.

    async def allows(self, click: Click) -> str | None:
        """Return why a click does not count."""
        marks = [mark(secret, click.by) for secret in self._secrets]
        made = next((one for one in marks if one == click.asker), marks[0])
        return await self._approvers.refuses(click, made)

    async def told(self, click: Click, answered: Answered) -> None:
        """Tell the person alone that the click did not count, or show on the card what came of it."""
        place = click.address
        if answered.answer == "refused":
            text = f"{_SAID['refused']}: {answered.reason or 'you may not answer this'}."
            await self._api.whisper(str(place.get("to")), str(place.get("by")), text, place.get("thread"))
        else:
            await self.show(place, answered)

    async def show(self, card: Mapping[str, Any], answered: Answered) -> None:
        """Show on a card how its approval was answered, in the place of its buttons."""
        channel, at = card.get("to"), card.get("ts")
        if not (isinstance(channel, str) and isinstance(at, str)):
            return
        shown = await self._api.blocks_of(channel, at, card.get("thread"))
        by = f" by {answered.by}" if answered.by else ""
        await self._api.update(channel, at, f"{_SAID[answered.answer]}{by}", blocks.settled(shown, answered))

    # Out.

    async def deliver(self, out: Out, ctx: ToolContext) -> None:
        """Bring it out, in the thread that its event came from."""
        address = ctx.event.metadata or {}
        channel, thread = address.get("to"), address.get("thread")
        if not isinstance(channel, str):
            raise ToolError("the event says no channel of Slack's to answer in")
        if isinstance(out, Approval):
            await self._ask(out, ctx, channel, thread)
        else:
            await self._api.say(ctx, self._secrets, channel, thread, render(out))

    async def _ask(self, approval: Approval, ctx: ToolContext, channel: str, thread: Any) -> None:
        elsewhere = self._approvals_to is not None
        at, within = (str(self._approvals_to), None) if elsewhere else (channel, thread)
        at_place = not elsewhere and "user" not in (ctx.event.metadata or {})
        given = buttons(approval, ctx, self._secrets[0], at_place=at_place) if self._approvers.anybody else None
        shown = blocks.card(approval, asker=ctx.event.sender, buttons=given, page=self._link(ctx))
        posted = await self._api.post_card(ctx, self._secrets, at, within, f"May {approval.tool} run?", shown)
        with contextlib.suppress(ValueError):
            place = {"to": at, "ts": posted} | ({"thread": within} if within else {})
            await keep_card(ctx, approval, self.label, place)

    def _link(self, ctx: ToolContext) -> str | None:
        return None if self._page is None else f"{self._page.rstrip('/')}/sessions/{ctx.session_id}"


def _form(call: Call) -> dict[str, str] | None:
    return form_or_json(call.body, call.header("content-type"))

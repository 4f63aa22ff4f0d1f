"""Discord: commands and buttons by its interactions endpoint; answers as the bot's messages.

    from inturn.channels.discord import Discord

    discord = Discord(os.environ["DISCORD_PUBLIC_KEY"], os.environ["DISCORD_BOT_TOKEN"])

Invariant: Discord does not come again, so what is not durable within its three seconds is told to the person, who
repeats it. What goes out has a nonce, by which Discord drops what comes twice, and by which it is found later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from inturn.channels.approvers import Approvers, Who, mark
from inturn.channels.call import Call, Reply, Unreadable
from inturn.channels.cards import buttons, click_of, keep_card, pressed
from inturn.channels.channel import Channel, Out
from inturn.channels.chunks import split
from inturn.channels.ed25519 import is_signed, public_key
from inturn.channels.ident import ident
from inturn.channels.inbound import Answered, Click, Ignored, Inbound, Message, Stop, Taken
from inturn.channels.pacing import Pace
from inturn.channels.platform import Platform
from inturn.channels.rendering import render
from inturn.channels.sending import outbox
from inturn.channels.signatures import is_fresh
from inturn.errors import ToolError
from inturn.tools.context import ToolContext
from inturn.values import Approval

MOST: Final = 2_000
CUSTOM_ID: Final = 100
NONCE: Final = 24
"""Characters of a key that fit into a nonce."""
QUIET: Final[dict[str, Any]] = {"allowed_mentions": {"parse": []}, "flags": 4}
"""Calls nobody, shows no previews."""
_TO_ONE: Final = 64
_REPEAT: Final = "That was not taken up: please send it once more."
_SAID: Final = {"approved": "✅ approved", "denied": "⛔ denied", "expired": "⌛ expired"}


class Discord(Channel):
    """Takes commands and buttons of one application."""

    name = "discord"
    ack_within = 3.0

    def __init__(
        self,
        key: str,
        bot_token: str,
        *,
        instance: str = "",
        tenant: str | None = None,
        agent: str | None = None,
        approvers: Who = None,
        four_eyes: bool = False,
        page: str | None = None,
        api: str = "https://discord.com/api/v10",
    ) -> None:
        """Make the channel of an application.

        Args:
            key: Its public key, in hex.
            bot_token: Of its bot.
            instance: Which of several: `/hooks/discord/{instance}`.
            tenant: Whose sessions they are.
            agent: The agent of sessions that start here.
            approvers: Who may answer approvals, as for `Slack`: ids of persons or of roles.
            four_eyes: Who asked may not answer.
            page: The address of the gateway's page, for cards that have no buttons.
            api: Another address of Discord's.

        Raises:
            ValueError: The key is none, or `approvers` is a text.
        """
        self._key = public_key(key)
        self._platform = Platform(api, bot_token, scheme="Bot")
        self._secret = f"{bot_token}:buttons"
        self._pace = Pace(1.05, burst=5)
        self._approvers = Approvers(approvers, four_eyes=four_eyes)
        self._page = page
        self.instance, self.tenant, self.agent = instance, tenant, agent

    def __repr__(self) -> str:
        """Return it without its token."""
        return f"<Discord {self.label}>"

    # In.

    def verify(self, call: Call) -> bool:
        """Return whether Discord signed it, lately."""
        at = call.header("x-signature-timestamp")
        return is_fresh(at, call.now) and is_signed(
            self._key, at.encode() + call.body, call.header("x-signature-ed25519")
        )

    def hello(self, call: Call) -> Reply | None:
        """Return the answer to a ping, by which Discord tries the address."""
        return Reply.json({"type": 1}) if b'"type"' in call.body and call.json().get("type") == 1 else None

    def read(self, call: Call) -> Iterable[Inbound]:
        """Return what an interaction means."""
        said = call.json()
        match said.get("type"):
            case 2:
                return [self._command(said)]
            case 3:
                return [self._pressed(said)]
            case _:
                return [Ignored("kind")]

    def answer(self, taken: Sequence[Taken]) -> Reply:
        """Return what the person sees at once."""
        [only] = taken[:1] or [Taken(Ignored("kind"), "ignored")]
        if only.status != "taken":
            text = _REPEAT if only.status == "later" else only.reason or "There is nothing to do."
            return _shown(text, _TO_ONE)
        if isinstance(only.inbound, Click):
            return Reply.json({"type": 6})
        asked = only.inbound.content if isinstance(only.inbound, Message) else "stop"
        return _shown("> " + str(asked)[:1_800].replace("\n", "\n> "), 4)

    def _command(self, said: dict[str, Any]) -> Inbound:
        user, channel = _user(said), _id(said, "channel_id")
        data = _object(said.get("data"))
        listed = data.get("options")
        given = [_object(each).get("value") for each in listed[:25]] if isinstance(listed, list) else []
        text = " ".join(str(value) for value in given if isinstance(value, str | int | float)).strip()
        text = text or str(data.get("name") or "").strip()
        session, by = ident("dc", channel), f"discord:{_id(user, 'id')}"
        if text in ("stop", "/stop"):
            return Stop(session=session, by=by, address={"to": channel})
        if not text:
            return Ignored("empty")
        return Message(
            session=session, event_id=ident("dc", _id(said, "id")), content=text, sender=by, address={"to": channel}
        )

    def _pressed(self, said: dict[str, Any]) -> Inbound:
        user, channel, card = _user(said), _id(said, "channel_id"), _object(said.get("message"))
        button = pressed(str(_object(said.get("data")).get("custom_id") or ""), (self._secret,), ident("dc", channel))
        if button is None:
            return Ignored("forged")
        roles = _object(said.get("member")).get("roles")
        place = {"to": channel, "message": _id(card, "id"), "shown": str(card.get("content") or "")[:MOST]}
        return Click(
            by=f"discord:{_id(user, 'id')}",
            **click_of(button),
            bot=user.get("bot") is True,
            groups=tuple(str(role) for role in roles[:250]) if isinstance(roles, list) else (),
            address={
                **place,
                "app": str(said.get("application_id") or ""),
                "token": str(said.get("token") or "")[:512],
            },
        )

    # Approvals.

    async def allows(self, click: Click) -> str | None:
        """Return why a click does not count."""
        return await self._approvers.refuses(click, mark(self._secret, click.by))

    async def told(self, click: Click, answered: Answered) -> None:
        """Tell the person alone that the click did not count, or show on the card what came of it."""
        if answered.answer != "refused":
            return await self.show(click.address, answered)
        app, token = click.address.get("app"), click.address.get("token")
        if app and token:
            said = {
                "content": answered.reason or "It does not count.",
                "flags": _TO_ONE,
                "allowed_mentions": {"parse": []},
            }
            await self._platform.post(f"/webhooks/{app}/{token}", said)

    async def show(self, card: Mapping[str, Any], answered: Answered) -> None:
        """Show on a card how its approval was answered, in the place of its buttons."""
        channel, message = card.get("to"), card.get("message")
        if answered.answer == "refused" or not (isinstance(channel, str) and isinstance(message, str)):
            return
        path = f"/channels/{channel}/messages/{message}"
        shown = card.get("shown") or (await self._platform.get(path)).object().get("content") or ""
        line = _SAID[answered.answer] + (f" by {answered.by}" if answered.by else "")
        content = f"{str(shown)[: MOST - 1 - len(line)]}\n{line}"
        body = {"content": content, "components": [], "allowed_mentions": {"parse": []}}
        await self._platform.ask("PATCH", path, _json(body))

    # Out.

    async def deliver(self, out: Out, ctx: ToolContext) -> None:
        """Bring it out, into the channel that its event came from."""
        channel = (ctx.event.metadata or {}).get("to")
        if not isinstance(channel, str) or not channel.isdecimal():
            raise ToolError("the event says no channel of Discord's to answer in")
        parts, components = split(render(out), MOST), list[dict[str, Any]]()
        if isinstance(out, Approval):
            parts, components = self._card(out, ctx, parts)
        posted = ""
        async with outbox(ctx, secrets=self._secret, find=partial(self._find, channel)) as send:
            for part in parts:
                await self._pace.wait(channel)
                more = {"components": components} if components and part is parts[-1] else {}
                posted = await send(self._post, channel, part, more)
        if isinstance(out, Approval) and posted:
            await keep_card(ctx, out, self.label, {"to": channel, "message": posted})

    def _card(self, approval: Approval, ctx: ToolContext, parts: list[str]) -> tuple[list[str], list[dict[str, Any]]]:
        """Return a card's text and buttons: none, where it cannot show all arguments."""
        yes, no = buttons(approval, ctx, self._secret, at_place=True, most=CUSTOM_ID)
        acts = list[dict[str, Any]]()
        if len(parts) == 1 and self._approvers.anybody:
            acts = [
                {"type": 2, "style": 3, "label": "Approve", "custom_id": yes},
                {"type": 2, "style": 4, "label": "Deny", "custom_id": no},
            ]
        if self._page is not None:
            url = f"{self._page.rstrip('/')}/sessions/{ctx.session_id}"
            acts.append({"type": 2, "style": 5, "label": "Open", "url": url})
        shown = parts if len(parts) == 1 else [f"May `{approval.tool}` run? There is more to it than fits here."]
        return shown, [{"type": 1, "components": acts}] if acts else []

    async def _post(self, channel: str, part: str, more: dict[str, Any], *, idempotency_key: str) -> str:
        body = {"content": part, **QUIET, **more, "nonce": idempotency_key[:NONCE], "enforce_nonce": True}
        with self._pace.heeded(channel):
            return str((await self._platform.post(f"/channels/{channel}/messages", body)).object().get("id"))

    async def _find(self, channel: str, key: str, at: float) -> str | None:
        told = (await self._platform.get(f"/channels/{channel}/messages", {"limit": "100"})).json()
        own = str((await self._platform.get("/users/@me")).object().get("id"))
        for each in told if isinstance(told, list) else []:
            message = _object(each)
            if message.get("nonce") == key[:NONCE] and _object(message.get("author")).get("id") == own:
                return str(message.get("id"))
        return None


def _shown(text: str, flags: int) -> Reply:
    return Reply.json({"type": 4, "data": {"content": text, "flags": flags, "allowed_mentions": {"parse": []}}})


def _json(value: Any) -> bytes:
    return Reply.json(value).body


def _user(said: dict[str, Any]) -> dict[str, Any]:
    return _object(_object(said.get("member")).get("user")) or _object(said.get("user"))


def _id(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not (value.isascii() and value.isdecimal() and len(value) <= 20):
        raise Unreadable(f"{name} is missing")
    return value


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

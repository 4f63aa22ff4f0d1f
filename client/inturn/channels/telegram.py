"""Telegram: one bot, by webhook or polling.

    from inturn.channels.telegram import Telegram

    telegram = Telegram(os.environ["TELEGRAM_BOT_TOKEN"], secret=os.environ["TELEGRAM_SECRET"])

Its server delivers the updates of a chat one by one, in order, each until it is taken; so no event has a sequence here.

Invariant: the answer to an update is empty: a body with a `method` would be done as a call of the bot's. A part whose
answer was lost is sent again (Telegram cannot be asked what it has), and the journal says so.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeGuard

from inturn.channels import signatures
from inturn.channels.approvers import Approvers, Who, mark
from inturn.channels.call import Call, Reply, Unreadable
from inturn.channels.cards import buttons, click_of, keep_card, pressed
from inturn.channels.channel import Channel, Out, Take
from inturn.channels.chunks import split, units
from inturn.channels.failures import Refusal, seconds
from inturn.channels.ident import ident
from inturn.channels.inbound import Answered, Click, Ignored, Inbound, Message, Stop, Taken
from inturn.channels.pacing import Pace
from inturn.channels.platform import Platform
from inturn.channels.rendering import arguments, render
from inturn.channels.sending import outbox
from inturn.channels.signatures import Secrets, secrets_of
from inturn.errors import ToolError
from inturn.tools.context import ToolContext
from inturn.tools.secrets import Secret
from inturn.values import Approval

MOST: Final = 4_096
"""UTF-16 units of a message."""
BUTTON: Final = 64
"""Bytes of a button's data."""
POLL: Final = 25
"""Seconds for which Telegram holds a poll."""
KINDS: Final = ("message", "edited_message", "channel_post", "callback_query")
_TOKEN: Final = re.compile(r"(\d{1,20}):[A-Za-z0-9_-]{1,100}")
_MENTION: Final = re.compile(r"^(?:/\w{1,32})?@\w{2,29}bot\b[,:]?\s*", re.IGNORECASE)
_FENCED: Final = re.compile(r"^ {0,3}```[^\n`]*\n(.*?)(?:^ {0,3}```[ ]*$|\Z)", re.MULTILINE | re.DOTALL)
_SAID: Final = {"approved": "✅ approved", "denied": "⛔ denied", "expired": "⌛ expired"}

log = logging.getLogger("inturn.channels.telegram")


class Telegram(Channel):
    """Takes messages and buttons of a bot's chats."""

    name = "telegram"
    ack_within = 10.0

    def __init__(
        self,
        token: str,
        *,
        secret: Secrets | None = None,
        instance: str = "",
        tenant: str | None = None,
        agent: str | None = None,
        approvers: Who = None,
        four_eyes: bool = False,
        page: str | None = None,
        name_senders: bool = True,
        api: str = "https://api.telegram.org",
    ) -> None:
        """Make the channel of a bot.

        Args:
            token: From @BotFather.
            secret: What `setWebhook` was told as `secret_token`. Without it the channel polls.
            instance: Which of several bots: `/hooks/telegram/{instance}`.
            tenant: Whose sessions they are.
            agent: The agent of sessions that start here.
            approvers: Who may answer approvals, as for `Slack`: ids are the persons' numbers.
            four_eyes: Who asked may not answer.
            page: The address of the gateway's page, for cards that have no buttons.
            name_senders: Say in front of a message in a group who wrote it.
            api: Another address of Telegram's.

        Raises:
            ValueError: The token or a secret is none, or `approvers` is a text.
        """
        found = _TOKEN.fullmatch(token)
        if found is None:
            raise ValueError("the token is none of Telegram's: digits, a colon, letters")
        self._bot = found[1]
        self._secrets = None if secret is None else secrets_of(secret)
        self._proofs = (f"{token}:buttons",)
        self._token = Secret(token)
        self._platform = Platform(api)
        self._pace = Pace(1.05, burst=3)
        self._approvers = Approvers(approvers, four_eyes=four_eyes)
        self._page, self._name_senders = page, name_senders
        self.instance, self.tenant, self.agent = instance, tenant, agent

    def __repr__(self) -> str:
        """Return it with its bot's number."""
        return f"<Telegram {self._bot}>"

    # In.

    def verify(self, call: Call) -> bool:
        """Return whether it has the webhook's secret."""
        given = call.header("x-telegram-bot-api-secret-token")
        return self._secrets is not None and signatures.equal(self._secrets, given)

    def read(self, call: Call) -> Iterable[Inbound]:
        """Return what an update means."""
        update = call.json()
        number = update.get("update_id")
        if not _is_number(number):
            raise Unreadable("an update has a number")
        if "callback_query" in update:
            return [self._pressed(_object(update["callback_query"]))]
        if "edited_message" in update:
            return [Ignored("edit")]
        return [self._message(_object(update.get("message")), number)]

    def answer(self, taken: Sequence[Taken]) -> Reply:
        """Return 200 without a body, or 503: Telegram comes again, and keeps the chat's other updates back."""
        return super().answer(taken)

    def _message(self, said: dict[str, Any], number: int) -> Inbound:
        writer, chat = _object(said.get("from")), _object(said.get("chat"))
        if not said or not _is_number(chat.get("id")):
            return Ignored("kind")
        if writer.get("is_bot") is True or not _is_number(writer.get("id")):
            return Ignored("bot")
        text = _text(said)
        if not text:
            return Ignored("empty")
        topic = said.get("message_thread_id") if said.get("is_topic_message") is True else None
        session = self._session(chat["id"], topic)
        address = {"to": chat["id"]} | ({"topic": topic} if _is_number(topic) else {})
        by, bare = f"telegram:{writer['id']}", _MENTION.sub("", text) or text
        if bare.split("@")[0] in ("/stop", "stop"):
            return Stop(session=session, by=by, address=address)
        direct = chat.get("type") == "private"
        name = str(writer.get("first_name") or writer["id"])[:60]
        at = said.get("date")
        aliases = (
            [ident("tg", self._bot, chat["id"], f"m{said['message_id']}")] if _is_number(said.get("message_id")) else []
        )
        return Message(
            session=session,
            event_id=ident("tg", self._bot, f"u{number}"),
            aliases=tuple(aliases),
            content=bare if direct or not self._name_senders else f"{name}: {bare}",
            sender=by,
            sent_at=float(at) if _is_number(at) and 0 <= at < 32_503_680_000 else None,
            address=address,
        )

    def _session(self, chat: int, topic: object) -> str:
        return ident("tg", self._bot, chat, topic) if _is_number(topic) else ident("tg", self._bot, chat)

    def _pressed(self, query: dict[str, Any]) -> Inbound:
        who, card = _object(query.get("from")), _object(query.get("message"))
        chat, number = _object(card.get("chat")).get("id"), card.get("message_id")
        if not (_is_number(who.get("id")) and _is_number(chat) and _is_number(number) and isinstance(chat, int)):
            raise Unreadable("a button has a person, a chat and a message")
        topic = card.get("message_thread_id") if card.get("is_topic_message") is True else None
        button = pressed(str(query.get("data") or ""), self._proofs, self._session(chat, topic))
        if button is None:
            return Ignored("forged")
        return Click(
            by=f"telegram:{who['id']}",
            **click_of(button),
            bot=who.get("is_bot") is True,
            address={"to": chat, "message": number, "query": str(query.get("id") or "")[:64]},
        )

    async def listen(self, take: Take) -> None:
        """Poll, where there is no webhook's secret."""
        offset, failed = 0, 0
        while True:
            try:
                told = await self._call("getUpdates", {"offset": offset, "timeout": POLL, "allowed_updates": KINDS})
                failed = 0
                for update in told if isinstance(told, list) else []:
                    offset = await self._taken(take, update, offset)
            except Exception as error:
                failed += 1
                log.warning("Telegram does not answer (%s); again soon", type(error).__name__)
                await asyncio.sleep(min(2.0**failed, 30.0))

    async def _taken(self, take: Take, update: Any, offset: int) -> int:
        """Take an update until it is durable: those behind it wait, as with a webhook."""
        call = Call(json.dumps(update).encode(), now=time.time())
        while True:
            reply = await take(call)
            if reply.status < 500:
                break
            await asyncio.sleep(seconds(reply.headers.get("retry-after")) or 1.0)
        number = _object(update).get("update_id")
        return number + 1 if isinstance(number, int) else offset

    @property
    def listens(self) -> bool:
        """Whether it polls."""
        return self._secrets is None

    # Approvals.

    async def allows(self, click: Click) -> str | None:
        """Return why a click does not count."""
        return await self._approvers.refuses(click, mark(self._proofs[0], click.by))

    async def told(self, click: Click, answered: Answered) -> None:
        """Answer the button, and show on the card what came of it."""
        line = answered.reason or "It does not count." if answered.answer == "refused" else _SAID[answered.answer]
        if query := click.address.get("query"):
            await self._call("answerCallbackQuery", {"callback_query_id": query, "text": line[:200]})
        if answered.answer != "refused":
            await self.show(click.address, answered)

    async def show(self, card: Mapping[str, Any], answered: Answered) -> None:
        """Take the buttons off a card, and say under it how it was answered."""
        place = {"chat_id": card.get("to"), "message_id": card.get("message")}
        if not all(map(_is_number, place.values())) or answered.answer == "refused":
            return
        await self._call("editMessageReplyMarkup", {**place, "reply_markup": {"inline_keyboard": []}})
        line = _SAID[answered.answer] + (f" by {answered.by}" if answered.by else "")
        said = {
            "chat_id": place["chat_id"],
            "text": line[:MOST],
            "reply_parameters": {"message_id": place["message_id"]},
        }
        await self._call("sendMessage", said | {"link_preview_options": {"is_disabled": True}})

    # Out.

    async def deliver(self, out: Out, ctx: ToolContext) -> None:
        """Bring it out, into the chat (and the topic) that its event came from."""
        address = ctx.event.metadata or {}
        if not _is_number(address.get("to")):
            raise ToolError("the event says no chat of Telegram's to answer in")
        place: dict[str, Any] = {"chat_id": address["to"]}
        if _is_number(address.get("topic")):
            place["message_thread_id"] = address["topic"]
        if isinstance(out, Approval):
            return await self._ask(out, ctx, place)
        async with outbox(ctx, blind=True) as send:
            for part in split(render(out), MOST, length=lambda part: units(formatted(part))):
                await self._pace.wait(str(place["chat_id"]))
                await send(self._say, place, part)

    async def _ask(self, approval: Approval, ctx: ToolContext, place: dict[str, Any]) -> None:
        asker = f"\nAsked by {html.escape(ctx.event.sender)}" if ctx.event.sender else ""
        shown = f"May <b>{html.escape(approval.tool)}</b> run?{asker}\n<pre>{html.escape(arguments(approval))}</pre>"
        yes, no = buttons(approval, ctx, self._proofs[0], at_place=True, most=BUTTON)
        fits = units(shown) <= MOST
        keyboard = list[dict[str, str]]()
        if fits and self._approvers.anybody:
            keyboard += [{"text": "Approve", "callback_data": yes}, {"text": "Deny", "callback_data": no}]
        if self._page is not None:
            keyboard.append({"text": "Open", "url": f"{self._page.rstrip('/')}/sessions/{ctx.session_id}"})
        if units(shown) > MOST:
            shown = f"May <b>{html.escape(approval.tool)}</b> run? There is more to it than fits here."
        async with outbox(ctx, blind=True) as send:
            await self._pace.wait(str(place["chat_id"]))
            markup = {"reply_markup": {"inline_keyboard": [keyboard]}} if keyboard else {}
            posted = await send(self._post, {**place, "text": shown, "parse_mode": "HTML", **markup})
        await keep_card(ctx, approval, self.label, {"to": place["chat_id"], "message": int(posted or 0)})

    async def _say(self, place: dict[str, Any], part: str) -> str:
        return await self._post({**place, "text": formatted(part), "parse_mode": "HTML"})

    async def _post(self, message: dict[str, Any]) -> str:
        with self._pace.heeded(str(message["chat_id"])):
            told = await self._call("sendMessage", {**message, "link_preview_options": {"is_disabled": True}})
        posted = _object(told)
        return str(posted.get("message_id", ""))

    async def _call(self, method: str, body: dict[str, Any]) -> Any:
        wait = POLL + 10.0 if method == "getUpdates" else None
        path = f"/bot{self._token.get_secret_value()}/{method}"
        try:
            answer = await self._platform.ask("POST", path, json.dumps(body).encode(), read=wait)
        except Refusal as refusal:
            raise _told(method, refusal) from None
        return answer.object().get("result")


def formatted(text: str) -> str:
    """Return Markdown as what Telegram shows of HTML: code as code, all else as it stands; `@` calls nobody."""
    parts, at = list[str](), 0
    for found in _FENCED.finditer(text):
        parts += [_quiet(text[at : found.start()]), f"<pre>{html.escape(found[1].rstrip(), quote=False)}</pre>"]
        at = found.end()
    return "".join([*parts, _quiet(text[at:])])


def _quiet(text: str) -> str:
    return re.sub(r"@(?=\w)", "@\u200b", html.escape(text, quote=False))


def _told(method: str, refusal: Refusal) -> Refusal:
    """Return a refusal with what Telegram says of when to come again."""
    found = re.search(r'"retry_after"\s*:\s*(\d{1,6})', str(refusal))
    after = seconds(found[1]) if found else refusal.after
    said = re.search(r'"description"\s*:\s*"([^"]{1,120})', str(refusal))
    return Refusal(f"{method}: {said[1] if said else refusal.status_code}", refusal.status_code, after)


def _text(said: dict[str, Any]) -> str:
    text = said.get("text") or said.get("caption")
    shown = text.strip() if isinstance(text, str) else ""
    for kind in ("photo", "document", "voice", "video", "audio", "sticker", "location"):
        if said.get(kind):
            named = _object(said[kind]).get("file_name")
            shown = f"{shown}\n[{kind}{f': {named[:120]}' if isinstance(named, str) else ''}]".strip()
    return shown


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

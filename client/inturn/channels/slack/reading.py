"""What Slack's requests mean.

Invariant: ids come of the place and of the message's own time; whoever said it is who Slack says, in the workspace that
Slack says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inturn.channels.call import Unreadable, form_of, object_of
from inturn.channels.cards import pressed
from inturn.channels.ident import ident
from inturn.channels.inbound import Click, Ignored, Inbound, Message, Stop, Withdraw
from inturn.channels.slack.texts import files, plain

KINDS: Final = ("message", "app_mention")
SUBTYPES: Final = (None, "file_share", "thread_broadcast", "me_message")
"""Of messages that somebody wrote."""
STOPS: Final = ("octagonal_sign", "stop_sign", "no_entry")
STOP_WORDS: Final = ("/stop", "stop")
YES: Final = "inturn:yes"
NO: Final = "inturn:no"
_TIME: Final = re.compile(r"(\d{1,11})\.(\d{6})")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads for one app.

    Attributes:
        secrets: The signing secrets: buttons are made with the first.
        tenants: Which tenant a workspace is; empty: all are the channel's own.
        bots: Other bots whose messages count.
        name_senders: In front of a message in a channel stands who wrote it.
    """

    secrets: tuple[str, ...]
    tenants: Mapping[str, str]
    bots: frozenset[str]
    name_senders: bool

    def read(self, said: dict[str, Any]) -> Inbound:
        """Return what a JSON request means."""
        if said.get("type") != "event_callback":
            return Ignored("kind")
        event = _object(said.get("event"))
        team = _text(said, "team_id")
        if (refused := self._stranger(team)) is not None:
            return refused
        match event.get("type"):
            case "message" | "app_mention":
                return self._message(said, event, team)
            case "reaction_added":
                return self._reaction(event, team)
            case _:
                return Ignored("kind")

    def form(self, fields: dict[str, str]) -> Inbound:
        """Return what a form means: a command, or a press of a button."""
        if "payload" in fields:
            return self._pressed(object_of(fields["payload"]))
        if not fields.get("command"):
            return Ignored("kind")
        team, channel, user = (fields.get(name, "") for name in ("team_id", "channel_id", "user_id"))
        if not (team and channel and user and fields.get("trigger_id")):
            raise Unreadable("a command has a workspace, a channel, a person and a trigger")
        if (refused := self._stranger(team)) is not None:
            return refused
        session, text = ident("slack", team, channel, user), fields.get("text", "").strip()
        address = {"team": team, "to": channel, "user": user}
        if text in STOP_WORDS:
            return Stop(session=session, by=_person(team, user), address=address, tenant=self.tenants.get(team))
        return Message(
            session=session,
            event_id=ident("slack", "c", fields["trigger_id"]),
            content=plain(text, frozenset()) or fields["command"],
            sender=_person(team, user),
            address=address,
            tenant=self.tenants.get(team),
        )

    def _stranger(self, team: str) -> Ignored | None:
        return Ignored("team") if self.tenants and team not in self.tenants else None

    def _message(self, said: dict[str, Any], event: dict[str, Any], team: str) -> Inbound:
        if event.get("subtype") == "message_deleted":
            return self._deleted(event, team)
        own = _own(said)
        if (why := self._not_for_us(event, own)) is not None:
            return Ignored(why)
        channel, at = _text(event, "channel"), _text(event, "ts")
        seconds, micros = _time(at)
        direct = event.get("channel_type") == "im"
        thread = event.get("thread_ts") or ("" if direct else at)
        session, user = _session(team, channel, str(thread)), _text(event, "user")
        text = plain(str(event.get("text") or ""), own)
        if text in STOP_WORDS:
            place, tenant = _address(team, channel, thread), self.tenants.get(team)
            return Stop(session=session, by=_person(team, user), address=place, tenant=tenant)
        text = (text + files(event.get("files"))).strip()
        if not text:
            return Ignored("empty")
        others = [said.get("event_id"), event.get("client_msg_id")]
        return Message(
            session=session,
            event_id=ident("slack", channel, at),
            aliases=tuple(ident("slack", each) for each in others if isinstance(each, str) and each),
            content=f"{user}: {text}" if self.name_senders and not direct else text,
            sender=_person(team, user),
            sent_at=seconds + micros / 1e6,
            address=_address(team, channel, thread),
            sequence=seconds * 1_000_000 + micros,
            sequencing="sparse",
            tenant=self.tenants.get(team),
        )

    def _not_for_us(self, event: dict[str, Any], own: frozenset[str]) -> str | None:
        if event.get("subtype") == "message_changed":
            return "edit"
        if event.get("user") in own:
            return "own"
        bot = event.get("bot_id")
        if bot is not None or event.get("subtype") == "bot_message":
            return None if isinstance(bot, str) and bot in self.bots and event.get("user") else "bot"
        return None if event.get("subtype") in SUBTYPES and not event.get("hidden") else "kind"

    def _deleted(self, event: dict[str, Any], team: str) -> Inbound:
        before = _object(event.get("previous_message"))
        channel, at = _text(event, "channel"), _text(event, "deleted_ts")
        _time(at)
        thread = before.get("thread_ts") or ("" if event.get("channel_type") == "im" else at)
        user = before.get("user")
        by = _person(team, user) if isinstance(user, str) and user else None
        event_id = ident("slack", channel, at)
        return Withdraw(
            session=_session(team, channel, str(thread)), event_id=event_id, by=by, tenant=self.tenants.get(team)
        )

    def _reaction(self, event: dict[str, Any], team: str) -> Inbound:
        item = _object(event.get("item"))
        if event.get("reaction") not in STOPS or item.get("type") != "message":
            return Ignored("reaction")
        channel, at, user = _text(item, "channel"), _text(item, "ts"), _text(event, "user")
        thread = "" if channel.startswith("D") else at
        return Stop(
            session=_session(team, channel, thread),
            by=_person(team, user),
            address=_address(team, channel, thread),
            tenant=self.tenants.get(team),
        )

    def _pressed(self, said: dict[str, Any]) -> Inbound:
        actions = said.get("actions")
        action = _object(actions[0]) if isinstance(actions, list) and actions else {}
        if said.get("type") != "block_actions" or action.get("action_id") not in (YES, NO):
            return Ignored("kind")
        team, user = _text(_object(said.get("team")), "id"), _object(said.get("user"))
        if (refused := self._stranger(team)) is not None:
            return refused
        place, shown = _object(said.get("container")), _object(said.get("message"))
        channel, at = _text(place, "channel_id"), _text(place, "message_ts")
        thread = shown.get("thread_ts") or place.get("thread_ts") or ""
        session = _session(team, channel, str(thread))
        button = pressed(str(action.get("value") or ""), self.secrets, session)
        if button is None or button.yes != (action["action_id"] == YES):
            return Ignored("forged")
        return Click(
            by=_person(team, _text(user, "id")),
            session=button.session,
            approval_id=button.approval_id,
            yes=button.yes,
            asker=button.asker,
            bot=user.get("is_bot") is True,
            address=_address(team, channel, thread) | {"ts": at, "by": _text(user, "id")},
            tenant=self.tenants.get(team),
        )


def form_or_json(body: bytes, content_type: str) -> dict[str, str] | None:
    """Return a form's fields; `None`: the body is none.

    Raises:
        Unreadable: There are too many.
    """
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    return form_of(body.decode("utf-8", "replace"))


def _session(team: str, channel: str, thread: str) -> str:
    return ident("slack", team, channel, thread) if thread else ident("slack", team, channel)


def _address(team: str, channel: str, thread: object) -> dict[str, Any]:
    at = {"team": team, "to": channel}
    return {**at, "thread": str(thread)} if thread else at


def _own(said: dict[str, Any]) -> frozenset[str]:
    listed = said.get("authorizations")
    each = [_object(one) for one in listed[:10]] if isinstance(listed, list) else []
    return frozenset(str(one["user_id"]) for one in each if one.get("is_bot", True) and one.get("user_id"))


def _person(team: str, user: str) -> str:
    return f"slack:{team}:{user}"[:200]


def _time(at: str) -> tuple[int, int]:
    found = _TIME.fullmatch(at) if at.isascii() else None
    if found is None:
        raise Unreadable("a message has a time")
    return int(found[1]), int(found[2])


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 64:
        raise Unreadable(f"{name} is missing")
    return value

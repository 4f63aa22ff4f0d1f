"""What a delivery means: values that a channel reads out of a call.

Invariant: they are made of the call alone, so the same call means the same values, with the same ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from inturn.events import Content, WhenBusy

Settled = Literal["taken", "ignored", "closed", "refused"]
_PLAIN: Final = ("sender", "sent_at", "sequence", "expires_after", "sequencing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Somebody said something: an event for a session.

    Attributes:
        session: The session's id; see `inturn.channels.ident`.
        event_id: From what the message is, never from how often or by what it was delivered.
        content: What was said.
        aliases: Other ids under which the platform may deliver it: known under any of them, it is a duplicate.
        sender: Who said it, with the platform in front where approvals may be bound to it: `slack:T1:U7`.
        sent_at: When: seconds since 1970, or an aware datetime.
        address: What `deliver` needs to answer; it becomes the event's metadata. Keep it below 150 bytes.
        source: Whose order `sequence` is; the channel's by default.
        sequence: Its number there, where the platform promises an order that its deliveries may break.
        sequencing: `sparse`: the numbers have holes (times); `dense`: they have none.
        when_busy: What it does while a turn runs.
        expires_after: Seconds after which nobody wants an answer any more.
        agent: The agent of a session that it starts; the gateway's by default.
        tenant: Whose session it is, by the channel's configuration; the channel's by default.
    """

    session: str
    event_id: str
    content: Content
    aliases: tuple[str, ...] = ()
    sender: str | None = None
    sent_at: float | datetime | None = None
    address: Mapping[str, Any] = field(default_factory=dict[str, Any])
    source: str | None = None
    sequence: int | None = None
    sequencing: Literal["dense", "sparse"] | None = None
    when_busy: WhenBusy = "queue"
    expires_after: float | None = None
    agent: str | None = None
    tenant: str | None = None

    def options(self, channel: str) -> dict[str, Any]:
        """Return what `Session.send` takes beside the content, for a message of this channel."""
        given = {name: value for name in _PLAIN if (value := getattr(self, name)) is not None}
        if self.aliases:
            given["aliases"] = list(self.aliases)
        if self.when_busy != "queue":
            given["when_busy"] = self.when_busy
        metadata = {**self.address, "channel": channel}  # no address names another channel
        return {
            "event_id": self.event_id,
            "source": self.source or channel.replace("/", ":"),
            "metadata": metadata,
            **given,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """A person's answer to an approval.

    Attributes:
        by: Who, as the platform's proof says and never as a text does: `slack:T1:U7`.
        session: The session; empty where only `token` names it.
        approval_id: The approval; empty where only `token` names it.
        token: Names both, where the platform's buttons have no room for them: `inturn.channels.cards.named` finds them.
        yes: Whether they approve.
        bot: The platform says that it is no person.
        groups: Groups of the platform's that they are in, as far as the call says.
        asker: A mark of who asked for the turn, from the card; see `inturn.channels.cards`.
        address: Where the card is, to tell on it what came of the click.
        reason: Why, where they said.
    """

    by: str
    session: str = ""
    approval_id: str = ""
    token: str = ""
    yes: bool = False
    bot: bool = False
    groups: tuple[str, ...] = ()
    asker: str = ""
    address: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reason: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """A message was deleted: where it still waits, it is cancelled."""

    session: str
    event_id: str
    by: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Somebody wants the running turn to stop."""

    session: str
    by: str | None = None
    address: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing for a session; the reason is counted: `own`, `bot`, `kind`, `edit`."""

    reason: str = "kind"


Inbound: TypeAlias = Message | Click | Withdraw | Stop | Ignored


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one of them.

    Attributes:
        status: `taken`: it is durable. `ignored`. `closed`: its session has ended for good. `refused`: it can never
            be taken. `later`: it is not durable, and the platform should come again.
        reason: Why, for `closed`, `refused` and `later`: a line that may be shown to the sender.
        retry_after: Seconds, for `later`.
        event_id: Of a message that was taken.
    """

    inbound: Inbound
    status: Settled | Literal["later"] = "taken"
    reason: str = ""
    retry_after: float = 1.0
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """How an approval stands after a click.

    Attributes:
        answer: `approved`, `denied` or `expired`, whoever said so; `refused`: the click did not count.
        by: Who answered.
        reason: Why, where somebody said so, or the click was refused.
        at: When, in seconds since 1970.
    """

    answer: Literal["approved", "denied", "expired", "refused"]
    by: str | None = None
    reason: str | None = None
    at: float | None = None

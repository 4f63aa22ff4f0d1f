"""A channel: a platform's way in and out.

    bytes ─ verify ─ hello? ─ read ─► Message … ─ (durable) ─ answer ─► the platform
    a turn's answer, an approval, a notice ─ deliver ─► the platform

Invariant: `verify`, `hello`, `read` and `answer` are functions of the call and of the channel's configuration: no I/O,
no clock, nothing kept. What a call is believed to be follows from its proof alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from inturn.channels.call import Call, Reply
from inturn.channels.inbound import Answered, Click, Inbound, Taken
from inturn.tools.context import ToolContext
from inturn.values import Approval, Notice, Turn

Out: TypeAlias = Turn | Approval | Notice
"""What is delivered."""
Take: TypeAlias = Callable[[Call], Awaitable[Reply]]
"""Takes a call that came by a connection of the channel's own, which is its proof; returns once it is durable."""


class Channel:
    """Subclass it and override what the platform has.

    Attributes:
        name: What it is called: in the path (`/hooks/{name}`), in an event's metadata, in the journal.
        instance: Which of several of one name: the path is `/hooks/{name}/{instance}` then.
        tenant: Whose sessions its messages go to; the gateway's own by default.
        agent: The agent of sessions that it starts; the gateway's by default.
        ack_within: Seconds within which the platform wants its answer.
        max_body: Bytes of a request; a larger one is refused unread.
        methods: HTTP methods that the platform uses.
    """

    name: str = "channel"
    instance: str = ""
    tenant: str | None = None
    agent: str | None = None
    ack_within: float = 10.0
    max_body: int = 1 << 20
    methods: tuple[str, ...] = ("POST",)

    @property
    def label(self) -> str:
        """Its name, with the instance where it has one: `metadata["channel"]` of its events, and its path."""
        return f"{self.name}/{self.instance}" if self.instance else self.name

    def verify(self, call: Call) -> bool:
        """Return whether the platform sent this, judged by the raw bytes; it never raises."""
        return False

    def hello(self, call: Call) -> Reply | None:
        """Return the reply to a challenge or ping, which means nothing else; asked only once the call is verified."""
        return None

    def read(self, call: Call) -> Iterable[Inbound]:
        """Return what a verified call means. Whatever this raises refuses the call, with 400."""
        return ()

    def answer(self, taken: Sequence[Taken]) -> Reply:
        """Return the reply once all is settled, or not in time: by default 200, or 503 where one is not durable."""
        late = [each.retry_after for each in taken if each.status == "later"]
        return Reply.later(max(late)) if late else Reply()

    def refuses(self, call: Call) -> Reply:
        """Return the reply to a call that `verify` refused."""
        return Reply(401)

    async def allows(self, click: Click) -> str | None:
        """Return why a click does not count, or `None`: it does. By default none counts."""
        return "nobody may answer approvals here"

    async def told(self, click: Click, answered: Answered) -> None:
        """Tell what came of a click: on its card, or the person alone where the click was refused. Best effort."""

    async def show(self, card: Mapping[str, Any], answered: Answered) -> None:
        """Show on a card that `deliver` kept (`inturn.channels.cards`) how its approval was answered. Best effort."""

    async def deliver(self, out: Out, ctx: ToolContext) -> None:
        """Bring an answer, an approval or a notice out. Any attempt may go on where another one stopped: `outbox`."""

    async def listen(self, take: Take) -> None:
        """Hold the channel's own connection (a socket, polling) until cancelled; `take` each call that comes."""

    @property
    def listens(self) -> bool:
        """Whether it has a connection of its own to hold."""
        return type(self).listen is not Channel.listen

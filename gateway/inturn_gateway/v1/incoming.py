"""What callers send: events, and the session that they are for.

Invariant: what an event may be is the core's to say; here is only which control or event was meant.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, WithJsonSchema

from inturn.events import LATEST_TIME
from inturn.keys import ID_PATTERN
from inturn_gateway import bounds

Id = Annotated[str, Field(pattern=f"^{ID_PATTERN}$", max_length=128)]
ApprovalId = Annotated[str, Field(min_length=1, max_length=320)]
Reason = Annotated[str | None, Field(default=None, max_length=512)]


_CONTENT: Final = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"enum": ["text", "image", "document"]}},
            },
        },
    ]
}


def _published(**bounds: Any) -> Any:
    """Return an optional field whose bounds are the core's to judge: it refuses one event, and not what came before."""
    return Field(default=None, json_schema_extra=bounds)


class Incoming(BaseModel):
    """Base of what comes in: fields of others' SDKs that mean nothing here are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class UserMessage(Incoming):
    """An event for the agent."""

    type: Literal["user.message"]
    content: Annotated[str | list[dict[str, Any]], SkipValidation, WithJsonSchema(_CONTENT)]
    """The core looks at it, and at no more of it than an event may have: here each of a million wrong blocks would be
    explained."""
    event_id: str | None = _published(pattern=f"^{ID_PATTERN}$")
    source: str | None = _published(pattern=f"^{ID_PATTERN}$")
    sequence: int | None = _published(minimum=0, exclusiveMaximum=2**63)
    sender: str | None = _published(maxLength=256)
    sent_at: float | None = _published(minimum=0, exclusiveMaximum=LATEST_TIME)
    when_busy: Literal["queue", "reject", "interrupt", "steer", "merge"] | None = None
    expires_after: float | None = _published(exclusiveMinimum=0)
    metadata: dict[str, Any] | None = None

    def options(self) -> dict[str, Any]:
        """Return the event's options that were given."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name not in ("type", "content")}
        return {name: value for name, value in given.items() if value is not None}


class UserInterrupt(Incoming):
    """Stops the running turn."""

    type: Literal["user.interrupt"]
    event_id: Id | None = None
    clear_queue: bool = False
    reason: Reason = None


class UserToolConfirmation(Incoming):
    """A person's yes or no to a call."""

    type: Literal["user.tool_confirmation"]
    tool_use_id: ApprovalId
    """Of the `agent.tool_use` event; or the approval's id."""
    result: Literal["allow", "deny"]
    deny_message: Reason = None


class OnEvent(Incoming):
    """What is done with one event."""

    type: Literal["inturn.cancel", "inturn.redrive", "inturn.discard"]
    event_id: Id
    reason: Reason = None
    force: bool = False


class OnSession(Incoming):
    """What is done with the session."""

    type: Literal["inturn.pause", "inturn.resume"]


class Close(Incoming):
    """Ends the session for good; what still runs ends first, and is not waited for."""

    type: Literal["inturn.close"]
    pending: Literal["park", "cancel"] = "park"


class Settle(Incoming):
    """Says what became of a call whose outcome is unknown."""

    type: Literal["inturn.settle"]
    call: str = Field(pattern=r"^[A-Za-z0-9._:@+=/~-]{1,640}$")
    done: bool
    result: Any = None
    reason: Reason = None


EventIn = Annotated[
    UserMessage | UserInterrupt | UserToolConfirmation | OnEvent | OnSession | Close | Settle,
    Field(discriminator="type"),
]


class Events(Incoming):
    """Events in the order in which they are to be taken."""

    events: list[EventIn] = Field(min_length=1, max_length=bounds.EVENTS)


class NewSession(Incoming):
    """The session that is wanted; one that is there already is given back as it is."""

    session_id: Id | None = None
    agent: Id | dict[str, Any] | None = None
    """Its name; or an object with an `id`, as SDKs of Managed Agents may send it."""
    metadata: dict[str, Any] | None = None
    """The metadata of each initial event that has none of its own."""
    initial_events: list[EventIn] = Field(default_factory=list, max_length=bounds.EVENTS)

    @property
    def agent_name(self) -> str | None:
        """The agent's name, where one is named."""
        name = self.agent.get("id") if isinstance(self.agent, dict) else self.agent
        return name if isinstance(name, str) else None


class Answer(Incoming):
    """The answer to an approval."""

    result: Literal["allow", "deny"]
    message: Reason = None

"""The one error tree.

    InturnError
      InvalidEvent (ValueError)      the caller's mistake
      SessionNotFound                no such session
      ScheduleNotFound               no such schedule
      SessionClosed                  the session has ended for good
      Refused                        not accepted; ask again after `retry_after` seconds
        SessionBusy                    `when_busy="reject"` and something runs or waits
        Backpressure                   no room for it now
      TurnFailed                     the event was accepted and ended without a turn to show
      TurnTimeout (TimeoutError)     the caller's own timeout; what it waited for goes on
      ApprovalConflict               somebody answered otherwise, or it is too late
      VersionConflict                the value changed since it was read
      Misconfigured                  a setting or a name is wrong; the message says what to do
      Unavailable                    no server or worker took it; the same `event_id` again is safe
        JournalUnavailable             the journal cannot be reached
      ModelError                     raised by a model: whose fault it is that there is no answer
      ToolError                      raised by a tool: the model sees it
      Retry                          raised by a tool: nothing happened, call it again

Invariant: no Temporal exception reaches a user undigested, and the cause chain stays.
"""

from typing import Literal

Fault = Literal["own", "account", "outage", "unknown"]
"""Whose fault it is that a model gave no answer: the request's, the account's or configuration's, the other side's."""


class InturnError(Exception):
    """Base of every error that inturn raises on purpose."""


class InvalidEvent(InturnError, ValueError):
    """The event cannot be accepted as it is: sending it again changes nothing."""


class SessionNotFound(InturnError):
    """No session has this id."""


class ScheduleNotFound(InturnError):
    """No schedule has this id."""


class SessionClosed(InturnError):
    """The session was closed; it takes no more events."""


class Refused(InturnError):
    """The event was not accepted.

    Attributes:
        retry_after: Seconds after which trying again makes sense.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        """Make a refusal with its advice in seconds."""
        super().__init__(message)
        self.retry_after = retry_after


class SessionBusy(Refused):
    """The event asked to be refused while anything runs or waits."""


class Backpressure(Refused):
    """The session has no room for it now: inbox, hold buffer or quota full, or flooded."""


class TurnFailed(InturnError):
    """The event was accepted, but no turn can be shown for it.

    Attributes:
        event_id: The event.
        disposition: How it ended: `parked`, `expired`, `rejected`, `discarded` or `cancelled`.
        reason: Why, in words.
    """

    def __init__(self, event_id: str, disposition: str, reason: str) -> None:
        """Make the error from the event's end."""
        super().__init__(f"event {event_id} ended {disposition}: {reason}")
        self.event_id = event_id
        self.disposition = disposition
        self.reason = reason


class TurnTimeout(InturnError, TimeoutError):
    """The turn (or the close) did not end within the caller's timeout; it goes on."""


class ApprovalConflict(InturnError):
    """The approval has another answer already, or came too late.

    Attributes:
        answer: The answer that counts: `approved`, `denied` or `expired`.
        by: Who gave it, if known.
    """

    def __init__(self, message: str, *, answer: str, by: str | None = None) -> None:
        """Make the conflict with the answer that counts."""
        super().__init__(message)
        self.answer = answer
        self.by = by


class VersionConflict(InturnError):
    """The value was changed by somebody else since it was read."""


class Misconfigured(InturnError):
    """It cannot work as it is set up; the message says what is wrong and what to do."""


class Unavailable(InturnError):
    """No server answered, or no worker took the call in time. The same `event_id` again is safe."""


class JournalUnavailable(Unavailable):
    """The journal cannot be reached or read, or the one read here lacks the answer: then repeating does not help."""


class ModelError(InturnError):
    """Raised by a model: it gave no answer.

    Attributes:
        kind: `own`: this request is refused, and repeating it cannot help. `account`: no request of anybody's would be
            answered (a key, a bill, a spend limit, a model that is gone), until a person mends it. `outage`: it passes
            by itself. `unknown`: nobody knows.
        retry_after: Seconds the other side asked to wait, where it did.
        place: Bytes of the answer after which it broke off, where it had begun.
    """

    def __init__(
        self, message: str, *, kind: Fault = "unknown", retry_after: float | None = None, place: int | None = None
    ) -> None:
        """Make the error; `retry_after` is in seconds."""
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after
        self.place = place


class ToolError(InturnError):
    """Raised by a tool: shown to the model as the call's result, never retried."""


class Retry(InturnError):
    """Raised by a tool: nothing happened, try the call again.

    Attributes:
        after: Seconds to wait first. Temporal's server rounds values under a second up to one.
    """

    def __init__(self, message: str = "the tool asked to be tried again", *, after: float | None = None) -> None:
        """Make the request with its delay in seconds."""
        super().__init__(message)
        self.after = after

"""Errors as a terminal shows them: what, why, what to do, and the exit code.

Invariant: the exit code depends on the error's class alone, so that scripts can act on it:

    0  done
    1  it ran and failed: a turn without an answer, an audit or a check that is not ok, nothing there to stop
    2  the caller's mistake: usage, a wrong setting, an invalid event
    3  refused for now: busy or full; `retry_after` says when to come back
    4  not taken in time: no server, no worker, no journal, or a timeout; the same event id again is safe
    130  Ctrl-C
"""

from __future__ import annotations

from typing import Any, Final

from inturn import errors

FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
UNAVAILABLE: Final = 4
INTERRUPTED: Final = 130

_CODES: Final[tuple[tuple[type[errors.InturnError], int], ...]] = (
    (errors.Unavailable, UNAVAILABLE),
    (errors.TurnTimeout, UNAVAILABLE),
    (errors.Refused, REFUSED),
    (errors.InvalidEvent, USAGE),
    (errors.Misconfigured, USAGE),
)
_DETAILS: Final = ("event_id", "disposition", "reason", "retry_after", "answer", "by")

_TO_DO: Final[tuple[tuple[type[errors.InturnError], str], ...]] = (
    (
        errors.JournalUnavailable,
        "name the workers' journal with --journal or INTURN_JOURNAL; `inturn doctor` looks at it",
    ),
    (errors.Unavailable, "`inturn doctor` finds what is missing; sending the same --event-id again is safe"),
    (errors.TurnTimeout, "`inturn wait SESSION EVENT` waits on, `inturn show SESSION` shows what it does"),
    (errors.SessionNotFound, "`inturn ls` lists the tenant's sessions; --tenant or INTURN_TENANT names another tenant"),
    (errors.SessionClosed, "take another session id: a closed session stays closed"),
    (errors.InvalidEvent, "correct the call; the same again would fail again"),
)


def exit_code(error: errors.InturnError) -> int:
    """Return the exit code that an error means."""
    if type(error) is errors.InturnError:  # a wrong setting
        return USAGE
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def to_do(error: errors.InturnError) -> str | None:
    """Return what helps, where something does."""
    match error:
        case errors.Refused():
            return f"try again in {error.retry_after:g} s"
        case errors.TurnFailed(disposition="parked"):
            return (
                f"`inturn parked SESSION` shows it; `inturn redrive SESSION {error.event_id}` runs it again, "
                f"`inturn discard SESSION {error.event_id}` gives it up"
            )
        case _ if "To do: " in str(error):  # it says itself what helps, and knows better
            return None
        case _:
            return next((advice for kind, advice in _TO_DO if isinstance(error, kind)), None)


def described(error: errors.InturnError) -> dict[str, Any]:
    """Return an error as a JSON object."""
    details = {name: getattr(error, name) for name in _DETAILS if getattr(error, name, None) is not None}
    advice = to_do(error)
    return {
        "error": type(error).__name__,
        "message": str(error),
        **details,
        **({"to_do": advice} if advice else {}),
        **({"notes": list(error.__notes__)} if getattr(error, "__notes__", None) else {}),
    }

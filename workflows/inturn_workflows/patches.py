"""What changed between releases in a way that a recorded history could tell.

Invariant: a history of an older release replays as it was written (SUR-7). A patch is asked for only where the old and
the new way differ, because the first question in a run costs it two events.
"""

from __future__ import annotations

from typing import Final

from temporalio import workflow

from inturn_workflows.inbox.events import Change

_ORDERING: Final = "ordering-policies"
_ONE_STOP: Final = "interrupt-stops-once"
_CARRIED: Final = "decisions-carried"
_CUT: Final = "cut-again"
_NO_REDRIVE: Final = "no-redrive-at-the-end"
_NOTICES: Final = "notices-by-content"
_RECORDED: Final = "recorded-end-wins"
_STRAYS: Final = "strays"
_SHORT: Final = "short-floods"
_JOINS: Final = "bounded-joins"
_ADDRESSED: Final = "notices-addressed"
_CLOSED: Final = "closed-told"


def ordering() -> bool:
    """Tell whether this run orders, merges and steers; in 0.1.0 such signals were rejected.

    In 0.1.0 also nobody heard of events that expired while they were waited for, and what was decided while a turn
    was stopped or failed made no notices.
    """
    return workflow.patched(_ORDERING)


def one_stop() -> bool:
    """Tell whether an event that interrupts stops the turn that runs when it comes, and no later one.

    It did so again whenever another event came while it waited behind a second one that interrupts.
    """
    return workflow.patched(_ONE_STOP)


def recorded_end_wins() -> bool:
    """Tell whether a failed turn ends as the journal says, where that holds an answer of it; it was parked."""
    return workflow.patched(_RECORDED)


def notices_by_content() -> bool:
    """Tell whether a notice's key says what it tells; one after a termination took that of an older one."""
    return workflow.patched(_NOTICES)


def cut_again() -> bool:
    """Tell whether a model call that a flood cut is called again where its attempt failed on the way; it was parked."""
    return workflow.patched(_CUT)


def no_redrive_at_the_end() -> bool:
    """Tell whether nothing is driven again in a session that closes; it was taken, and then lost or in the way."""
    return workflow.patched(_NO_REDRIVE)


def strays() -> bool:
    """Tell whether who waits for an event that ended unheard is let go; he waited on."""
    return workflow.patched(_STRAYS)


def changed(change: Change) -> bool:
    """Tell whether the inbox does something as it does now, and not as in 0.2.0."""
    return workflow.unsafe.is_read_only() or workflow.patched(change)  # a validator's answer is in no history


def bounded_joins() -> bool:
    """Tell whether only so many events join one turn; its end could be too much for one record."""
    return workflow.patched(_JOINS)


def addressed() -> bool:
    """Tell whether notices go to the source of what was only counted, and where any event of a group has an address.

    What was only counted went to `client`, and a group to its last event's address, if that had one.
    """
    return workflow.patched(_ADDRESSED)


def closed_told() -> bool:
    """Tell whether the event is recorded by which a fresh run learned of the close; it was only counted."""
    return workflow.patched(_CLOSED)


def short_floods() -> bool:
    """Tell whether a run ends sooner while signals flood in."""
    return workflow.patched(_SHORT)


def decisions_carried() -> bool:
    """Tell whether a run ends with what it decided unrecorded; it was recorded first, and a flood made that endless."""
    return workflow.patched(_CARRIED)

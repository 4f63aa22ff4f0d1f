"""What people had asked of a run's session by controls, where it may not have been done when the run was ended.

Invariant: read as the session reads them, in their order: each once by its id, and what the session refused did
nothing. What is asked again is asked under its own id.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from inturn.histories import Fields, carried

_BEGAN: Final = 1
"""The place in the history of what a run begins with."""


class Ask(NamedTuple):
    """A control, and when it came."""

    at: datetime
    control: Fields


@dataclass
class Asked:
    """The controls of one run."""

    known: set[str] = field(default_factory=set[str])
    """Controls that the session had answered: those before the run, then each that is taken."""
    running: str = ""
    """The event whose turn ran when the run began."""
    closing: str = ""
    """What was to become of events that wait, where the session was closing."""
    parked: dict[str, list[Ask]] = field(default_factory=dict[str, "list[Ask]"])
    """Of parked events, what was to become of them."""
    answers: list[Fields] = field(default_factory=list[Fields])
    """The controls that answered approvals."""
    _cancelled: dict[str, int] = field(default_factory=dict[str, int])
    """Events that were taken out or stopped, and where in the history."""
    _cleared: int = 0
    """Where all that waited was taken out."""

    def begin(self, state: Fields, at: datetime) -> None:
        """Note what a run began with, at a time: what had been asked of the ones before it."""
        turn, waiting = carried(state)
        self.known = set(state.get("controls") or ())
        self.close(state.get("closing"))
        self.running = str(turn.get("turn") or "").partition("~")[0]
        if turn.get("stop"):
            self._cancelled[self.running] = _BEGAN + 1
        for item in [turn, *waiting]:
            event_id, _, number = str(item.get("turn") or "").partition("~")
            if number:
                control = {"control_id": again(f"redrive {event_id}"), "op": "redrive", "event_id": event_id}
                self._of_parked(event_id, at, control | {"force": True})

    def close(self, pending: object) -> None:
        """Note that the session was to close; the first one to say so decides."""
        if pending in ("park", "cancel"):
            self.closing = self.closing or str(pending)

    def took_out(self, event_id: str, place: int) -> bool:
        """Return whether an event that came at a place of the history was taken out, or stopped, behind that."""
        return max(self._cleared, self._cancelled.get(event_id, 0)) > place

    def take(self, control: Fields, place: int, at: datetime, running: str, *, answered: bool) -> None:
        """Note a control.

        Args:
            control: What it says.
            place: Where in the history it came.
            at: When.
            running: The event whose turn ran then; empty: none is known.
            answered: The session had told its sender that it took it.
        """
        control_id, op = control.get("control_id"), control.get("op")
        if not isinstance(control_id, str) or control_id in self.known or not isinstance(op, str):
            return  # it was none, or was answered as before
        self.known.add(control_id)
        event_id = control.get("event_id")
        match op:
            case "cancel":
                self._cancelled[str(event_id)] = place
            case "interrupt":
                self._stops(event_id, place, running)
                self._cleared = place if control.get("clear_queue") else self._cleared
            case "close":
                self.close(control.get("pending", "park"))
            case "discard" | "redrive":
                self._of_parked(str(event_id), at, control)
            case "approve" | "deny" if answered:  # else it may have come too late, and a gate is not opened by guessing
                self.answers.append(control)
            case _:
                pass

    def _of_parked(self, event_id: str, at: datetime, control: Fields) -> None:
        self.parked.setdefault(event_id, []).append(Ask(at, control))

    def _stops(self, event_id: object, place: int, running: str) -> None:
        """Note that the turn that ran was to stop; one that had ended by then has its end."""
        if running and event_id in (None, running):
            self._cancelled[running] = place


def again(what: str) -> str:
    """Return the id of a control that a recovery makes; the same whenever it makes it."""
    return f"again:{hashlib.blake2b(what.encode(), digest_size=12).hexdigest()}"

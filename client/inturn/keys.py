"""Keys of sessions, turns and steps.

Invariant: a key depends on nothing but tenant, session, event, step and call index, so it stays the same across
retries, continue-as-new, resets and workers. It is the activity id, the ledger's key and the tool's `ctx.key`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final

ID_PATTERN: Final = r"[A-Za-z0-9._:@+=-]{1,128}"
"""What tenants, sessions, events and sources are named with. Has neither `/` nor `~`: keys use them."""

SHORT_NAME: Final = 8
"""Characters of an event's short name."""

VISIBLE: Final = r"[!#-\[\]-~]"
"""A character of an id in a control: visible ASCII, without what JSON would write as two characters."""

_ID = re.compile(ID_PATTERN)
_VISIBLE = re.compile(f"{VISIBLE}+")


def is_id(value: object) -> bool:
    """Return whether a value can name a tenant, a session, an event or a source."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def is_visible(text: str) -> bool:
    """Return whether a text can be an id in a control."""
    return _VISIBLE.fullmatch(text) is not None


def short_name(event_id: str) -> str:
    """Return what stands for an event where there are thousands: no other of its session has it, but by a wonder."""
    return base64.urlsafe_b64encode(hashlib.blake2b(event_id.encode(), digest_size=6).digest()).decode()


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session: whose it is and which."""

    tenant: str
    session_id: str

    @classmethod
    def parse(cls, workflow_id: str) -> SessionKey:
        """Read a workflow id.

        Raises:
            ValueError: It is not `{tenant}/{session_id}`.
        """
        tenant, slash, session_id = workflow_id.partition("/")
        if not (slash and is_id(tenant) and is_id(session_id)):
            raise ValueError(f"workflow id {workflow_id!r} is not '{{tenant}}/{{session_id}}' with ids of {ID_PATTERN}")
        return cls(tenant, session_id)

    def turn(self, event_id: str, redrive: int = 0) -> TurnKey:
        """Return the key of an event's turn; `redrive` counts the times it was driven again."""
        return TurnKey(self, f"{event_id}~{redrive}" if redrive else event_id)

    def __str__(self) -> str:
        """Return the workflow id."""
        return f"{self.tenant}/{self.session_id}"


def audit_log(tenant: str) -> SessionKey:
    """Return under which key a tenant's notes are read: of what was done beside its sessions. No session has it."""
    return SessionKey(tenant, "~audit")


@dataclass(frozen=True, slots=True)
class TurnKey:
    """One turn of a session: the event's id, with `~n` behind it when redriven."""

    session: SessionKey
    turn: str

    @property
    def event_id(self) -> str:
        """The event, whichever time it is driven."""
        return self.turn.partition("~")[0]

    def step(self, step: int | str, index: int | None = None) -> StepKey:
        """Return the key of a step, or of the call `index` of it."""
        return StepKey(self, str(step), index)

    def __str__(self) -> str:
        """Return `{tenant}/{session}/{turn}`."""
        return f"{self.session}/{self.turn}"


def redrive_of(turn: str) -> int:
    """Return how often an event was redriven, from its turn's name: 0 for its first."""
    _, _, count = turn.partition("~")
    return int(count) if count.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class StepKey:
    """One activity of a turn: a model step, a tool call (with its index), a delivery."""

    turn: TurnKey
    step: str
    index: int | None = None

    @classmethod
    def parse(cls, key: str) -> StepKey:
        """Read a step's key back.

        Raises:
            ValueError: It is not `{tenant}/{session}/{turn}/{step}` with an optional `/{index}`.
        """
        parts = key.split("/")
        if len(parts) not in (4, 5):
            raise ValueError(f"{key!r} is not a step's key")
        index = int(parts[4]) if len(parts) == 5 else None
        return cls(TurnKey(SessionKey(parts[0], parts[1]), parts[2]), parts[3], index)

    @property
    def session(self) -> SessionKey:
        """The session it belongs to."""
        return self.turn.session

    @property
    def is_model(self) -> bool:
        """Whether it asks the model: it has a number and no index."""
        return self.index is None and self.step.isdecimal()

    @property
    def within_turn(self) -> str:
        """The step, with the call's index where it is one: what journal entries name as their step."""
        return self.step if self.index is None else f"{self.step}/{self.index}"

    @property
    def within_session(self) -> str:
        """The key without tenant and session: what journal entries carry."""
        return f"{self.turn.turn}/{self.within_turn}"

    def __str__(self) -> str:
        """Return the whole key."""
        return f"{self.session}/{self.within_session}"

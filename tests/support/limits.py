"""Wants, as tests ask for them."""

from __future__ import annotations

from inturn.journal import Want
from inturn.keys import SessionKey, StepKey

TENANT = "acme"


def write(name: str) -> Want:
    """The lock, alone."""
    return Want(TENANT, f"lock {name}", "write")


def read(name: str) -> Want:
    """The lock, with other readers."""
    return Want(TENANT, f"lock {name}", "read")


def permit(name: str = "steps", of: int = 1) -> Want:
    """One of so many permits."""
    return Want(TENANT, name, "permit", of)


def rate(capacity: float = 1, refill: float = 1.0) -> Want:
    """A token."""
    return Want("", "calls", "rate", capacity, refill)


def call(session: int | str) -> StepKey:
    """The first call of a session's first turn."""
    return SessionKey(TENANT, f"s{session}").turn("e1").step(0, 0)

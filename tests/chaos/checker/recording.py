"""What was recorded outside the system: the producers' log, the effect ledger, the faults.

Invariant: a line that cannot be read is a mistake of the recording and ends the verdict; nothing is skipped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from tests.chaos.checker.histories import Session, read_sessions

OUTCOMES: Final = ("ok", "fail", "unknown")


@dataclass(frozen=True, slots=True)
class Call:
    """A producer's call: the `sequence`-th of the handle `source`."""

    event_id: str
    session: str
    source: str
    sequence: int
    outcomes: tuple[str, ...]
    ends: tuple[str, ...]
    """How its event may end, by what it asks for."""
    number: int | None = None
    """Its event's number in its source."""

    @property
    def ok(self) -> bool:
        """Whether the producer was told that its event is durable."""
        return self.outcomes == ("ok",)


@dataclass(frozen=True)
class Recording:
    """A campaign as it was recorded."""

    log: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    faults: list[dict[str, Any]]
    sessions: dict[str, Session] = field(default_factory=dict)

    @cached_property
    def calls(self) -> list[Call]:
        """Every call, in the order of the log."""
        outcomes: dict[tuple[str, str, int], list[str]] = {}
        invoked: list[dict[str, Any]] = []
        for line in self.log:
            name = (line.get("session", ""), line.get("source", ""), line.get("sequence", 0))
            if line["op"] == "invoke":
                invoked.append(line)
            elif line["op"] in OUTCOMES:
                outcomes.setdefault(name, []).append(line["op"])
        return [
            Call(at["event_id"], *_name(at), tuple(outcomes.get(_name(at), ())), tuple(at["ends"]), at.get("number"))
            for at in invoked
        ]

    @cached_property
    def first_calls(self) -> list[Call]:
        """The first call of each event: it was sent again only after that one returned."""
        first: dict[tuple[str, str], Call] = {}
        for call in self.calls:
            first.setdefault((call.session, call.event_id), call)
        return list(first.values())

    @cached_property
    def invoked(self) -> set[tuple[str, str]]:
        """Every event that anybody tried to send, as (session, event id)."""
        return {(call.session, call.event_id) for call in self.calls}

    @cached_property
    def promised(self) -> set[tuple[str, str]]:
        """Every event that a producer was told is durable."""
        return {(call.session, call.event_id) for call in self.calls if call.ok}

    @cached_property
    def cancelled(self) -> set[tuple[str, str]]:
        """Every event that somebody tried to cancel."""
        return {(line["session"], line["event_id"]) for line in self.log if line["op"] == "cancel"}

    @cached_property
    def interrupts(self) -> Counter[str]:
        """How many controls were sent to each session to stop its turn."""
        return Counter(line["session"] for line in self.log if line["op"] == "interrupt")

    @cached_property
    def canaries(self) -> dict[str, str]:
        """The canary of each session."""
        return {line["session"]: line["canary"] for line in self.log if line["op"] == "session"}

    @cached_property
    def patience(self) -> dict[str, float]:
        """How long each session is to wait for a missing number, in seconds."""
        return {line["session"]: line.get("patience", 0.0) for line in self.log if line["op"] == "session"}

    @cached_property
    def owners(self) -> dict[str, str]:
        """The session of each canary."""
        return {canary: session for session, canary in self.canaries.items()}

    @cached_property
    def answers(self) -> list[dict[str, Any]]:
        """What askers were told."""
        return [line for line in self.log if line["op"] == "answer"]

    @cached_property
    def done(self) -> list[dict[str, Any]]:
        """The faults that were done."""
        return [line for line in self.faults if line["op"] == "done"]


def read(directory: Path) -> Recording:
    """Read a campaign's directory."""
    return Recording(
        log=list(_lines(directory / "producers.jsonl")),
        ledger=list(_lines(directory / "effects.jsonl")),
        faults=list(_lines(directory / "faults.jsonl")),
        sessions=read_sessions(directory / "histories"),
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)


def _name(line: dict[str, Any]) -> tuple[str, str, int]:
    return line["session"], line["source"], line["sequence"]

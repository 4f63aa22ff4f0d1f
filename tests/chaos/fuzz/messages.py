"""What is signalled: events, controls and noise, as bad as they get.

Invariant: what a message was made of does not depend on where it is sent, so a session that is replayed and one on a
server are given the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from temporalio.api.common.v1 import Payload

from inturn.keys import is_id
from tests.chaos.fuzz.hostile import TEXTS, Hostile

Message = tuple[str, list[Payload]]
"""A signal's name and what it carries."""
OPS: Final = ("interrupt", "cancel", "pause", "resume", "redrive", "discard", "approve", "deny")
MODES: Final = ("queue", "reject", "interrupt", "steer", "merge")
ENCODINGS: Final = (*("json/plain",) * 10, "binary/plain", "binary/null", "json/protobuf", "x/y", "")
LARGEST: Final = 1_900_000
READABLE: Final = 64 * 1024
"""Bytes up to which a message's id is looked for."""


class Messages:
    """Makes messages from a seed."""

    def __init__(self, seed: str, *, largest: int = LARGEST) -> None:
        """Make messages of at most `largest` bytes."""
        self.chance = random.Random(seed)
        self.hostile = Hostile(self.chance)
        self._largest = largest
        self._number = 0
        self._made: tuple[tuple[float, Callable[[], Message]], ...] = (
            (0.55, self._event),
            (0.2, self._control),
            (0.2, self._noise),
            (0.05, self._large),
        )

    def signal(self) -> Message:
        """Return a hostile signal."""
        (make,) = self.chance.choices([make for _, make in self._made], [share for share, _ in self._made])
        return make()

    def plain(self) -> Message:
        """Return a small event that is as it should be."""
        event_id = self._new_id()  # in its text, too: a model that fails at one fails at the others by another draw
        data = json.dumps({"event_id": event_id, "content": f"plain {event_id}"}).encode()
        return "submit", [Payload(metadata={"encoding": b"json/plain"}, data=data)]

    def odd_event(self) -> dict[str, Any]:
        """Return what may be an event."""
        event: dict[str, Any] = {"content": self.chance.choice(("hello", self.hostile.text(), self.hostile.value()))}
        if self.chance.random() < 0.8:
            event["event_id"] = self._new_id()
        for name in ("source", "sequence", "sender", "sent_at", "expires_after", "metadata", "agent", "trace", "x"):
            if self.chance.random() < 0.12:
                event[name] = self.hostile.value(1)
        if self.chance.random() < 0.3:
            event["when_busy"] = self.chance.choice((*MODES, "odd"))
        if self.chance.random() < 0.1:
            event["event_id"] = self.chance.choice(TEXTS)
        return event

    def payload(self, value: Any) -> Payload:
        """Return a value as a payload of some encoding."""
        encoding = self.chance.choice(ENCODINGS).encode()
        return Payload(metadata={"encoding": encoding}, data=self.hostile.json(value))

    def _event(self) -> Message:
        return "submit", [self.payload(self.odd_event())]

    def _control(self) -> Message:
        control: dict[str, Any] = {"control_id": self._new_id(), "op": self.chance.choice(OPS)}
        for name in ("event_id", "reason", "approval_id", "by", "at", "pending", "force", "extra"):
            if self.chance.random() < 0.3:
                control[name] = self.hostile.value(1)
        if self.chance.random() < 0.2:
            control[self.chance.choice(("control_id", "op"))] = self.hostile.value(1)
        if self.chance.random() < 0.4:
            control["event_id"] = f"f{self.chance.randrange(self._number + 1)}"
        return "control", [self.payload(control)]

    def _noise(self) -> Message:
        name = self.chance.choice(("submit", "control", "Submit", "__temporal", "\x00", "x" * 200))
        count = self.chance.choice((0, 1, 1, 2, 5))
        return name, [self.payload(self.hostile.value()) for _ in range(count)]

    def _large(self) -> Message:
        size = self.hostile.size(self._largest)
        match self.chance.randrange(4):
            case 0:
                data = b'{"content":[' + b"1," * (size // 2) + b"1]}"
            case 1:
                data = b'{"content":"' + b"\\u0001" * (size // 6) + b'"}'
            case 2:
                data = b'{"event_id":"' + b"i" * size + b'","content":"x"}'
            case _:
                data = b"[" * size
        name = self.chance.choice(("submit", "submit", "control"))
        return name, [Payload(metadata={"encoding": b"json/plain"}, data=data)]

    def _new_id(self) -> str:
        self._number += 1
        return f"f{self._number}"


def readable_id(name: str, payloads: Sequence[Payload]) -> str | None:
    """Return the id of what a session has to answer for: of an object in JSON that names one."""
    if name != "submit" or len(payloads) != 1 or len(payloads[0].data) > READABLE:
        return None
    if payloads[0].metadata["encoding"] != b"json/plain":
        return None
    try:
        event = json.loads(payloads[0].data.decode())  # as text: the byte order mark is no JSON
        json.dumps(event, ensure_ascii=False, allow_nan=False).encode()  # nor are half a character, or NaN
    except (ValueError, RecursionError):
        return None
    if isinstance(event, dict) and is_id(event.get("event_id")) and not event.get("wait"):
        return str(event["event_id"])
    return None

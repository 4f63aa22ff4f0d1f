"""The channel of docs/channels.md: it is one, and the check finds what is wrong with others."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import inturn.testing
from inturn.channels import Call, Channel, Message, Reply, Unreadable
from tests.support.steps import rig

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "channels.md").read_text()
NOTE = {
    "ticket": 17,
    "id": "n1",
    "text": "Where is it?",
    "at": 1.7e9,
    "author": {"email": "d@example.com", "bot": False},
}


class Api:
    """The help desk."""

    def __init__(self) -> None:
        self.notes: dict[str, tuple[int, str]] = {}

    async def add_note(self, ticket: int, text: str, *, idempotency_key: str) -> str:
        self.notes.setdefault(idempotency_key, (ticket, text))
        return idempotency_key


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Returns the page's module."""
    monkeypatch.setenv("DESK_SECRET", "secret")
    found = re.search(r"^```python\n(import os.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    module = ModuleType("desk_page")
    exec(compile(found[1], "docs/channels.md", "exec"), module.__dict__)
    return module


def signed(note: dict[str, Any]) -> Call:
    body = json.dumps({"note": note}).encode()
    return Call(body, headers={"x-desk-signature": hmac.new(b"secret", body, hashlib.sha256).hexdigest()})


def test_the_pages_desk_is_a_channel(page: ModuleType) -> None:
    bot = {**NOTE, "author": {"email": "b@example.com", "bot": True}}
    inturn.testing.channel(page.desk, signed(NOTE), signed(bot))


async def test_its_answer_reaches_the_ticket(page: ModuleType, tmp_path: Path) -> None:
    page.desk.api = api = Api()
    [message] = page.desk.read(signed(NOTE))
    options = message.options(page.desk.label)
    async with rig(tmp_path, ["On its way."], deliver=page.agents[0].deliver) as r:
        await r.ask(message.event_id, event={"content": message.content, **options})
        await r.deliver(message.event_id)
    assert list(api.notes.values()) == [(17, "On its way.")]


class Good(Channel):
    """One that keeps all rules."""

    name = "good"

    def verify(self, call: Call) -> bool:
        made = hmac.new(b"secret", call.body, hashlib.sha256).hexdigest().encode()
        return hmac.compare_digest(made, call.header("x-desk-signature").encode(errors="replace"))

    def read(self, call: Call) -> list[Any]:
        note = call.json()["note"]
        return [Message(session="s", event_id=note["id"], content=note["text"])]


class Raises(Good):
    def verify(self, call: Call) -> bool:
        return hmac.compare_digest(
            hmac.new(b"secret", call.body, hashlib.sha256).hexdigest(), call.headers["x-desk-signature"]
        )


class Believes(Good):
    def verify(self, call: Call) -> bool:
        return True


class ReadsFirst(Good):
    def verify(self, call: Call) -> bool:
        return bool(call.json()) and super().verify(call)


class Remembers(Good):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def read(self, call: Call) -> list[Any]:
        self.seen.append("x")
        return super().read(call)


class Counts(Good):
    numbers = itertools.count()

    def read(self, call: Call) -> list[Any]:
        [message] = super().read(call)
        return [Message(session="s", event_id=f"{next(self.numbers)}", content=message.content)]


class Looks(Good):
    def read(self, call: Call) -> list[Any]:
        return [Message(session="s", event_id="e", content="x", sent_at=time.time())]


class Names(Good):
    def read(self, call: Call) -> list[Any]:
        return [Message(session="a/b", event_id="e", content="x")]


class Carries(Good):
    def read(self, call: Call) -> list[Any]:
        return [Message(session="s", event_id="e", content="x", address={"all": "x" * 300})]


class Empty(Good):
    def read(self, call: Call) -> list[Any]:
        return [Message(session="s", event_id="e", content="")]


class AcksEarly(Good):
    def answer(self, taken: Any) -> Reply:
        return Reply()


class Parts(Good):
    def verify(self, call: Call) -> bool:
        body = call.body[:10]
        return super().verify(call) or (body == b'{"note": {' and bool(call.header("x-desk-signature")))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Raises, "never raises"),
        (Believes, "without its proof"),
        (ReadsFirst, "never raises"),
        (Remembers, "keep nothing"),
        (Counts, "the same call means the same"),
        (Looks, r"time\.time"),
        (Names, "is an id"),
        (Carries, "at most 192 bytes"),
        (Empty, "content is empty"),
        (AcksEarly, "not durable is refused"),
        (Parts, "another byte"),
    ],
)
def test_the_check_finds_what_is_wrong(kind: Callable[[], Channel], says: str) -> None:
    inturn.testing.channel(Good(), signed(NOTE))
    with pytest.raises(AssertionError, match=says):
        inturn.testing.channel(kind(), signed(NOTE))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff", b"{", b"nul", b'{"a":NaN}', b"[" * 100_000, b'{"a":' * 150 + b"1" + b"}" * 150]
)
def test_what_is_no_object_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        Call(body).json()


def test_headers_are_read_in_any_case_and_doubled_ones_are_joined() -> None:
    call = Call.of(b"a=1&a=2&b=", [(b"X-A", b"1"), (b"x-a", b"\xe9")], query=b"c=3", now=1.0)
    assert call.header("x-a") == "1, é"
    assert (call.form(), call.queries()) == ({"a": "2", "b": ""}, {"c": "3"})
    with pytest.raises(Unreadable):
        Call(b"&".join(b"a%d=" % n for n in range(300))).form()

"""The mailbox: one order of an activation's messages, however they were delivered."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from inturn_workflows import mailbox
from inturn_workflows.mailbox import Mailbox, Signalled, Updated, in_order


@pytest.fixture(autouse=True)
def _decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read payloads as JSON: there is no workflow here."""
    monkeypatch.setattr(mailbox, "decode", lambda args, most: json.loads(args[0].payload.data))


NEVER: Any = None
"""Their answers are not looked at."""


def _args(after: str | None = None) -> list[RawValue]:
    return [RawValue(Payload(data=json.dumps({} if after is None else {"after": after}).encode()))]


def _posted(*arrived: str, after: dict[str, str] | None = None) -> list[str]:
    signals = [Signalled(_args((after or {}).get(name)), list[str]().clear, 0) for name in arrived if name[0] == "s"]
    updates = [Updated[None](name, lambda: None, NEVER, 0) for name in arrived if name[0] == "u"]
    names = dict(zip(map(id, [*signals, *updates]), sorted(arrived, key=lambda name: name[0]), strict=True))
    return [names[id(message)] for message in in_order(signals, updates)]


@pytest.mark.promise("SUR-11", "ORD-1")
def test_every_delivery_of_the_same_messages_is_taken_in_one_order() -> None:
    signals, updates = ["s1", "s2", "s3"], ["u1", "u2"]
    deliveries = [
        mixed
        for mixed in itertools.permutations([*signals, *updates])
        if [m for m in mixed if m in signals] == signals and [m for m in mixed if m in updates] == updates
    ]
    assert len(deliveries) == 10
    assert {tuple(_posted(*mixed)) for mixed in deliveries} == {("s1", "s2", "s3", "u1", "u2")}
    assert {tuple(_posted(*mixed, after={"s2": "u1"})) for mixed in deliveries} == {("s1", "s3", "u1", "s2", "u2")}


@pytest.mark.promise("ORD-11")
def test_a_signal_comes_behind_the_update_that_its_sender_made_before_it() -> None:
    assert _posted("u1", "s2", "s3", "u4", "s5", after={"s2": "u1", "s3": "u1", "s5": "u4"}) == [
        "u1",
        "s2",
        "s3",
        "u4",
        "s5",
    ]
    assert _posted("s1", "u2", after={"s1": "long ago"}) == ["s1", "u2"], "it was taken before"


@pytest.mark.promise("ORD-1")
async def test_a_message_waits_for_all_that_the_activation_brings() -> None:
    box, taken = Mailbox(), list[str]()
    update = asyncio.ensure_future(box.update("u1", lambda: taken.append("u1")))
    asyncio.get_running_loop().call_soon(lambda: box.signal(_args(), lambda: taken.append("s2")))
    await update
    assert taken == ["s2", "u1"]
    assert not len(box)


async def test_an_update_is_refused_with_what_its_taking_raised() -> None:
    def refuse() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await Mailbox().update("u1", refuse)

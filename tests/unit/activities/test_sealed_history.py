"""What a session set aside is written though its history cannot be read."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from inturn import names, sizes
from inturn.histories import Came
from inturn.journal import open_journal
from inturn.keys import SessionKey
from inturn_activities import sealed
from inturn_activities.messages import Decision, RecordInput
from inturn_activities.record import record
from tests.support.steps import SESSION, rig
from tests.support.stores import journal_url


async def test_a_history_that_is_never_read_to_its_end_holds_up_no_record_for_good(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    journal = open_journal(journal_url(tmp_path))

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(sealed, "signals", never)
    monkeypatch.setattr(sealed, "_WITHIN", 0.01)
    body = {"error": "e", "sealed": {"run": "r", "signal": 1}}
    decisions = [Decision(type="event.parked", turn="sealed:1", key="k", disposition="parked", body=body)]

    async def tried(attempt: int) -> list[Decision]:
        environment = ActivityEnvironment(client=Client.__new__(Client))
        environment.info = dataclasses.replace(environment.info, attempt=attempt)
        found: list[Decision] = await environment.run(sealed.kept, journal, SessionKey("t", "s"), decisions)
        return found

    async with asyncio.timeout(5):
        with pytest.raises(ApplicationError, match="cannot be read now"):
            await tried(1)
        assert await tried(sealed._TRIES) == decisions
    await journal.close()


@pytest.mark.promise("SEC-2", "SUR-15")
async def test_junk_under_strange_keys_is_bounded_in_the_journal_and_each_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sizes, "SEALED", 500_000)

    async def came(*_: Any) -> dict[int, Came]:
        return {n: Came(names.SUBMIT, Payloads(payloads=[Payload(data=b"x" * 50_000)])) for n in range(5)}

    monkeypatch.setattr(sealed, "signals", came)

    def junk(run: int) -> list[Decision]:
        names_of = [(n, f"sealed:run-{run}-{n}") for n in range(5)]
        return [
            Decision(
                type="event.parked",
                turn=name,
                key=f"{name}/parked",
                disposition="parked",
                body={"error": "a key that", "attempts": 0, "turn": name, "sealed": {"run": f"r{run}", "signal": n}},
            )
            for n, name in names_of
        ]

    async with rig(tmp_path) as steps:
        environment = ActivityEnvironment(client=Client.__new__(Client))
        for run in range(10):
            message = RecordInput(decisions=junk(run))
            await environment.run(record, steps.journal, SESSION.turn("~record").step(run), message)
        bodies = await steps.bodies("event.parked")
        assert len(bodies) == 50
        assert all({"run", "signal"} <= body["sealed"].keys() for body in bodies)
        assert 5 <= sum("payload" in body["sealed"] for body in bodies) <= 15
        assert await steps.journal.sealed_bytes(SESSION) < 1_000_000
        for body in bodies:  # given up
            name = body["turn"]
            gone = Decision(
                type="event.cancelled", turn=name, key=f"{name}/discarded", disposition="discarded", body={"turn": name}
            )
            await environment.run(record, steps.journal, SESSION.turn("~r").step(0), RecordInput(decisions=[gone]))
        assert await steps.journal.sealed_bytes(SESSION) == 0

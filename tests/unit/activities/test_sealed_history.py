"""What a session set aside is written though its history cannot be read."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from inturn.keys import SessionKey
from inturn_activities import sealed
from inturn_activities.messages import Decision


async def test_a_history_that_is_never_read_to_its_end_holds_up_no_record_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(sealed, "signals", never)
    monkeypatch.setattr(sealed, "_WITHIN", 0.01)
    body = {"error": "e", "sealed": {"run": "r", "signal": 1}}
    decisions = [Decision(type="event.parked", turn="sealed:1", key="k", disposition="parked", body=body)]

    async def tried(attempt: int) -> list[Decision]:
        environment = ActivityEnvironment(client=Client.__new__(Client))
        environment.info = dataclasses.replace(environment.info, attempt=attempt)
        found: list[Decision] = await environment.run(sealed.kept, SessionKey("t", "s"), decisions)
        return found

    async with asyncio.timeout(5):
        with pytest.raises(ApplicationError, match="cannot be read now"):
            await tried(1)
        assert await tried(sealed._TRIES) == decisions

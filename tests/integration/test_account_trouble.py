"""A key that was rotated, a card that lapsed, a model that is gone: no event's fault, and nothing to redrive."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from temporalio.api.failure.v1 import Failure as Failed
from temporalio.converter import DefaultFailureConverter, DefaultPayloadConverter
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.agents import Agent
from inturn.errors import SessionNotFound
from inturn.testing import Fault, StrictClaude
from inturn_activities import failures
from inturn_activities.model.claude import Claude
from tests.support.rig import Rig
from tests.support.steps import rig as steps_rig
from tests.support.waiting import until

MODEL = "claude-sonnet-5-5"
LOW = "Your credit balance is too low to access the Anthropic API."
FAULTS = [
    Fault(status=401),
    Fault(status=402),
    Fault(status=403),
    Fault(status=404),
    Fault(kind="spend_limit"),
    Fault(status=400, message=LOW),
]


def worker(tmp_path: Path, claude: Claude):  # type: ignore[no-untyped-def]
    """A worker's steps with one agent."""
    return steps_rig(tmp_path, model=claude, agents=[Agent("support", model=MODEL, instructions="Be brief.")])


def size(error: ApplicationError) -> int:
    """Return the bytes of an error as it is sent."""
    failure = Failed()
    DefaultFailureConverter().to_failure(error, DefaultPayloadConverter(), failure)
    return len(failure.SerializeToString())


@pytest.mark.promise("SUR-4", "MOD-9")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.message or f"{f.kind} {f.status}")
async def test_what_the_account_stands_in_the_way_of_is_waited_out_and_costs_no_event(
    server: StrictClaude, claude: Claude, tmp_path: Path, fault: Fault
) -> None:
    server.faults(fault.model_copy(update={"times": 30}))
    async with worker(tmp_path, claude) as r:
        for attempt in range(1, 31):
            with pytest.raises(ApplicationError) as failed:
                await r.ask(attempt=attempt)
            assert (failed.value.type, failed.value.non_retryable) == (names.ACCOUNT, False)
            assert size(failed.value) < 3_600, "of a failure over 4 KB the server keeps no type"
        assert (await r.ask(attempt=31)).stop == "end_turn"
        assert await r.entries("event.parked", "turn.failed") == []


@pytest.mark.promise("SUR-4", "MOD-9")
async def test_an_account_that_flaps_beside_outages_costs_no_event_either(
    server: StrictClaude, claude: Claude, tmp_path: Path
) -> None:
    for n in range(10):
        server.faults("401", "529", f"cut at={600 + 150 * (n % 5)}", "402")
    async with worker(tmp_path, claude) as r:
        for attempt in range(1, 41):
            with pytest.raises(ApplicationError) as failed:
                await r.ask(attempt=attempt)
            assert not failed.value.non_retryable
        assert (await r.ask(attempt=41)).stop == "end_turn"


async def test_there_is_one_alarm_for_all_sessions_and_one_word_when_it_is_over(
    server: StrictClaude, claude: Claude, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults(*["401"] * 6)
    async with worker(tmp_path, claude) as r:
        with caplog.at_level(logging.WARNING, "inturn.worker"):
            for event in ("e1", "e2", "e1", "e2", "e1", "e2"):
                with pytest.raises(ApplicationError):
                    await r.ask(event)
            assert (await r.ask("e1")).stop == "end_turn"
            assert (await r.ask("e2")).stop == "end_turn"
    said = [record.getMessage() for record in caplog.records if record.name == "inturn.worker"]
    assert [("gives no answers" in text, "answers again" in text) for text in said] == [(True, False), (False, True)]


@pytest.mark.promise("SUR-3")
async def test_an_event_that_alone_is_refused_so_costs_its_own_turn_and_not_its_sessions_day(
    server: StrictClaude, claude: Claude, tmp_path: Path
) -> None:
    server.faults(Fault(status=403, times=None, when="blocked by a proxy"))
    async with worker(tmp_path, claude) as r:
        ends = []
        for attempt in range(1, 6):
            await r.ask(f"fine {attempt}", "hello")
            with pytest.raises(ApplicationError) as failed:
                await r.ask("bad", "blocked by a proxy", attempt=attempt)
            ends.append((failed.value.type, failed.value.non_retryable))
        assert ends == [(names.ACCOUNT, False)] * 4 + [(names.OWN_FAILURE, True)]


@pytest.mark.promise("SUR-4", "SUR-5", "MOD-9")
async def test_sessions_wait_for_the_account_say_so_and_go_on_by_themselves(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "ACCOUNT_PROBE", 1.0)
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        claude.faults(Fault(status=401, times=None))
        sessions = [client.session(name, agent="support") for name in ("a", "b")]
        asked = [asyncio.create_task(s.ask("hello", event_id="e", timeout=60)) for s in sessions]

        async def shown() -> bool:
            try:
                status = await sessions[0].status()
            except SessionNotFound:  # its ask is still on its way
                return False
            said = (status.turn.waiting_for or status.turn.last_error) if status.turn else None
            return status.health == "account" and "401" in (said or "")

        async def well() -> bool:  # a turn is in the journal before the server knows that its step ended
            return (await sessions[0].status()).health == "ok"

        await until(shown)
        claude.reset()
        turns = await asyncio.gather(*asked)
        assert [turn.disposition for turn in turns] == ["applied", "applied"]
        await until(well)
        assert await sessions[0].parked() == []

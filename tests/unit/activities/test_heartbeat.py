"""Signs of life: beats, and the leases of what runs."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio.testing import ActivityEnvironment

from inturn.errors import JournalUnavailable
from inturn.journal import Journal, Superseded
from inturn.keys import SessionKey, StepKey
from inturn_activities import heartbeat
from inturn_activities.heartbeat import EARLY, Heartbeat
from inturn_activities.leases import Leases
from tests.support.steps import WAIT, environment

STEP = SessionKey("acme", "s1").turn("e1").step(0)
OTHER = SessionKey("acme", "s1").turn("e1").step(0, 1)
LEASE = 0.04


def noted(timeout: float | None = None) -> tuple[ActivityEnvironment, list[tuple[float, Sequence[Any]]]]:
    """Return an activity's environment, and when it beats with what."""
    made, beats = environment(STEP), list[tuple[float, Sequence[Any]]]()
    bound = None if timeout is None else timedelta(seconds=timeout)
    made.info = dataclasses.replace(made.info, heartbeat_timeout=bound)
    made.on_heartbeat = lambda *details: beats.append((time.monotonic(), details))
    return made, beats


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_step_beats_until_its_end() -> None:
    made, beats = noted()

    async def step() -> None:
        with Heartbeat(every=0.005):
            await soon(lambda: len(beats) >= 3)

    await made.run(step)
    seen = len(beats)
    await asyncio.sleep(0.02)
    assert len(beats) == seen


async def test_a_step_with_a_shorter_timeout_beats_more_often() -> None:
    made, beats = noted(timeout=0.05)

    async def step() -> None:
        with Heartbeat(every=WAIT * 10):
            await soon(lambda: len(beats) >= 2)

    await made.run(step)


@pytest.mark.promise("EFF-8")
async def test_a_step_that_is_to_stop_beats_again_and_again_until_its_cancel_is_here() -> None:
    made, beats = noted()
    noticed = 0.0

    async def step() -> None:
        nonlocal noticed
        with Heartbeat(every=WAIT * 10) as beating:
            await asyncio.sleep(0)
            assert not beats
            noticed = time.monotonic()
            beating.hurry()
            await soon(lambda: len(beats) == 4)  # the first ones were answered with no cancel
            made.cancel()
            try:
                await asyncio.sleep(WAIT)
            except asyncio.CancelledError:
                await asyncio.sleep(EARLY[4] + 0.05 - (time.monotonic() - noticed))

    await made.run(step)
    assert len(beats) == 4, "the cancel is here: nothing is left to ask for"
    assert all(at - noticed >= after - 0.001 for (at, _), after in zip(beats, EARLY, strict=False))


@pytest.mark.promise("EFF-8")
async def test_a_notice_that_no_cancel_follows_costs_six_beats() -> None:
    made, beats = noted()

    async def step() -> None:
        with Heartbeat(every=WAIT * 10) as beating:
            beating.hurry()
            await asyncio.sleep(EARLY[-1] + 0.2)

    await made.run(step)
    assert len(beats) == len(EARLY)


async def test_what_a_step_waits_for_is_said_at_once_and_with_each_beat() -> None:
    made, beats = noted()

    async def step() -> None:
        with Heartbeat(every=0.1):
            heartbeat.waits_for("a lock")
            heartbeat.waits_for("a lock, for 1 s")
            await soon(lambda: len(beats) >= 2)
            heartbeat.waits_for("")
            seen = len(beats)
            await soon(lambda: len(beats) > seen)

    began = time.monotonic()
    await made.run(step)
    assert [list(details) for _, details in beats] == [["a lock, for 1 s"]] * (len(beats) - 1) + [[]]
    assert beats[0][0] - began < 0.1


class Renewing:
    """A journal that answers renewals as told; each takes all claims at once."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[list[tuple[StepKey, str]]] = []

    async def renew_all(self, claims: Sequence[tuple[StepKey, str]], *, lease: float) -> list[tuple[StepKey, str]]:
        self.asked.append(list(claims))
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        if answer == "hangs":
            await asyncio.sleep(WAIT)
        return [claim for claim in claims if claim in answer]


def leases(journal: Renewing, lease: float = LEASE) -> Leases:
    return Leases(cast(Journal, journal), lease=lease)


async def test_all_claims_of_a_process_are_renewed_at_once_and_only_while_they_are_held() -> None:
    journal = Renewing()
    held = leases(journal)
    async with held.held(STEP, "a"), held.held(OTHER, "b"):
        await soon(lambda: len(journal.asked) >= 3)
    asked = len(journal.asked)
    assert sorted(journal.asked[-1], key=str) == sorted([(STEP, "a"), (OTHER, "b")], key=str)
    await asyncio.sleep(LEASE)
    assert len(journal.asked) == asked
    async with held.held(STEP, "c"):
        await soon(lambda: len(journal.asked) > asked)
    assert journal.asked[-1] == [(STEP, "c")]


async def test_a_claim_is_not_renewed_beyond_what_its_body_may_take() -> None:
    journal = Renewing()
    held = leases(journal)
    async with held.held(STEP, "a"), held.held(OTHER, "b", during=LEASE):
        await soon(lambda: bool(journal.asked) and journal.asked[-1] == [(STEP, "a")])
    assert journal.asked[0] in ([(STEP, "a"), (OTHER, "b")], [(OTHER, "b"), (STEP, "a")])


@pytest.mark.parametrize("first", [JournalUnavailable("away"), "hangs", []])
@pytest.mark.promise("EFF-3")
async def test_a_lost_claim_stops_its_block_alone_whatever_the_renewals_before_came_to(first: Any) -> None:
    journal = Renewing(first, [], [(STEP, "a")])
    held = leases(journal)
    stopped = False

    async def step() -> None:
        nonlocal stopped
        async with held.held(STEP, "a"):
            try:
                await asyncio.sleep(WAIT)
            finally:
                stopped = True

    async with held.held(OTHER, "b"):
        with pytest.raises(Superseded):
            await step()
        assert stopped
        await soon(lambda: journal.asked[-1] == [(OTHER, "b")])


async def test_a_cancel_from_outside_stays_a_cancel_when_the_claim_is_lost_as_well() -> None:
    held = leases(Renewing([(STEP, "a")]))

    async def step() -> None:
        async with held.held(STEP, "a"):
            try:
                await asyncio.sleep(WAIT)
            except asyncio.CancelledError:
                task.cancel()
                raise

    task = asyncio.create_task(step())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_step_that_is_stopped_by_another_loses_nothing_when_its_claim_goes_at_its_end() -> None:
    held = leases(Renewing([(STEP, "a")]))

    async def step() -> str:
        async with held.held(STEP, "a"):
            with pytest.raises(asyncio.CancelledError):  # as where a last transaction is shielded
                await asyncio.sleep(WAIT)
        return "recorded"

    assert await asyncio.create_task(step()) == "recorded"

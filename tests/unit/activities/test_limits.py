"""Steps that want what others hold: they wait by the rules, and say for what."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from inturn import ToolContext, tool
from inturn.errors import JournalUnavailable
from inturn.journal import Journal, Want
from inturn.journal.store.sqlite import SqliteStore
from inturn.keys import StepKey
from inturn.testing import ToolCall
from inturn.tools.checks import CheckedCall, check_call
from inturn_activities.bounds import Bounds
from inturn_activities.limits.limits import Limits
from inturn_activities.messages import RecordInput, ToolInput
from tests.support.limits import TENANT, call, write
from tests.support.steps import SESSION, SHUTDOWN, WAIT, StepRunner, environment, rig
from tests.support.waiting import until

OTHER = call("other")
FAST = Bounds(beat=0.01, lease=0.5, leased_wait=5, poll=0.005)
NO_PLACE = Bounds(beat=0.01, lease=0.5, leased_wait=5, claim_wait=0)


@tool(locks=["{name}"])
async def change(name: str, ctx: ToolContext) -> int:
    """Change something."""
    return ctx.fence


@tool
async def nest(first: str, second: str, ctx: ToolContext) -> str:
    """Change something, and on the way something else."""
    async with ctx.lock(first) as one, ctx.lock(second) as two:
        return f"{one.fence} {two.fence}"


async def held(journal: Journal, *wants: Want, lease: float = 60) -> str:
    """Let another session's call hold something; gives its token."""
    claim = await journal.claim_call(OTHER, lease=lease, wants=wants)
    assert claim.status == "claimed"
    return claim.token


async def calls(journal: Journal, state: str) -> set[str]:
    """The calls that hold something, or wait for it."""
    return {place.call for place in await journal.places(TENANT) if place.state == state}


async def asked(made: StepRunner) -> str:
    """Ask; gives the id of the call that the model made."""
    [planned] = (await made.ask()).calls
    return planned.id


async def texts(made: StepRunner) -> list[tuple[str, str]]:
    return [(body["status"], body["text"]) for body in await made.bodies("agent.tool_result")]


async def test_a_waiter_that_is_not_to_wait_in_place_comes_back_in_a_second_or_two(tmp_path: Path) -> None:
    async with rig(tmp_path, [ToolCall("change", name="order:17")], tools=[change], bounds=NO_PLACE) as made:
        mine = await held(made.journal, write("order:17"))
        identity = await asked(made)
        with pytest.raises(ApplicationError) as found:
            await made.tool(call=identity)
        error = found.value
        assert str(error) == "NotYet: waiting for lock order:17, held by acme/sother for 0 s"
        assert error.category is ApplicationErrorCategory.BENIGN
        assert not error.non_retryable
        assert error.next_retry_delay is not None
        assert timedelta(seconds=1) <= error.next_retry_delay <= timedelta(seconds=2)
        assert await texts(made) == []
        await made.journal.finish(OTHER, mine, {})
        await made.tool(call=identity, attempt=2)
        [(status, fence)] = await texts(made)
        assert (status, int(fence) > 1) == ("ok", True)


async def test_the_first_waiter_waits_in_place_and_only_it(tmp_path: Path) -> None:
    two = [ToolCall("change", name="a"), ToolCall("change", name="a")]
    async with rig(tmp_path, [two], tools=[change], bounds=FAST) as made:
        mine = await held(made.journal, write("a"))
        first, second = (await made.ask()).calls
        waiting = asyncio.create_task(made.tool(call=first.id))
        await until(lambda: queued(made, 1))
        with pytest.raises(ApplicationError, match="waiting for lock a, held by acme/sother"):
            await made.tool(call=second.id, index=1)
        assert not waiting.done()
        await made.journal.finish(OTHER, mine, {})
        assert (await waiting).status == "ok"


async def test_a_waiter_whose_call_was_settled_ends_at_once_and_its_body_never_runs(tmp_path: Path) -> None:
    async with rig(tmp_path, [ToolCall("change", name="a")], tools=[change], bounds=FAST) as made:
        await held(made.journal, write("a"))
        waiting = asyncio.create_task(made.tool(call=await asked(made)))
        await until(lambda: queued(made, 1))
        closing = RecordInput(settle=["e1"], cancelled="the session was closed", number="0", unclaimed=True)
        await environment(StepKey.parse(f"{SESSION}/~record/1")).run(made.steps.record, closing)
        async with asyncio.timeout(1):
            assert (await waiting).status == "settled"
        assert await texts(made) == [("cancelled", "the session was closed")]
        assert await calls(made.journal, "held") == {str(OTHER)}
        assert await queued(made, 0)


async def queued(made: StepRunner, count: int) -> bool:
    return len(await calls(made.journal, "waiting")) == count


@pytest.mark.parametrize("shutdown", [False, True])
async def test_a_cancelled_waiter_leaves_no_ticket_unless_it_comes_back(tmp_path: Path, shutdown: bool) -> None:
    async with rig(tmp_path, [ToolCall("change", name="a")], tools=[change], bounds=FAST) as made:
        await held(made.journal, write("a"))
        identity = await asked(made)
        env = environment(SESSION.turn("e1").step(0, 0))
        waiting = asyncio.create_task(env.run(made.steps.run_tool, ToolInput(call=identity)))
        await until(lambda: queued(made, 1))
        env.cancel(SHUTDOWN) if shutdown else env.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await queued(made, 1 if shutdown else 0)


@pytest.mark.promise("SHR-4")
@pytest.mark.parametrize("told", ["not_found", "timed_out", "reset"])
async def test_a_zombies_cancel_leaves_its_successors_ticket(tmp_path: Path, told: str) -> None:
    async with rig(tmp_path, [ToolCall("change", name="a")], tools=[change], bounds=FAST) as made:
        await held(made.journal, write("a"))
        identity = await asked(made)
        env = environment(SESSION.turn("e1").step(0, 0))
        zombie = asyncio.create_task(env.run(made.steps.run_tool, ToolInput(call=identity)))
        await until(lambda: queued(made, 1))
        env.cancel(ActivityCancellationDetails(**{told: True}))
        with pytest.raises(asyncio.CancelledError):
            await zombie
        assert await queued(made, 1)


@pytest.mark.promise("SHR-5")
async def test_a_wait_of_five_minutes_ends_with_an_error_result(tmp_path: Path) -> None:
    limits = Limits(lock_timeout=0.05)
    async with rig(tmp_path, [ToolCall("change", name="a")], tools=[change], bounds=NO_PLACE, limits=limits) as made:
        await held(made.journal, write("a"))
        identity = await asked(made)

        async def ended() -> bool:
            try:
                await made.tool(call=identity)
            except ApplicationError:
                return False
            return True

        await until(ended)
        [(status, text)] = await texts(made)
        assert status == "error"
        assert text.startswith("The call did not run: waiting for lock a, held by acme/sother for 0 s. It gave up")
        assert [place.call for place in await made.journal.places(TENANT)] == [str(OTHER)]


async def test_names_of_locks_are_made_of_validated_arguments_and_belong_to_the_tenant() -> None:
    @tool(locks=["order:{order}", "shop"], reads=["shop", "rates:{order.real}"])
    async def pay(order: int) -> str:
        """Pay."""
        return ""

    checked = check_call(pay, {"order": "7"})
    assert isinstance(checked, CheckedCall)
    found = Limits(max_steps=None, per_tool={"pay": 2}).of_call("acme", "a", "pay", checked)
    assert [(w.scope, w.resource, w.mode) for w in found] == [
        ("acme", "lock order:7", "write"),
        ("acme", "lock rates:7", "read"),
        ("acme", "lock shop", "write"),
        ("acme", "tool pay", "permit"),
    ]


async def test_a_name_that_cannot_be_made_is_the_calls_own_fault(tmp_path: Path) -> None:
    @tool(locks=["{order.number}"])
    async def pay(order: int) -> str:
        """Pay."""
        return ""

    async with rig(tmp_path, [ToolCall("pay", order=7)], tools=[pay]) as made:
        await made.tool(call=await asked(made))
        [(status, text)] = await texts(made)
        assert status == "error"
        assert "number" in text


async def test_a_body_takes_locks_on_its_way_and_gives_them_back(tmp_path: Path) -> None:
    async with rig(tmp_path, [ToolCall("nest", first="a", second="b")], tools=[nest], bounds=FAST) as made:
        mine = await held(made.journal, write("b"))
        running = asyncio.create_task(made.tool(call=await asked(made)))
        await until(lambda: queued(made, 1))
        assert not running.done()
        await made.journal.finish(OTHER, mine, {})
        await running
        [(status, fences)] = await texts(made)
        assert status == "ok"
        assert all(int(fence) > 0 for fence in fences.split())
        assert await made.journal.places(TENANT) == []


@pytest.mark.promise("SHR-4")
@pytest.mark.parametrize("victim", ["oldest_waiter", "youngest"])
async def test_one_of_two_calls_that_wait_for_each_other_ends_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: Any
) -> None:
    monkeypatch.setattr("inturn_activities.tools.body_locks.LOOK", 0.05)
    ready = asyncio.Barrier(2)

    @tool
    async def cross(first: str, second: str, ctx: ToolContext) -> str:
        """Change something, and on the way something else."""
        async with ctx.lock(first):
            await ready.wait()
            async with ctx.lock(second):
                return "both"

    two = [ToolCall("cross", first="a", second="b"), ToolCall("cross", first="b", second="a")]
    async with rig(tmp_path, [two], tools=[cross], bounds=FAST, limits=Limits(victim=victim)) as made:
        await made.tools(await made.ask())
        found = sorted(await texts(made))
        assert [status for status, _ in found] == ["error", "ok"]
        assert found[0][1].startswith("This call was ended to break a deadlock: cross of acme/s1/e1/0/")
        notes = await made.bodies("tool.progress")
        assert len(notes) == 2
        assert {note["deadlock"]["victim"] for note in notes} <= {"acme/s1/e1/0/0", "acme/s1/e1/0/1"}


@pytest.mark.promise("ISO-4")
async def test_a_model_call_needs_a_permit_of_its_tenant_and_its_rate(tmp_path: Path) -> None:
    limits = Limits(max_models=1, rate_per_model={"m": 60})
    async with rig(tmp_path, ["hello", "again"], bounds=NO_PLACE, limits=limits) as made:
        mine = await held(made.journal, Want(TENANT, "model calls", "permit", 1))
        with pytest.raises(ApplicationError, match="waiting for model calls: all 1 taken"):
            await made.ask()
        assert await made.entries() == [], "nothing has begun"
        await made.journal.finish(OTHER, mine, {})
        assert (await made.ask()).stop == "end_turn"
        with pytest.raises(ApplicationError, match="waiting for calls per minute of m"):
            await made.ask("e2")


@pytest.mark.promise("ISO-4")
async def test_who_comes_late_for_what_is_scarce_does_not_come_back_every_second_for_it(tmp_path: Path) -> None:
    limits = Limits(rate_per_model={"m": 6})
    async with rig(tmp_path, ["hello"], bounds=NO_PLACE, limits=limits) as made:
        wants = limits.of_model(TENANT, "support", "m")
        waiting = [await made.journal.claim_model(call(n), wants=wants, lease=60) for n in range(5)]
        assert [claim.status for claim in waiting] == ["claimed", *["waiting"] * 4]
        with pytest.raises(ApplicationError, match="waiting for calls per minute of m") as found:
            await made.ask()
        delay = found.value.next_retry_delay
        assert delay is not None
        assert timedelta(seconds=15) <= delay <= timedelta(seconds=60), "four before it get one each in ten seconds"


@pytest.mark.promise("ISO-4")
async def test_permits_go_from_hand_to_hand_among_more_than_there_are(tmp_path: Path) -> None:
    bounds = Bounds(beat=0.01, lease=5, leased_wait=5, poll=0.005)
    running, most = 0, 0

    @tool
    async def work() -> None:
        """Take a moment."""
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0.02)
        running -= 1

    many = [ToolCall("work") for _ in range(24)]
    async with rig(tmp_path, [many], tools=[work], bounds=bounds, limits=Limits(per_tool={"work": 4})) as made:

        async def ended(index: int, identity: str) -> None:
            with contextlib.suppress(ApplicationError):
                await made.tool(call=identity, index=index)

        planned = (await made.ask()).calls
        await asyncio.gather(*(ended(index, call.id) for index, call in enumerate(planned)))
        places = await made.journal.places(TENANT)
        done = len(await texts(made))
        assert most <= 4
        assert done >= 4 + 4, "four held one, and as many waited in place"
        assert [place for place in places if place.state == "waiting"] == [], "nobody that left reserves one"
        assert done + len({place.call for place in places if place.state == "away"}) == len(many)


async def test_a_plain_turn_costs_the_same_transactions_with_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    write_, read_ = SqliteStore.write, SqliteStore.read

    async def counted(self: Any, work: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return await write_(self, work, **options)

    async def counted_read(self: Any, work: Any) -> Any:
        nonlocal count
        count += 1
        return await read_(self, work)

    seen = []
    for limits in (Limits(max_steps=None), Limits(max_models=5, rate_per_model={"m": 6000})):
        async with rig(tmp_path / str(limits.max_models), ["one", "two"], bounds=Bounds(), limits=limits) as made:
            await made.ask("e1")
            monkeypatch.setattr(SqliteStore, "write", counted)
            monkeypatch.setattr(SqliteStore, "read", counted_read)
            count = 0
            await made.ask("e2")
            seen.append(count)
            monkeypatch.undo()
    assert seen[0] == seen[1]


@pytest.mark.promise("SHR-5")
async def test_a_step_without_progress_is_reported_once_in_a_while_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    @tool
    async def slow(ctx: ToolContext) -> str:
        """Take its time."""

        async def reported(times: int) -> bool:
            return len([r for r in caplog.records if "makes no progress" in r.getMessage()]) >= times

        await until(lambda: reported(1), every=0.005)
        await ctx.progress("half")
        await until(lambda: reported(2), every=0.005)
        return "done"

    async with rig(tmp_path, [ToolCall("slow")], tools=[slow], bounds=FAST, limits=Limits(stuck_after=0.05)) as made:
        call = await asked(made)
        caplog.clear()  # the model's step is watched too, and a busy machine may hold it up
        await made.tool(call=call)
        assert (await texts(made))[0] == ("ok", "done")
    reports = [r.getMessage() for r in caplog.records if "makes no progress" in r.getMessage()]
    assert reports[0] == "acme/s1/e1/0/0 makes no progress since 0 s: tool slow runs"


async def test_a_body_that_takes_a_lock_waits_for_a_journal_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Journal.lock
    away = 3

    async def sometimes(self: Journal, *args: Any, **options: Any) -> Any:
        nonlocal away
        away -= 1
        if away >= 0:
            raise JournalUnavailable("away")
        return await lock(self, *args, **options)

    monkeypatch.setattr(Journal, "lock", sometimes)
    async with rig(tmp_path, [ToolCall("nest", first="a", second="b")], tools=[nest], bounds=FAST) as made:
        await made.tool(call=await asked(made))
        [(status, _)] = await texts(made)
        assert status == "ok"
        assert away < 0


@pytest.mark.promise("EFF-8")
async def test_a_cancel_that_comes_while_a_lock_is_given_back_stops_the_tool_behind_it(tmp_path: Path) -> None:
    @tool
    async def touch(ctx: ToolContext) -> str:
        """Change something, and go on for long."""
        async with ctx.lock("order:17"):
            pass
        await asyncio.sleep(3600)
        return "never"

    async with rig(tmp_path, [ToolCall("touch")], tools=[touch]) as made:
        identity = await asked(made)
        running = environment(SESSION.turn("e1").step(0, 0))
        leave = made.journal.leave

        async def cancelled_meanwhile(*args: Any, **options: Any) -> None:
            running.cancel()
            await asyncio.sleep(0)
            await leave(*args, **options)

        made.journal.leave = cancelled_meanwhile  # type: ignore[method-assign]
        task = asyncio.create_task(running.run(made.steps.run_tool, ToolInput(call=identity)))
        await asyncio.wait([task], timeout=WAIT)
        assert task.cancelled()


@pytest.mark.promise("SHR-4")
async def test_one_lock_object_that_is_entered_twice_is_given_back_twice(tmp_path: Path) -> None:
    seen: list[int] = []

    @tool
    async def twice(ctx: ToolContext) -> str:
        """Enter it again."""
        lock = ctx.lock("order:17")
        async with lock, lock:
            pass
        seen.append(len(await made.journal.places(TENANT)))
        async with lock:
            pass
        return "done"

    async with rig(tmp_path, [ToolCall("twice")], tools=[twice], limits=Limits(max_steps=None)) as made:
        await made.tool(call=await asked(made))
        assert seen == [0]

"""A turn settles every call before it goes on, and goes on from its state alone, wherever it stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inturn.turns.call_results import GIVEN_UP, MAX_PARALLEL_CALLS
from inturn_activities.messages import CallPlan, ModelResult
from inturn_workflows import turn as turns
from inturn_workflows.turn import ContinueDue, Interrupted, StepFailed
from inturn_workflows.turn_state import CallState, TurnState

pytestmark = pytest.mark.promise("ORD-2", "EFF-4", "EFF-6", "SUR-6")


@dataclass(frozen=True)
class Call:
    """One call of the script: how many times the loop goes round before it is done, and how it ends."""

    waits: int = 0
    fails: bool = False
    failures: int | None = None
    approval: bool = False
    answer_after: int = 0


Script = list[list[Call]]
"""The calls of each model step; after the last the model is done."""


@dataclass
class Scripted:
    """A session around a turn: says what the script says, and keeps account of everything."""

    script: Script
    stops: list[BaseException] = field(default_factory=list)
    """What comes up next at a boundary, one per run."""
    at: int | None = None
    """How many boundaries or calls before it comes up."""
    log: list[str] = field(default_factory=list)
    begun: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    running: int = 0
    most: int = 0
    waiting: int = 0
    withdrawn: bool = False
    joins: list[int] = field(default_factory=list)
    """The model steps before which events might join."""

    async def call_model(self, turn: TurnState) -> ModelResult:
        assert self.running == 0, "a model step began while calls ran"
        assert turn.calls == [], "a model step began with calls left over"
        step = f"model {turn.step}"
        self.begun[step] += 1
        self.running += 1
        await asyncio.sleep(0)
        self.running -= 1
        self._come_up()
        self.done[step] += 1
        self.log.append(step)
        calls = self.script[turn.step] if turn.step < len(self.script) else None
        if calls is None:
            return ModelResult(stop="end_turn")
        plans = [
            CallPlan(id=f"{turn.step}.{index}", approval=call.approval, failures=call.failures)
            for index, call in enumerate(calls)
        ]
        return ModelResult(stop="tool_use" if calls else "pause_turn", calls=plans)

    async def approve(self, turn: TurnState, call: CallState, index: int) -> None:
        assert call.answer is None, "somebody was asked again"
        self.waiting += 1
        for _ in range(self.script[turn.step - 1][index].answer_after):
            if self.withdrawn:
                break
            await asyncio.sleep(0)
        self.waiting -= 1
        self._come_up()
        call.answer = "expired" if self.withdrawn else "approved"

    async def run_tool(self, turn: TurnState, call: CallState, index: int) -> bool:
        scripted = self.script[turn.step - 1][index]
        assert not scripted.approval or call.answer is not None, "a call ran that nobody approved"
        self.begun[call.id] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(scripted.waits):
                if call.cancelled:
                    raise StepFailed("cancelled")
                await asyncio.sleep(0)
            self._come_up()
        finally:
            self.running -= 1
        self.done[call.id] += 1
        self.log.append(call.id)
        if scripted.fails:
            raise StepFailed("no result")
        return True

    async def await_calls(self, turn: TurnState, calls: Mapping[int, asyncio.Task[None]]) -> None:
        assert len(calls) == sum(not call.done for call in turn.calls)

    def withdraw_approvals(self, reason: str) -> None:
        assert reason == GIVEN_UP
        self.withdrawn = True

    async def settle_cancelled(self, turn: TurnState) -> None:
        assert self.running == self.waiting == 0, "something still ran when the rest was settled"
        self._come_up()
        cancelled = [call.id for call in turn.calls if call.cancelled and not self.done[call.id]]
        self.log.append(f"cancelled {' '.join(cancelled)}")

    def join(self, turn: TurnState) -> None:
        assert turn.calls == [], "events joined while calls were open"
        self.joins.append(turn.step)

    def set_apart(self, turn: TurnState, event_ids: Sequence[str]) -> None:
        self.log += [f"apart {queued.event_id}" for queued in turn.part(event_ids)]

    def boundary(self, turn: TurnState) -> None:
        self._come_up()

    def _come_up(self) -> None:
        if self.at is None or not self.stops:
            return
        self.at -= 1
        if self.at <= 0:
            raise self.stops[0]


def begin() -> TurnState:
    return TurnState(turn="e1", event={"content": "hi"})


def moved(turn: TurnState) -> TurnState:
    """Carry a turn to another run or worker: all that goes along is its JSON."""
    return TurnState.model_validate_json(turn.model_dump_json())


fewer = settings(max_examples=40)
scripts = st.lists(
    st.lists(
        st.builds(
            Call,
            waits=st.integers(0, 3),
            fails=st.booleans(),
            approval=st.booleans(),
            answer_after=st.integers(0, 3),
        ),
        max_size=4,
    ),
    max_size=4,
)


def expected_log(script: Script) -> list[set[str]]:
    """Return what is done, step by step; calls of one step in any order."""
    log: list[set[str]] = []
    for step, calls in enumerate(script):
        log += [{f"model {step}"}, {f"{step}.{index}" for index in range(len(calls))}]
    return [done for done in [*log, {f"model {len(script)}"}] if done]


def follows(log: list[str], script: Script) -> bool:
    left = list(log)
    for group in expected_log(script):
        if set(left[: len(group)]) != group:
            return False
        del left[: len(group)]
    return not left


@fewer
@given(script=scripts)
def test_every_call_is_settled_before_the_next_model_step(script: Script) -> None:
    async def turn_runs() -> None:
        steps, turn = Scripted(script), begin()
        result = await turns.run(turn, steps)
        assert result.stop == "end_turn"
        assert follows(steps.log, script)
        assert set(steps.done.values()) == {1}
        assert turn.step == len(script) + 1
        assert turn.event is None, "the journal has the event now"
        assert turn.effects == any(script)
        assert steps.waiting == steps.running == 0
        assert steps.joins == [step + 1 for step, calls in enumerate(script) if calls], "after tool results alone"

    asyncio.run(turn_runs())


@fewer
@given(script=scripts, runs=st.lists(st.integers(1, 6), max_size=8))
def test_a_turn_that_continues_as_new_anywhere_repeats_nothing_that_was_done(script: Script, runs: list[int]) -> None:
    async def turn_moves() -> None:
        steps, turn = Scripted(script), begin()
        for at in runs:
            steps.stops, steps.at = [ContinueDue()], at
            try:
                await turns.run(turn, steps)
            except ContinueDue:
                assert steps.running == steps.waiting == 0, "something was left running"
                turn = moved(turn)
            else:
                break
        else:
            steps.stops, steps.at = [], None
            await turns.run(turn, steps)
        assert follows(steps.log, script)
        assert set(steps.done.values()) == {1}, "a step that was done was done again"

    asyncio.run(turn_moves())


@fewer
@given(script=scripts, at=st.integers(1, 12))
def test_an_interrupt_anywhere_ends_the_turn_and_leaves_nothing_running(script: Script, at: int) -> None:
    async def turn_ends() -> None:
        steps, turn = Scripted(script, [Interrupted("stop")], at), begin()
        try:
            await turns.run(turn, steps)
        except Interrupted:
            begun = set(steps.begun)
            await asyncio.sleep(0)
            assert set(steps.begun) == begun, "something began after the turn had ended"
        assert steps.running == steps.waiting == 0
        assert all(call.done == bool(steps.done[call.id]) for call in turn.calls)

    asyncio.run(turn_ends())


@fewer
@given(script=scripts, after=st.integers(0, 25))
def test_a_cancelled_run_leaves_nothing_running_and_can_go_on_elsewhere(script: Script, after: int) -> None:
    async def turn_is_cancelled() -> None:
        steps, turn = Scripted(script), begin()
        task = asyncio.ensure_future(turns.run(turn, steps))
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.result().stop == "end_turn"
        if task.cancelled():
            steps.running = steps.waiting = 0  # a real step is told to stop and awaited by its own wrapper
            await turns.run(moved(turn), steps)
        assert follows(steps.log, script)
        assert set(steps.done.values()) == {1}

    asyncio.run(turn_is_cancelled())


async def test_at_most_eight_calls_run_at_once_and_all_are_served() -> None:
    steps = Scripted([[Call(waits=3)] * 30])
    await turns.run(begin(), steps)
    assert steps.most == MAX_PARALLEL_CALLS == 8
    assert len([name for name in steps.log if name.startswith("0.")]) == 30


async def test_calls_that_wait_for_a_person_take_no_slot_from_the_others() -> None:
    waiting = [Call(approval=True, answer_after=50)] * MAX_PARALLEL_CALLS
    steps = Scripted([[*waiting, Call(), Call()]])
    await turns.run(begin(), steps)
    assert steps.log[1:3] == ["0.8", "0.9"]


async def test_one_calls_failure_cuts_no_other_call() -> None:
    steps = Scripted([[Call(fails=True), Call(waits=5)]])
    await turns.run(begin(), steps)
    assert steps.log == ["model 0", "0.0", "0.1", "model 1"]


async def test_a_failure_cancels_what_runs_and_what_waits_where_the_agent_bears_none() -> None:
    slow = [Call(waits=9, failures=1)]
    steps, turn = Scripted([[*slow, Call(waits=1, fails=True, failures=1), Call(failures=1), *slow * 10]]), begin()
    await turns.run(turn, steps)
    cut = " ".join(f"0.{index}" for index in (0, *range(3, 13)))
    assert steps.log == ["model 0", "0.2", "0.1", f"cancelled {cut}", "model 1"]
    assert len(steps.begun) - 2 <= MAX_PARALLEL_CALLS + 1, "calls began after the failure"
    assert turn.effects


async def test_fewer_failures_than_the_agent_bears_cancel_nothing() -> None:
    fails, slow = [Call(fails=True, failures=3)], [Call(waits=5, failures=3)]
    steps = Scripted([[*fails * 2, *slow], [*fails * 3, *slow]])
    await turns.run(begin(), steps)
    assert steps.log[:5] == ["model 0", "0.0", "0.1", "0.2", "model 1"]
    assert steps.log[-2:] == ["cancelled 1.3", "model 2"]


async def test_calls_that_wait_for_a_person_are_denied_when_another_fails() -> None:
    waiting = Call(approval=True, answer_after=50, failures=1)
    steps, turn = Scripted([[waiting, Call(fails=True, failures=1)]]), begin()
    await turns.run(turn, steps)
    assert steps.log == ["model 0", "0.1", "0.0", "model 1"], "a denial has a result of its own"


@pytest.mark.parametrize("at", range(2, 14))
async def test_what_was_cancelled_stays_so_in_the_next_run(at: int) -> None:
    steps, turn = Scripted([[Call(fails=True, failures=1), *[Call(waits=3, failures=1)] * 9]]), begin()
    steps.stops, steps.at = [ContinueDue()], at
    try:
        await turns.run(turn, steps)
    except ContinueDue:
        cancelled = {call.id for call in turn.calls if call.cancelled}
        steps.stops, turn = [], moved(turn)
        before = Counter(steps.begun)
        await turns.run(turn, steps)
        assert not [call for call in cancelled if steps.begun[call] > before[call]], "it ran all the same"
    assert steps.done["0.0"] == 1
    assert steps.log[-2].startswith("cancelled ")


async def test_an_interrupt_outweighs_a_continue_as_new_that_comes_with_it() -> None:
    class Both(Scripted):
        async def run_tool(self, turn: TurnState, call: CallState, index: int) -> bool:
            raise ContinueDue if index == 0 else Interrupted("stop")

    turn = begin()
    with pytest.raises(Interrupted):
        await turns.run(turn, Both([[Call(), Call()]]))
    assert not any(call.done for call in turn.calls)


@pytest.mark.parametrize("calls", [[], [Call(), Call()]])
async def test_what_stops_a_turn_right_after_a_model_step_lets_nothing_else_begin(calls: list[Call]) -> None:
    for stop in (Interrupted("stop"), ContinueDue()):
        steps, turn = Scripted([calls], [stop], at=2), begin()
        with pytest.raises(type(stop)):
            await turns.run(turn, steps)
        assert steps.begun == {"model 0": 1}


async def test_an_approved_call_is_not_asked_for_again_after_continue_as_new() -> None:
    steps, turn = Scripted([[Call(approval=True)]]), begin()
    turn.step, turn.event = 1, None
    turn.calls = [CallState(id="0.0", approval=True, asked_at=1.0, answer="approved")]
    await turns.run(moved(turn), steps)
    assert steps.log == ["0.0", "model 1"]


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_a_model_step_that_fails_for_good_ends_the_turn_and_a_later_run_repeats_only_it(failing: int) -> None:
    class Failing(Scripted):
        async def call_model(self, turn: TurnState) -> ModelResult:
            if turn.step == failing and not self.begun["failed"]:
                self.begun["failed"] += 1
                raise StepFailed("no answer")
            return await super().call_model(turn)

    steps, turn = Failing([[Call()], [Call(), Call()]]), begin()
    with pytest.raises(StepFailed):
        await turns.run(turn, steps)
    await turns.run(moved(turn), steps)
    assert follows(steps.log, steps.script)
    assert set(steps.done.values()) == {1}


async def test_the_events_content_stays_until_step_0_has_recorded_it() -> None:
    turn = begin()
    with pytest.raises(StepFailed):
        await turns.run(turn, Scripted([], [StepFailed("400", type="OwnFailure")], at=1))
    assert turn.event == {"content": "hi"}
    assert turn.step == 0
    assert not turn.effects


@pytest.mark.parametrize(
    "stop", ["end_turn", "max_tokens", "refusal", "stop_sequence", "ended", "closed", "newly_made"]
)
async def test_every_other_stop_reason_ends_the_turn_and_runs_no_call(stop: str) -> None:
    class Stops(Scripted):
        async def call_model(self, turn: TurnState) -> ModelResult:
            return ModelResult(stop=stop, calls=[CallPlan(id="0.0")])

    steps = Stops([])
    assert (await turns.run(begin(), steps)).stop == stop
    assert not steps.begun


ASKS = CallPlan(id="budget:e1:1", tool="budget", hash="5", kind="budget", approval=True)


class Asking(Scripted):
    """Its second model step asks whether the turn may use more before it does anything."""

    def __init__(self, script: Script, *answers: str | BaseException) -> None:
        super().__init__(script)
        self.answers = list(answers)
        self.seen: list[tuple[int, int, str | None]] = []

    async def call_model(self, turn: TurnState) -> ModelResult:
        answered = turn.answered.answer if turn.answered else None
        self.seen.append((turn.step, turn.raised_now, answered))
        if turn.step == 1 and answered is None:
            return ModelResult(stop="ask_budget", calls=[ASKS])
        if answered not in (None, "approved"):
            return ModelResult(stop="budget_reached")
        return await super().call_model(turn)

    async def approve(self, turn: TurnState, call: CallState, index: int) -> None:
        assert call is turn.question
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        call.answer = answer  # type: ignore[assignment]


@pytest.mark.promise("MOD-4")
async def test_a_step_that_asks_for_more_is_run_again_with_the_answer_and_later_ones_have_it_too() -> None:
    steps, turn = Asking([[Call()], [Call()]], "approved"), begin()
    assert (await turns.run(turn, steps)).stop == "end_turn"
    assert steps.seen == [(0, 0, None), (1, 0, None), (1, 1, "approved"), (2, 1, None)]
    assert follows(steps.log, steps.script)
    assert turn.question is None


@pytest.mark.promise("MOD-4")
@pytest.mark.parametrize("answer", ["denied", "expired"])
async def test_a_no_is_told_to_the_step_which_ends_the_turn(answer: str) -> None:
    steps = Asking([[Call()], [Call()]], answer)
    assert (await turns.run(begin(), steps)).stop == "budget_reached"
    assert steps.seen[-1] == (1, 0, answer)


@pytest.mark.promise("MOD-4", "SUR-6")
async def test_a_turn_that_waits_for_its_budget_waits_on_in_the_next_run() -> None:
    steps, turn = Asking([[Call()], [Call()]], ContinueDue(), ContinueDue(), "approved"), begin()
    for _ in range(2):
        with pytest.raises(ContinueDue):
            await turns.run(turn, steps)
        turn = moved(turn)
        assert turn.question is not None
    await turns.run(turn, steps)
    assert steps.seen == [(0, 0, None), (1, 0, None), (1, 1, "approved"), (2, 1, None)]
    assert set(steps.done.values()) == {1}


async def test_what_the_user_said_stays_until_the_step_that_asked_first_has_recorded_it() -> None:
    class First(Asking):
        async def call_model(self, turn: TurnState) -> ModelResult:
            if turn.answered is None and turn.step == 0:
                return ModelResult(stop="ask_budget", calls=[ASKS])
            assert turn.event == {"content": "hi"}
            return ModelResult(stop="end_turn")

    assert (await turns.run(begin(), First([], "approved"))).stop == "end_turn"

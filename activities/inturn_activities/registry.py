"""The activities, as a worker registers them.

Invariant: whatever a step raises leaves here as one of the error types in `inturn.names`; nothing of a session is
kept in the process except caches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from inturn import names
from inturn.agents import Agent
from inturn.errors import JournalUnavailable
from inturn.journal import Journal, JournalBehind, Position, Superseded
from inturn.keys import StepKey
from inturn.models import Model
from inturn.models.prices import Prices
from inturn.tools.threads import NoThread
from inturn.turns.budget import UNKNOWN_ATTEMPTS
from inturn_activities import failures
from inturn_activities.bounds import Bounds
from inturn_activities.deliver import Deliveries
from inturn_activities.heartbeat import Heartbeat
from inturn_activities.lacks import Elsewhere, Lacks
from inturn_activities.leases import Leases
from inturn_activities.limits.agreed import AgreedLimits
from inturn_activities.limits.limits import Limits
from inturn_activities.limits.waits import Waits
from inturn_activities.messages import (
    DeliverInput,
    ModelInput,
    ModelResult,
    Policy,
    RecordInput,
    RecordResult,
    StepInput,
    StepResult,
    ToolInput,
    ToolResult,
)
from inturn_activities.model.call_model import ModelSteps
from inturn_activities.model.transcript_cache import Transcripts
from inturn_activities.positions import Positions, Run
from inturn_activities.record import record
from inturn_activities.roster import Roster, policy_of
from inturn_activities.schedules.tick import Ticks
from inturn_activities.stops import Stops
from inturn_activities.tools.bodies import Bodies
from inturn_activities.tools.effects import Effects
from inturn_activities.tools.run_tool import ToolSteps
from inturn_activities.tools.thread_pools import ThreadPools

R = TypeVar("R")


class Steps:
    """All steps of a worker's sessions; `activities` is what a `Worker` takes."""

    def __init__(
        self,
        journal: Journal,
        model: Model,
        agents: Sequence[Agent],
        *,
        resources: Any = None,
        bounds: Bounds | None = None,
        limits: Limits | None = None,
        version: str | None = None,
        prices: Prices | None = None,
    ) -> None:
        """Make the steps.

        Args:
            journal: Opened.
            model: What answers.
            agents: What sessions may ask for.
            resources: What tools find in `ctx.resources`.
            bounds: What a step may take.
            limits: What steps share.
            version: The build that the worker is of.
            prices: What models cost; the known ones by default.

        Raises:
            ValueError: No agent was given, or two have one name.
        """
        bounds, limits = bounds or Bounds(), limits or Limits()
        self.agreed = AgreedLimits(limits)
        """Those of all workers that share the journal, as far as this one was told."""
        self._roster = roster = Roster(agents)
        self._lacks = lacks = Lacks(journal, roster, bounds, version)
        leases, waits = Leases(journal, lease=bounds.lease), Waits(journal, bounds, limits)
        self._bounds = bounds
        self.stops = Stops(journal)
        self.pools = pools = ThreadPools.of(bounds)
        transcripts = Transcripts(journal, sessions=bounds.sessions, size=bounds.transcripts)
        self._journal = journal
        self._positions = Positions(journal)
        bodies = Bodies(journal, bounds, limits, pools.checks, resources)
        self._models = ModelSteps(
            journal, model, transcripts, leases, waits, bodies, lacks, bounds, limits, self.agreed, prices
        )
        calls = Effects(journal, leases, waits, pools.tools, pools.checks, bounds)
        self._tools = ToolSteps(journal, lacks, calls, bodies, self.agreed)
        deliveries = Effects(journal, leases, waits, pools.deliveries, pools.checks, bounds)
        self._deliveries = Deliveries(lacks, deliveries, bodies)
        self._ticks = Ticks(journal)

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """The bound methods to register."""
        return [self.call_model, self.run_tool, self.deliver, self.record, self._ticks.tick]

    @activity.defn(name=names.CALL_MODEL)
    async def call_model(self, input: ModelInput) -> ModelResult:
        """One answer of the model."""
        run = partial(self._models.run, input=input)
        return await self._step(input, ModelResult, run, first=input.recover)

    @activity.defn(name=names.RUN_TOOL)
    async def run_tool(self, input: ToolInput) -> ToolResult:
        """One tool call."""
        run = partial(self._tools.run, input=input)
        return await self._step(input, ToolResult, run, first=input.answered is not None)

    @activity.defn(name=names.DELIVER)
    async def deliver(self, input: DeliverInput) -> StepResult:
        """Bring out an answer, an approval or a notice."""

        async def delivered(step: StepKey, *, seen: Position | None) -> StepResult:
            await self._deliveries.run(step, input, seen=seen)
            return StepResult()

        return await self._step(input, StepResult, delivered)

    @activity.defn(name=names.RECORD)
    async def record(self, input: RecordInput) -> RecordResult:
        """Write what the workflow decided."""

        async def recorded(step: StepKey, *, seen: Position | None) -> RecordResult:
            result = await record(self._journal, step, input)
            return result if not input.policy else result.model_copy(update={"policy": await self._policy(step, input)})

        return await self._step(input, RecordResult, recorded, first=True)

    async def _policy(self, step: StepKey, input: RecordInput) -> Policy | None:
        """Return the agent's policy; `None` where nobody has the agent, or it is not said which."""
        if input.agent is None and self._roster.find(None) is None:
            return None
        try:
            return policy_of(await self._lacks.agent(step, input.agent))
        except failures.OwnFailure:
            return None

    async def _step(self, input: StepInput, made: Callable[..., R], run: Run[R], *, first: bool = False) -> R:
        """Run a step where the journal is its session's; tell a session that does not know which that is.

        One that came in clear to a worker with keys is not done: its session sends it anew, and a worker encrypts it.
        """
        if input.refused:
            activity.logger.warning("a step that came in clear is not done (INTURN_ENCRYPTION_KEYS)")
            return made(elsewhere=activity.info().task_queue)

        async def judged(step: StepKey) -> R:
            with Heartbeat(every=self._bounds.beat) as beating, self.stops.running(step, beating):
                try:
                    result, news = await self._positions.judged(step, input, run, first=first)
                except Elsewhere as found:
                    return made(elsewhere=found.queue)
                return await self._positions.told(step, result) if news else result

        return await _step(judged)


async def _step(run: Callable[[StepKey], Awaitable[R]]) -> R:
    try:
        return await _judged(run)
    except ApplicationError as error:
        # One that is not sent is tried for ever, and nobody hears why.
        cause, benign = error.__cause__, error.category is ApplicationErrorCategory.BENIGN
        if failures.drop_unsendable_causes(error) and not benign:
            activity.logger.warning("the step failed: %s", error.message, exc_info=cause)
        raise error.with_traceback(None) from error.__cause__


async def _judged(run: Callable[[StepKey], Awaitable[R]]) -> R:
    info = activity.info()
    try:
        return await run(_step_of(info))
    except JournalBehind as error:
        raise failures.journal_behind(error, info.attempt) from None
    except JournalUnavailable as error:
        raise failures.journal_away(error, info.attempt) from error
    except Superseded:
        # The next attempt's claim finds the record, the event's end, or that it is its turn.
        raise failures.again(names.NOT_YET, "another attempt holds the claim", after=1.0, benign=True) from None
    except NoThread as error:
        raise failures.again(names.NOT_YET, str(error), after=2.0, benign=True) from None
    except failures.OwnFailure as error:
        raise failures.final(names.OWN_FAILURE, str(error)) from None
    except ApplicationError:
        raise
    except Exception as error:
        raise _surprise(error, info) from error


def _step_of(info: activity.Info) -> StepKey:
    """Return the step's key.

    Raises:
        OwnFailure: Another workflow than the step's session asks: its input is encrypted for itself alone.
    """
    step = StepKey.parse(info.activity_id)
    if info.workflow_id != str(step.session):
        raise failures.OwnFailure(f"step {step} is none of workflow {info.workflow_id!r}")
    return step


def _surprise(error: Exception, info: activity.Info) -> ApplicationError:
    """Judge what no step expected (a fault of ours): it may cost a turn, but never holds a session up for ever."""
    message = failures.describe(error)
    # Decisions are never dropped: a session that cannot record them waits for the mend.
    if info.attempt >= UNKNOWN_ATTEMPTS and info.activity_type != names.RECORD:
        return failures.final(names.UNKNOWN_FAILURE, f"{message} ({info.attempt} attempts)")
    return failures.again(names.UNKNOWN_FAILURE, message, after=min(failures.backoff(info.attempt), 15.0))

"""The activities, as a worker registers them.

Invariant: whatever a step raises leaves here as one of the error types in `inturn.names`; nothing of a session is
kept in the process except caches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.agents import Agent
from inturn.errors import JournalUnavailable
from inturn.journal import Journal, JournalBehind, Superseded
from inturn.keys import StepKey
from inturn.models import Model
from inturn.tools.threads import NoThread
from inturn_activities import failures
from inturn_activities.bounds import Bounds
from inturn_activities.deliver import Deliveries
from inturn_activities.limits.limits import Limits
from inturn_activities.limits.waits import Waits
from inturn_activities.messages import (
    DeliverInput,
    ModelInput,
    ModelResult,
    RecordInput,
    RecordResult,
    StepInput,
    ToolInput,
    ToolResult,
)
from inturn_activities.model.call_model import ModelSteps
from inturn_activities.model.transcript_cache import Transcripts
from inturn_activities.positions import Positions
from inturn_activities.record import record
from inturn_activities.roster import Roster, policy_of
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
    ) -> None:
        """Make the steps.

        Args:
            journal: Opened.
            model: What answers.
            agents: What sessions may ask for.
            resources: What tools find in `ctx.resources`.
            bounds: What a step may take.
            limits: What steps share.

        Raises:
            ValueError: No agent was given, or two have one name.
        """
        bounds, limits = bounds or Bounds(), limits or Limits()
        self._roster = roster = Roster(agents)
        waits = Waits(journal, bounds, limits)
        self.pools = pools = ThreadPools.of(bounds)
        transcripts = Transcripts(journal, sessions=bounds.sessions, size=bounds.transcripts)
        self._journal = journal
        self._positions = Positions(journal)
        bodies = Bodies(journal, bounds, limits, pools.checks, resources)
        self._models = ModelSteps(journal, model, roster, transcripts, waits, bodies, bounds, limits)
        calls = Effects(journal, waits, pools.tools, pools.checks, bounds)
        self._tools = ToolSteps(journal, roster, calls, bodies, limits)
        deliveries = Effects(journal, waits, pools.deliveries, pools.checks, bounds)
        self._deliveries = Deliveries(roster, deliveries, bodies)

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """The bound methods to register."""
        return [self.call_model, self.run_tool, self.deliver, self.record]

    @activity.defn(name=names.CALL_MODEL)
    async def call_model(self, input: ModelInput) -> ModelResult:
        """One answer of the model."""
        return await self._step(input, lambda step: self._models.run(step, input))

    @activity.defn(name=names.RUN_TOOL)
    async def run_tool(self, input: ToolInput) -> ToolResult:
        """One tool call."""
        return await self._step(input, lambda step: self._tools.run(step, input))

    @activity.defn(name=names.DELIVER)
    async def deliver(self, input: DeliverInput) -> None:
        """Bring out an answer, an approval or a notice."""
        await self._step(input, lambda step: self._deliveries.run(step, input))

    @activity.defn(name=names.RECORD)
    async def record(self, input: RecordInput) -> RecordResult:
        """Write what the workflow decided."""
        result = await self._step(input, lambda step: record(self._journal, step, input))
        agent = self._roster.find(input.agent) if input.policy else None
        return result if agent is None else result.model_copy(update={"policy": policy_of(agent)})

    async def _step(self, input: StepInput, run: Callable[[StepKey], Awaitable[R]]) -> R:
        """Run a step where the journal is its session's; tell a session that does not know which that is."""

        async def checked(step: StepKey) -> R:
            news = await self._positions.check(step, input)
            result = await run(step)
            return await self._positions.told(step, result) if news else result

        return await _step(checked)


async def _step(run: Callable[[StepKey], Awaitable[R]]) -> R:
    try:
        return await _judged(run)
    except ApplicationError as error:
        failures.drop_unsendable_causes(error)  # one that is not sent is tried for ever, and nobody hears why
        raise


async def _judged(run: Callable[[StepKey], Awaitable[R]]) -> R:
    info = activity.info()
    try:
        return await run(StepKey.parse(info.activity_id))
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


def _surprise(error: Exception, info: activity.Info) -> ApplicationError:
    """Judge what no step expected (a fault of ours): it may cost a turn, but never holds a session up for ever."""
    message = failures.describe(error)
    # Decisions are never dropped: a session that cannot record them waits for the mend.
    if info.attempt >= failures.UNKNOWN_ATTEMPTS and info.activity_type != names.RECORD:
        return failures.final(names.UNKNOWN_FAILURE, f"{message} ({info.attempt} attempts)")
    return failures.again(names.UNKNOWN_FAILURE, message, after=min(failures.backoff(info.attempt), 15.0))

"""One tool call.

Invariant: only the agent's own tools run, only with arguments that fit their signature, and every call ends in
exactly one result that the model sees, whatever happened to it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final, cast

from pydantic import ValidationError
from temporalio import activity

from inturn.errors import JournalUnavailable
from inturn.events import explain
from inturn.journal import Claim, Journal, NewEntry, Recorded, Superseded
from inturn.keys import StepKey
from inturn.tools import Tool, call_async
from inturn_activities import failures
from inturn_activities.approval_entries import answered
from inturn_activities.bounds import Bounds
from inturn_activities.limits.limits import Limits
from inturn_activities.messages import ToolInput, ToolResult
from inturn_activities.roster import Roster
from inturn_activities.telemetry.spans import tool_span
from inturn_activities.tools.bodies import Bodies, Reports
from inturn_activities.tools.calls import Call, find_call
from inturn_activities.tools.effects import Effect, Effects, Ending, Entered, Status
from inturn_activities.tools.results import rendered
from inturn_activities.tools.threads import Late

SAID: Final = 200
"""Characters of a result that its ledger row repeats."""


class ToolSteps:
    """Runs tool calls of sessions."""

    def __init__(
        self, journal: Journal, roster: Roster, effects: Effects, bodies: Bodies, bounds: Bounds, limits: Limits
    ) -> None:
        """Run the tools of a roster's agents."""
        self._journal = journal
        self._roster = roster
        self._effects = effects
        self._bodies = bodies
        self._bounds = bounds
        self._limits = limits
        self._keeping: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly

    async def run(self, step: StepKey, input: ToolInput) -> ToolResult:
        """Run a call, or give the end that is recorded."""
        call = await find_call(self._journal, step, input.call)
        if input.answered is not None:  # before the effect: who allowed it is known whatever happens next
            await self._journal.record(step.session, [Recorded(answered(step, input.answered))])
        effect = _denied(input.denied) if input.denied is not None else self._effect(step, input, call)

        async def enter(ending: Ending) -> Entered:
            return await self._entered(step, call, ending)

        settled = await self._effects.once(step, effect, enter)
        status = (settled.result or {}).get("status", "settled")
        return ToolResult(status=cast("Status", status), head=settled.head)

    def _effect(self, step: StepKey, input: ToolInput, call: Call) -> Effect | Ending:
        agent = self._roster.get(input.agent)
        tool = agent.tool(call.tool)
        if tool is None:
            return Ending("error", f"There is no tool named {call.tool!r}.")
        try:
            arguments = tool.validate_arguments(call.arguments)
            wants = self._limits.of_call(step.session.tenant, agent.name, tool, arguments)
        except Exception as error:  # a validator of the tool's may raise anything
            said = explain(error) if isinstance(error, ValidationError) else failures.describe(error)
            return Ending("error", f"The arguments do not fit: {said}")

        reports: list[Reports] = []

        def late(claim: Claim) -> Late:
            return lambda result, error: self._late(step, call, claim, result, error)

        async def body(claim: Claim, place: Any) -> Any:
            reports.append(self._bodies.reports(step, claim, call.call_id))
            context = self._bodies.context(step, claim, call.call_id, call.event, reports[-1])
            given = arguments if tool.context_parameter is None else {**arguments, tool.context_parameter: context}
            number = activity.info().attempt
            with tool_span(step, input.trace, tool.name, call_id=call.call_id, attempt=number):
                return await self._bodies.call(context, place, lambda: tool.fn(**given), late(claim))

        return Effect(
            body,
            timeout=tool.timeout,
            retries=tool.retries,
            idempotent=tool.idempotent,
            lookup=_lookup(tool, step),
            doing=f"tool {tool.name} runs",
            wants=wants,
            room=self._bodies.room(tool.fn),
            kept=lambda: any(r.kept for r in reports),
        )

    async def _entered(self, step: StepKey, call: Call, ending: Ending) -> Entered:
        said = await rendered(self._journal, step.session, ending.value, self._bounds)
        body = {"call_id": call.call_id, "tool": call.tool, "status": ending.status, **said}
        entry = NewEntry(
            "agent.tool_result",
            body,
            event_id=step.turn.event_id,
            step=step.within_turn,
            key=step.within_session,
        )
        # A few words for `settle`, where the result came too late to be an entry.
        return Entered({"status": ending.status, "said": str(said.get("text", ""))[:SAID]}, [entry])

    def _late(self, step: StepKey, call: Call, claim: Claim, result: Any, error: BaseException | None) -> None:
        """Keep what came of a thread after its attempt was cancelled: as the result, if none stands there yet."""
        ending = Ending("ok", result) if error is None else Ending("error", failures.describe(error))

        async def keep() -> None:
            with contextlib.suppress(Superseded, JournalUnavailable):
                entered = await self._entered(step, call, ending)
                await self._journal.finish(step, claim.token, entered.result, entered.entries)

        task = asyncio.ensure_future(keep())
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)


def _denied(reason: str) -> Ending:
    return Ending("denied", f"The call was not approved ({reason}). It did not run." if reason else "Not approved.")


def _lookup(tool: Tool[..., Any], step: StepKey) -> Any:
    lookup = tool.lookup
    if lookup is None:
        return None
    return lambda: call_async(lookup, str(step))

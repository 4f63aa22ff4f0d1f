"""One tool call.

Invariant: only the agent's own tools run, only with arguments that fit their signature, and only with a person's yes on
record where the tool asks for one now: whatever was planned, gates are judged here, beside the effect. Every call ends
in exactly one result that the model sees, whatever happened to it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from temporalio import activity

from inturn.errors import JournalUnavailable
from inturn.journal import Claim, Journal, NewEntry, Position, Recorded, Superseded, Want
from inturn.journal.views import approvals
from inturn.keys import StepKey
from inturn.tools import Tool
from inturn.tools.calling import CallPolicy, run_body, tool_policy
from inturn.tools.results import render_result
from inturn.tools.secrets import redact
from inturn.tools.threads import ThreadSlot
from inturn.turns.call_results import UNCHECKED, CallResult, denied, describe, error_result, unknown_tool
from inturn.values import Entry
from inturn_activities.approval_entries import answered, requested
from inturn_activities.lacks import Lacks
from inturn_activities.limits.agreed import AgreedLimits
from inturn_activities.messages import CallPlan, ToolInput, ToolResult, ToolStatus
from inturn_activities.model import call_plans
from inturn_activities.telemetry.spans import tool_span
from inturn_activities.tools.bodies import Bodies, Reports
from inturn_activities.tools.calls import Call, find_call
from inturn_activities.tools.effects import Effects, Record

SUMMARY: Final = 200
"""Characters of a result that its ledger row repeats, where it comes too late to be an entry."""


class ToolSteps:
    """Runs tool calls of sessions."""

    def __init__(self, journal: Journal, lacks: Lacks, effects: Effects, bodies: Bodies, limits: AgreedLimits) -> None:
        """Run the tools of the worker's agents."""
        self._journal = journal
        self._lacks = lacks
        self._effects = effects
        self._bodies = bodies
        self._limits = limits

    async def run(self, step: StepKey, input: ToolInput, *, seen: Position | None = None) -> ToolResult:
        """Run a call, or return the end that is recorded; `seen`: only where that is the session's log."""
        call = await find_call(self._journal, step)
        if input.answered is not None:  # before the effect: who allowed it is known whatever happens next
            await self._journal.record(step.session, [Recorded(answered(step, input.answered))])
        effect = await self._effect(step, input, call)
        finished = await self._effects.once(effect, seen=seen)
        status = (finished.result or {}).get("status", "settled")
        plan = effect.asks if status == "needs_approval" else None
        return ToolResult(status=cast("ToolStatus", status), head=finished.head, plan=plan)

    async def _effect(self, step: StepKey, input: ToolInput, call: Call) -> ToolCall:
        if input.denied is not None:
            return ToolCall(self._bodies, step, call, input.result, decided=denied(input.denied))
        if call.use.error is not None:
            return ToolCall(self._bodies, step, call, input.result, decided=error_result(call.use.error))
        agent = await self._lacks.agent(step, input.agent)
        tool = agent.tool(call.use.tool)
        if tool is None:
            await self._lacks.tool(step, agent, call.use.tool)
            return ToolCall(self._bodies, step, call, input.result, decided=unknown_tool(call.use.tool))
        checked = await self._bodies.check(step, tool, call.use.input)
        if checked is None:
            checked = UNCHECKED
        if isinstance(checked, CallResult):
            return ToolCall(self._bodies, step, call, input.result, decided=checked)
        if checked.approval:
            plan = call_plans.planned(agent, call.use, tool)
            answer = await self._journal.entry(step.session, approvals.answered_key(step))
            if answer is None:
                asks = call_plans.resolved(plan, agent, tool, checked)
                return ToolCall(self._bodies, step, call, input.result, tool, checked.arguments, asks=asks)
            if not approvals.approves(answer, plan.approval_id):
                return ToolCall(self._bodies, step, call, input.result, decided=denied(_answer_of(answer)))
        wants = self._limits.of_call(step.session.tenant, agent.name, tool.name, checked)
        return ToolCall(self._bodies, step, call, input.result, tool, checked.arguments, wants=wants, trace=input.trace)


class ToolCall:
    """A tool call as an effect."""

    def __init__(
        self,
        bodies: Bodies,
        step: StepKey,
        call: Call,
        most: int | None = None,
        tool: Tool[..., Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        *,
        wants: Sequence[Want] = (),
        trace: str | None = None,
        decided: CallResult | None = None,
        asks: CallPlan | None = None,
    ) -> None:
        """Call a tool with these arguments; without one its end is `decided`. `asks`: a person is to answer first.

        `most`: bytes of its result.
        """
        self._most = most
        self._bodies = bodies
        self._call = call
        self._tool = tool
        self._arguments = arguments or {}
        self._trace = trace
        self._reports: Reports | None = None
        self.step = step
        self.policy = CallPolicy() if tool is None else tool_policy(tool)
        self.wants = wants
        self.doing = f"tool {call.use.tool} runs"
        self.name = call.use.tool
        self.decided = decided
        self.asks = asks
        self.question: Sequence[NewEntry] = () if asks is None else (requested(step, asks),)

    @property
    def resumable(self) -> bool:
        """Whether its body kept a checkpoint."""
        return self._reports is not None and self._reports.has_checkpoint

    async def run(self, claim: Claim, slot: ThreadSlot | None) -> Any:
        """Run the tool's function."""
        tool, call = self._tool, self._call
        assert tool is not None  # it is decided otherwise
        self._reports = self._bodies.reports(self.step, claim, call.use.id)
        context = self._bodies.context(self.step, claim, call.use.id, call.event, self._reports)
        given = (
            self._arguments if tool.context_parameter is None else {**self._arguments, tool.context_parameter: context}
        )
        number = activity.info().attempt
        with tool_span(self.step, self._trace, tool.name, call_id=call.use.id, attempt=number):
            late, shown = partial(self._keep_late, claim), partial(self._bodies.shown, self.step, tool)
            told = partial(self._bodies.told, self.step, tool.name)
            return await run_body(context, slot, partial(tool.fn, **given), late, shown, told)

    async def record(self, result: CallResult) -> Record:
        """Return the entry of its result, and the ledger's."""
        step, call, journal = self.step, self._call, self._bodies.journal
        # An error may quote what its body never asked for; a result is its tool's own to give.
        value = result.value if result.status == "ok" else redact(str(result.value))
        put_upload = partial(journal.put_upload, step.session.tenant)
        rendered = await render_result(
            value, partial(journal.put_blob, step.session), self._most, put_upload=put_upload
        )
        body = {"call_id": call.use.id, "tool": call.use.tool, "status": result.status, **rendered}
        entry = NewEntry(
            "agent.tool_result",
            body,
            event_id=step.turn.event_id,
            step=step.within_turn,
            key=step.within_session,
        )
        return Record({"status": result.status, "text": str(rendered.get("text", ""))[:SUMMARY]}, [entry])

    def _keep_late(self, claim: Claim, result: Any, error: BaseException | None) -> None:
        """Keep what came of a thread after its attempt was cancelled: as the result, if none is recorded yet."""
        self._bodies.spawn(self._finish_late(claim, result, error))

    async def _finish_late(self, claim: Claim, result: Any, error: BaseException | None) -> None:
        ended = CallResult("ok", result) if error is None else error_result(describe(error))
        with contextlib.suppress(Superseded, JournalUnavailable):
            record = await self.record(ended)
            await self._bodies.journal.finish(self.step, claim.token, record.result, record.entries)


def _answer_of(entry: Entry) -> str:
    """Return why a call may not run that has an answer on record, and not the one that it needs."""
    answer = str(entry.body.get("answer"))
    return "the approval on record is of another call" if answer == "approved" else answer

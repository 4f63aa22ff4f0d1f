"""How answers, approvals and notices get out.

Invariant: each is brought out once, under the same rules as a tool call; one that cannot be brought out fails for
good, so that the session can set it aside and go on.
"""

from __future__ import annotations

from typing import Any

from temporalio import activity

from inturn.journal import Claim, Journal, NewEntry
from inturn.journal.views.turns import read_turn
from inturn.keys import StepKey
from inturn.tools import Tool, call_async
from inturn.values import Approval, Notice, Turn
from inturn_activities.failures import MAX_MESSAGE, OwnFailure
from inturn_activities.messages import DeliverInput
from inturn_activities.roster import Roster
from inturn_activities.telemetry.spans import tool_span
from inturn_activities.tools.bodies import Bodies
from inturn_activities.tools.calls import find_arguments, find_event
from inturn_activities.tools.effects import Effect, Effects, Ending, Entered

DEFAULT_TIMEOUT = 30.0
"""Seconds; also the most, since the workflow waits no longer for an attempt."""
DEFAULT_RETRIES = 2


class Deliveries:
    """Calls the `deliver` of agents."""

    def __init__(self, journal: Journal, roster: Roster, effects: Effects, bodies: Bodies) -> None:
        """Deliver for the agents of a roster."""
        self._journal = journal
        self._roster = roster
        self._effects = effects
        self._bodies = bodies

    async def run(self, step: StepKey, input: DeliverInput) -> None:
        """Bring it out, or find that it was.

        Raises:
            OwnFailure: It failed for good.
        """
        deliver = self._roster.get(input.agent).deliver
        if deliver is None:
            return  # the agent delivers no more: nobody to bring it to
        settled = await self._effects.once(step, self._effect(step, input, deliver), lambda e: _entered(step, input, e))
        result = settled.result or {}
        if result.get("status") not in ("ok", "settled"):
            raise OwnFailure(f"delivery failed: {result.get('said', 'no reason known')}")

    def _effect(self, step: StepKey, input: DeliverInput, deliver: Any) -> Effect:
        policy = deliver if isinstance(deliver, Tool) else None
        fn = policy.fn if policy else deliver

        async def body(claim: Claim, place: Any) -> Any:
            out = await self._out(step, input)
            event = await find_event(self._journal, step.turn)
            if isinstance(out, Notice):  # its events have no turn: the address comes with the notice
                event = event.model_copy(update={"metadata": (input.notice or {}).get("metadata")})
            call_id = step.within_session
            reports = self._bodies.reports(step, claim, call_id)
            context = self._bodies.context(step, claim, call_id, event, reports)
            with tool_span(step, input.trace, "deliver", attempt=activity.info().attempt, kind="deliver"):
                return await self._bodies.call(context, place, lambda: fn(out, context))

        lookup = policy.lookup if policy else None
        return Effect(
            body,
            timeout=min(policy.timeout, DEFAULT_TIMEOUT) if policy else DEFAULT_TIMEOUT,
            retries=policy.retries if policy else DEFAULT_RETRIES,
            idempotent=policy.idempotent if policy else False,
            lookup=None if lookup is None else lambda: call_async(lookup, str(step)),
            room=self._bodies.room(fn),
        )

    async def _approval(self, step: StepKey, asked: dict[str, Any]) -> Approval:
        """Give what is asked, with the arguments: they never travel through the workflow."""
        args = await find_arguments(self._journal, step.turn, str(asked.get("call_id")))
        return Approval.model_validate({"args": args, **asked})

    async def _out(self, step: StepKey, input: DeliverInput) -> Turn | Approval | Notice:
        if input.kind == "approval":
            return await self._approval(step, input.approval or {})
        if input.kind == "notice":
            return Notice.model_validate(input.notice or {})
        turn = await read_turn(self._journal, step.session, step.turn.event_id)
        if turn is None:
            raise OwnFailure(f"the journal holds no turn of event {step.turn.event_id}")
        return turn


def _event_id(step: StepKey) -> str | None:
    return step.turn.event_id or None  # a notice belongs to no turn


async def _entered(step: StepKey, input: DeliverInput, ending: Ending) -> Entered:
    if ending.status != "ok":
        return Entered({"status": ending.status, "said": str(ending.value)[:MAX_MESSAGE]})
    body = {"kind": input.kind, "turn": step.turn.turn}
    entry = NewEntry("event.delivered", body, event_id=_event_id(step), step=step.step, key=step.within_session)
    return Entered({"status": "ok"}, [entry])

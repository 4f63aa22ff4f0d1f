"""How answers, approvals and notices get out.

Invariant: each is brought out once, under the same rules as a tool call; one that cannot be brought out fails for
good, so that the session can set it aside and go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from temporalio import activity

from inturn.journal import Claim, Journal, NewEntry, Position, Want
from inturn.journal.views.turns import read_turn
from inturn.keys import StepKey
from inturn.tools import Tool
from inturn.tools.calling import delivery_policy, run_body
from inturn.tools.secrets import redact
from inturn.tools.threads import ThreadSlot
from inturn.turns.call_results import MAX_MESSAGE, CallResult
from inturn.values import Approval, Notice, Turn
from inturn_activities.failures import OwnFailure
from inturn_activities.lacks import Lacks
from inturn_activities.messages import DeliverInput
from inturn_activities.telemetry.spans import tool_span
from inturn_activities.tools.bodies import Bodies, Reports
from inturn_activities.tools.calls import find_arguments, find_event
from inturn_activities.tools.effects import Effects, Record


class Deliveries:
    """Calls the `deliver` of agents."""

    def __init__(self, lacks: Lacks, effects: Effects, bodies: Bodies) -> None:
        """Deliver for the worker's agents."""
        self._lacks = lacks
        self._effects = effects
        self._bodies = bodies

    async def run(self, step: StepKey, input: DeliverInput, *, seen: Position | None = None) -> None:
        """Bring it out, or find that it was; `seen`: only where that is the session's log.

        Raises:
            OwnFailure: It failed for good.
        """
        agent = await self._lacks.agent(step, input.agent)
        deliver = agent.deliver
        if deliver is None:
            await self._lacks.deliver(step, agent)
            return  # the agent delivers no more: nobody to bring it to
        finished = await self._effects.once(Delivery(self._bodies, step, input, deliver), seen=seen)
        result = finished.result or {}
        if result.get("status") not in ("ok", "settled"):
            raise OwnFailure(f"delivery failed: {result.get('text', 'no reason known')}")


class Delivery:
    """One call of an agent's `deliver` as an effect."""

    wants: Sequence[Want] = ()
    doing: str = "deliver runs"
    name: str = "deliver"
    decided: CallResult | None = None
    question: Sequence[NewEntry] = ()

    def __init__(self, bodies: Bodies, step: StepKey, input: DeliverInput, deliver: Callable[..., Any]) -> None:
        """Bring out what the input names."""
        self._bodies = bodies
        self._input = input
        self._fn = deliver.fn if isinstance(deliver, Tool) else deliver
        self._reports: Reports | None = None
        self.step = step
        self.policy = delivery_policy(deliver)

    @property
    def resumable(self) -> bool:
        """Whether its body kept a checkpoint."""
        return self._reports is not None and self._reports.has_checkpoint

    async def run(self, claim: Claim, slot: ThreadSlot | None) -> Any:
        """Call `deliver`."""
        step, input, bodies = self.step, self._input, self._bodies
        out = await _payload(bodies.journal, step, input)
        event = await find_event(bodies.journal, step.turn)
        if isinstance(out, Notice):  # its events have no turn: the address comes with the notice
            event = event.model_copy(update={"metadata": (input.notice or {}).get("metadata")})
        call_id = step.within_session
        self._reports = bodies.reports(step, claim, call_id)
        context = bodies.context(step, claim, call_id, event, self._reports)
        with tool_span(step, input.trace, "deliver", attempt=activity.info().attempt, kind="deliver"):
            told = partial(bodies.told, step, "deliver")
            return await run_body(context, slot, partial(self._fn, out, context), shown=_nothing, told=told)

    async def record(self, result: CallResult) -> Record:
        """Return the entry of a delivery that succeeded, and the ledger's result."""
        step = self.step
        if result.status != "ok":
            return Record({"status": result.status, "text": redact(str(result.value))[:MAX_MESSAGE]})
        body = {"kind": self._input.kind, "turn": step.turn.turn}
        event_id = step.turn.event_id or None  # a notice belongs to no turn
        entry = NewEntry("event.delivered", body, event_id=event_id, step=step.step, key=step.within_session)
        return Record({"status": "ok"}, [entry])


async def _nothing(_: Any) -> None:
    """Return nothing: what a `deliver` returns is read by nobody."""


async def _payload(journal: Journal, step: StepKey, input: DeliverInput) -> Turn | Approval | Notice:
    if input.kind == "approval":
        asked = input.approval or {}  # its arguments never travel through the workflow
        if asked.get("kind") == "budget":
            return Approval.model_validate(asked)
        args = await find_arguments(journal, _asked_for(step))
        return Approval.model_validate({"args": args, **asked})
    if input.kind == "notice":
        return Notice.model_validate(input.notice or {})
    turn = await read_turn(journal, step.session, step.turn.event_id)
    if turn is None:
        raise OwnFailure(f"the journal holds no turn of event {step.turn.event_id}")
    return turn


def _asked_for(step: StepKey) -> StepKey:
    """Return the call that a question is about: its step is named `ask-{step}-{index}`, redriven with `~n` behind."""
    _, number, index = step.step.partition("~")[0].split("-")
    return step.turn.step(number, int(index))

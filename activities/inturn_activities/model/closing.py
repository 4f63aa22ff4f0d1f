"""The entries that a model step ends with.

Invariant: an answer, the calls it asks for, the approvals they need and the end of the turn are written at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from inturn.agents import Agent
from inturn.journal import NewEntry
from inturn.journal.views.transcript import Transcript
from inturn.models import ModelMessage
from inturn.tools.checks import fitted
from inturn.tools.threads import Caller
from inturn.turns.answers import KeptAnswer, ToolUse, provided
from inturn.turns.budget import total
from inturn.turns.fallbacks import Why
from inturn.turns.output import correction
from inturn.turns.stop_reasons import Stop, ends_turn
from inturn.values import StopReason, Usage
from inturn_activities.approval_entries import requested
from inturn_activities.messages import CallPlan
from inturn_activities.model.attempt import ModelAttempt
from inturn_activities.telemetry.meters import count_cache_missed
from inturn_activities.tools.bodies import Bodies


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and what it answered.

    Attributes:
        message: The answer.
        transcript: What the request was made of.
        seen: The seq up to which the request had read: what was written since is no part of what was answered.
        without: The events that the request left out.
        by: The agent, as the model answers it that gave it.
        provider: Whose model that is.
        instead_of: The model that was to answer, and why it did not.
        left_out: The entries of which the request left blocks out, as the model took them no more.
    """

    message: ModelMessage
    transcript: Transcript
    seen: int
    without: Sequence[str] = ()
    left_out: Sequence[int] = ()
    by: Agent | None = None
    provider: str | None = None
    instead_of: tuple[str, Why] | None = None


def answer(attempt: ModelAttempt, answered: Answered, kept: KeptAnswer, *, failed: Usage, priced: str) -> NewEntry:
    """Return the entry of an answer.

    Args:
        attempt: Whose it is.
        answered: The answer.
        kept: What is kept of it.
        failed: What attempts used that gave no answer; it is paid, so the entry's usage holds it, too.
        priced: Of when the prices are by which that is counted in money.
    """
    message = answered.message
    body: dict[str, Any] = {
        "seen": answered.seen,
        **kept.body(),
        "stop": message.stop_reason if isinstance(message.stop_reason, str) else None,
        "usage": _usage(total((message.usage, failed)).model_copy(update={"steps": 1})),
        "model": message.model,
        "attempt": attempt.claim.fence,
    }
    told = {
        "asked": attempt.agent.model if attempt.agent.model != message.model else None,
        "fallback": answered.instead_of and {"of": answered.instead_of[0], "why": answered.instead_of[1]},
        "without": list(answered.without),
        "left_out": list(answered.left_out),
        "request_id": message.request_id,
        "id": message.id,
        "stop_details": message.stop_details,
        "raw_usage": message.raw_usage,  # by ttl, with thinking and server tools: what prices need
        "failed": _usage(failed) or None,
        "priced": priced if body["usage"].get("usd_nanos") else None,
    }
    body |= {name: value for name, value in told.items() if value}
    body |= provided(kept, answered.provider, container=message.container, native=message.native)
    return attempt.entry("agent.message", body, key=attempt.key, step=attempt.step.step)


def cache_missed(attempt: ModelAttempt, answered: Answered) -> tuple[Answered, list[NewEntry]]:
    """Return an answer as it is counted, with the entry of a prompt that the cache should have had, and had not."""
    message, cached = answered.message, answered.transcript.committed.cached
    read = message.usage.cache_read_tokens
    if cached is None or answered.without or not cached.missed(attempt.agent.model, read, now=time.time()):
        return answered, []
    reason = message.cache_missed or "unknown"
    count_cache_missed(attempt.agent.model, reason)
    body = {"reason": reason, "expected": cached.tokens, "read": read, "model": attempt.agent.model}
    counted = replace(message, usage=message.usage.model_copy(update={"cache_missed": 1}))
    note = attempt.entry("cache.missed", body, key=f"{attempt.key}/cache", step=attempt.step.step)
    return replace(answered, message=counted), [note]


async def output_of(attempt: ModelAttempt, transcript: Transcript, kept: KeptAnswer, bodies: Bodies) -> Any:
    """Return what an answer says in the agent's form; where it does not fit, it is asked for once more."""
    model, turn = attempt.agent.output, attempt.step.turn
    if model is None or kept.stop != "end_turn":
        return None
    caller = Caller(turn.session.tenant, model.__name__, turn.session.session_id)
    before, within = transcript.committed.paused_text, bodies.bounds.check
    try:
        return await fitted(model, kept.content, bodies.checks, caller, before=before, timeout=within)
    except ValueError as error:
        if transcript.may_correct(turn.event_id):
            kept.correct(correction(error))
        return None


def closing(
    attempt: ModelAttempt,
    stop: Stop,
    used: Usage,
    uses: Sequence[ToolUse],
    calls: Sequence[CallPlan],
    output: Any = None,
) -> list[NewEntry]:
    """Return the entries behind the answer: its calls, the approvals they need, the end of the turn with its output."""
    turn, number = attempt.step.turn, attempt.step.step
    entries = [_use(attempt, index, use) for index, use in enumerate(uses)]
    entries += [requested(turn.step(number, index), call) for index, call in enumerate(calls) if call.approval]
    return [*entries, _completed(attempt, stop, used, output)] if ends_turn(stop) else entries


def _use(attempt: ModelAttempt, index: int, use: ToolUse) -> NewEntry:
    body = use.body(index)
    tool = attempt.agent.tool(use.tool)
    if tool is not None and tool.idempotent:
        body["idempotent"] = True  # for whoever wonders what became of it
    step = f"{attempt.step.step}/{index}"
    return attempt.entry("agent.tool_use", body, key=f"{attempt.step.turn.turn}/{step}/use", step=step)


def _completed(attempt: ModelAttempt, stop: StopReason, used: Usage, output: Any) -> NewEntry:
    turn = attempt.step.turn.turn
    body: dict[str, Any] = {"stop": stop, "usage": _usage(used), "turn": turn}
    body |= {} if output is None else {"output": output}
    return attempt.entry("turn.completed", body, key=f"{turn}/end")


def _usage(usage: Usage) -> dict[str, Any]:
    return usage.model_dump(mode="json", exclude_defaults=True)

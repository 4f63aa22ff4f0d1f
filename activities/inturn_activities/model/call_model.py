"""One answer of the model.

Invariant: an answer is recorded, in ledger and journal at once, before anybody hears of it; so no answer is paid for
twice, and a turn sees only what its transcript holds. A plain turn costs two transactions: one claims and opens, one
records and ends.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from temporalio import activity

from inturn.agents import Agent
from inturn.errors import JournalUnavailable, ModelError
from inturn.journal import Claim, Journal, NewEntry, Outcome, Position, Spent, Superseded, new_token
from inturn.journal.views.requests import Form
from inturn.journal.views.transcript import TYPES, Transcript
from inturn.keys import StepKey
from inturn.models import Model, ModelRequest
from inturn.models.prices import Prices
from inturn.turns.answers import ToolUse, keep
from inturn.turns.budget import add, added, exceeded
from inturn.turns.stop_reasons import Stop, ends_turn
from inturn.values import Usage
from inturn_activities import failures
from inturn_activities.bounds import Bounds
from inturn_activities.commit import committed, uncancelled
from inturn_activities.lacks import Lacks
from inturn_activities.leases import Leases
from inturn_activities.limits.agreed import AgreedLimits
from inturn_activities.limits.budget_question import ask
from inturn_activities.limits.limits import Limits
from inturn_activities.limits.money import Allowance, Money
from inturn_activities.limits.pacing import TurnPacing
from inturn_activities.limits.shares import Shares
from inturn_activities.limits.stuck import watched
from inturn_activities.limits.waits import Waits
from inturn_activities.live.deltas import Deltas
from inturn_activities.messages import ModelInput, ModelResult
from inturn_activities.model import inline_answers, joined_events
from inturn_activities.model.account import AccountWatch
from inturn_activities.model.asking import Asking, NoMoney
from inturn_activities.model.attempt import ModelAttempt
from inturn_activities.model.call_plans import plan
from inturn_activities.model.closing import answer, cache_missed, closing, output_of
from inturn_activities.model.conversation.brought_up import brought_up
from inturn_activities.model.conversation.compactions import Compactions
from inturn_activities.model.conversation.manifest_changes import Memories
from inturn_activities.model.guard import GuardedModel
from inturn_activities.model.lease import Lease, Overtime, check_attempts, within
from inturn_activities.model.missing_content import missing_content
from inturn_activities.model.opaque import OpaqueNames
from inturn_activities.model.opening import chosen, opening
from inturn_activities.model.transcript_cache import Transcripts
from inturn_activities.model.usage import metered, metering, spent
from inturn_activities.recorded_ends import recorded_outcome
from inturn_activities.recovery import recovered
from inturn_activities.references import References
from inturn_activities.roster import policy_of
from inturn_activities.telemetry.spans import model_span, tracing
from inturn_activities.telemetry.turn_spans import trace_completed
from inturn_activities.tools.bodies import Bodies


class ModelSteps:
    """Calls the model for sessions."""

    def __init__(
        self,
        journal: Journal,
        model: Model,
        transcripts: Transcripts,
        leases: Leases,
        waits: Waits,
        bodies: Bodies,
        lacks: Lacks,
        bounds: Bounds,
        limits: Limits,
        agreed: AgreedLimits,
        prices: Prices | None = None,
    ) -> None:
        """Use a model for the worker's agents."""
        self._journal = journal
        self._model = GuardedModel(model, prices)
        self._money = Money(journal, self._model, agreed)
        self._lacks = lacks
        self._transcripts = transcripts
        self._leases = leases
        self._waits = waits
        self._bodies = bodies
        self._bounds = bounds
        self._limits = limits
        self._agreed = agreed
        self._account = AccountWatch()
        self._deltas = Deltas(journal)
        self._names, self._memories = OpaqueNames(journal), Memories(journal, transcripts)
        self._references = References(journal)
        self._compactions = Compactions(journal, self._model, transcripts, bounds.summary)
        self._asking = Asking(journal, self._model, transcripts, self._memories, self._account, bounds)
        self._pacing = TurnPacing(limits.backlog_spacing)
        self._shares = Shares(limits.backlog_spacing)

    async def run(self, step: StepKey, input: ModelInput, *, seen: Position | None = None) -> ModelResult:
        """Return an answer, or the one that is recorded; `seen`: only where that is the session's log."""
        if input.recover and await recovered(self._journal, step, input.chain or ""):
            return ModelResult(stop="recovered")
        if step.step == "0":
            await self._pacing.begin(step.session, backlogged=input.backlogged)
        await self._shares.begin(step.session.tenant)
        agent = await self._agent(step, input)
        known = self._transcripts.known(step.session)
        apart = await joined_events.ended_before(self._journal, step.session, input.joined)
        if apart:
            left = [event for event in input.joined if event.get("event_id") not in apart]
            input = input.model_copy(update={"joined": left})
        begin = await opening(self._journal, step, input, agent, self._memories, known=known is not None)
        since, own = time.monotonic(), agent.model
        agent = chosen(agent, step, input, begin)
        claim = await self._claim(step, agent, begin, known, seen)
        if claim.missing is not None:
            # Where the session knows this journal for its own, the sender was wrong; else it may be this worker.
            patience = self._bounds.lacking_named if input.journal else self._bounds.lacking
            raise await missing_content(self._journal, step, claim.missing, patience=patience)
        apart += claim.apart
        attempt = ModelAttempt(step, input, agent, claim, known, begin, since, own=own)
        if claim.status == "claimed":
            result = await self._under_lease(attempt)
        else:
            result = await self._described(attempt, attempt.recorded())
            apart += await joined_events.not_recorded(self._journal, step.turn, input.joined)
        return await self._addressed(attempt, result, apart)

    async def _claim(
        self, step: StepKey, agent: Agent, begin: Sequence[NewEntry], known: int | None, seen: Position | None
    ) -> Claim:
        wants = self._agreed.of_model(step.session.tenant, agent.name, agent.model)
        lease, at = self._bounds.lease, activity.info().current_attempt_scheduled_time.timestamp()
        token, paying = new_token(), self._money.paying(step, agent)

        async def claimed() -> Claim:
            return await self._journal.claim_model(
                step,
                begin,
                token=token,
                seen=seen,
                after=known,
                types=TYPES,
                wants=wants,
                lease=lease,
                scheduled=at,
                paying=paying,
            )

        return await self._waits.claim(step, wants, claimed, within=self._bounds.claim_wait)

    async def _agent(self, step: StepKey, input: ModelInput) -> Agent:
        """Find the agent: the one asked for, else the session's own, else the only one."""
        name = input.agent
        if name is None and not self._lacks.only_one:
            name = await self._lacks.own(step)
        return await self._lacks.agent(step, name)

    async def _under_lease(self, attempt: ModelAttempt) -> ModelResult:
        bounds = self._bounds
        watching = watched(attempt.step, f"model {attempt.agent.model} answers", every=self._limits.stuck_after)
        written = self._deltas.written(attempt.step, attempt.claim, attempt.agent.stream)
        with watching, metered() as meter, written as pen:
            attempt, claim = dataclasses.replace(attempt, pen=pen), attempt.claim
            reserved = claim.reserved is not None
            lease = Lease(self._journal, attempt.step, claim.token, bounds, meter, pen, reserved=reserved)
            try:
                async with self._leases.held(lease.step, lease.token), within(lease.left):
                    return await self._answer(attempt)
            except Superseded:
                await lease.superseded()
                raise
            except (asyncio.CancelledError, JournalUnavailable):
                await lease.stopped()
                raise
            except Overtime as error:
                raise await lease.overran() from error
            except Exception as error:
                failure = self._account.judged(attempt.agent.model, failures.classify(error))
                raise await lease.failed(failure) from error

    async def _answer(self, attempt: ModelAttempt) -> ModelResult:
        step, agent = attempt.step, attempt.agent
        check_attempts(attempt.claim.attempts.counts, self._bounds)
        transcript = await brought_up(self._journal, self._transcripts, self._memories, attempt)
        used = Usage() if step.step == "0" else await spent(self._journal, step.turn)
        used = added(used, attempt.claim.attempts.usage)
        if exceeded(agent.budget, used, raised=attempt.input.raised):
            return await self._at_limit(attempt, used)
        raised = attempt.input.raised
        allowed = await self._money.allowance(step, attempt.claim, agent, used, raised=raised)
        if allowed.max_tokens == 0:
            return await self._at_limit(attempt, used)
        metering().most = allowed.nanos
        user = await self._names.of(step.session)
        await self._look_again(attempt)
        requests = partial(self._request, user, allowed)
        maker = self._compactions.of(attempt, partial(requests, attempt))
        request, number = maker.request(transcript), activity.info().attempt
        try:
            with model_span(step, attempt.input.trace, request, agent=agent.name, attempt=number) as span:
                answered = await self._asking.first(attempt, transcript, request, maker, requests)
                span.answered(answered.message)
        except NoMoney as error:
            if allowed.set_aside is not None and metering().paid:  # the next attempt has more set aside
                raise ModelError("a summary took what was set aside of today's dollars", kind="outage") from error
            return await self._at_limit(attempt, used)
        agent = answered.by or agent
        attempt = dataclasses.replace(attempt, agent=agent)
        answered, missed = cache_missed(attempt, answered)
        message, transcript = answered.message, answered.transcript
        self._account.answered(agent.model)
        declared = [tool["name"] for tool in (transcript.manifest or {}).get("tools") or []]
        kept = keep(message.content, message.stop_reason, step=step, taken=transcript.call_ids, declared=declared)
        pauses = transcript.pauses(step.turn.event_id)
        room, calls = maker.results(message, transcript.size, len(kept.calls))
        kept.run_at_most(calls)
        kept.bound(pauses=pauses, nudged=transcript.nudged, after_tools=transcript.owes_results)
        output = await output_of(attempt, transcript, kept, self._bodies)
        used = add(used, added(message.usage, metering().unanswered))
        failed = added(added(Usage(), attempt.claim.attempts.usage), metering().unanswered)
        entry = answer(attempt, answered, kept, failed=failed, priced=self._model.priced)
        return await self._record(attempt, kept.stop, used, [entry, *missed], kept.calls, room, output)

    async def _at_limit(self, attempt: ModelAttempt, used: Usage) -> ModelResult:
        """End the turn, or ask a person first; nobody can give more than all workers allow in a day."""
        claim, answered, meter = attempt.claim, attempt.input.answered, metering()
        used = added(used, meter.all)
        spent = claim.reserved is not None and not claim.reserved.max_tokens
        denied = answered is not None and answered.answer != "approved"
        if spent or denied or attempt.agent.budget.on_limit == "end":
            return await self._record(attempt, "budget_reached", used)
        told: dict[str, Any] = {"usage": meter.unwritten} | ({} if claim.reserved is None else {"paid": meter.paid})
        step, raised = attempt.step, attempt.input.raised
        return await ask(self._journal, step, claim.token, attempt.agent, used, raised=raised, told=told)

    async def _look_again(self, attempt: ModelAttempt) -> None:
        """Let an attempt that froze behind its claim pay for nothing where another one is at work.

        Raises:
            Superseded: It is.
        """
        lease = self._bounds.lease
        if time.monotonic() - attempt.since > lease / 2:
            if not await self._journal.renew(attempt.step, attempt.claim.token, lease=lease):
                raise Superseded

    def _request(
        self, user: str | None, allowed: Allowance, attempt: ModelAttempt, transcript: Transcript
    ) -> ModelRequest:
        agent, frozen = attempt.agent, transcript.manifest or {}
        form = self._form(agent)
        messages = transcript.request_messages(form)
        request = ModelRequest(
            model=agent.model,
            system=self._memories.system(frozen),
            messages=messages,
            tools=frozen.get("tools") or [],
            max_tokens=self._compactions.room(agent).answer_to(transcript.size),
            user_id=user,
            settings=agent.settings_at(attempt.step.step),
            load=partial(self._references.load, attempt.step.session),
            container=transcript.committed.container_at(time.time(), form),
            native=transcript.natives(messages, form),
            previous=transcript.committed.cached.id if transcript.committed.cached else None,
        )
        return self._money.bounded(request, allowed)

    def _form(self, agent: Agent) -> Form:
        return Form.of(agent.model, self._model.facts(agent.model), self._model.provider)

    async def _record(
        self,
        attempt: ModelAttempt,
        stop: Stop,
        used: Usage,
        said: Sequence[NewEntry] = (),
        made: Sequence[ToolUse] = (),
        room: int | None = None,
        output: Any = None,
    ) -> ModelResult:
        """Record the step's end in one transaction.

        Args:
            attempt: The attempt.
            stop: Why the model stopped.
            used: What the turn used so far.
            said: The entry of its answer, and what is said beside it.
            made: The calls of its answer.
            room: Bytes that each result of them may have, where that is less than usual.
            output: What its answer says in the agent's form.
        """
        uses = made if stop == "tool_use" else []
        check = partial(self._bodies.check, attempt.step)
        calls = list(await asyncio.gather(*(plan(attempt.agent, use, check) for use in uses)))
        if room is not None:
            calls = [call.model_copy(update={"result": room}) for call in calls]
        entries = [*said, *closing(attempt, stop, used, uses, calls, output)]
        turn = attempt.step.turn
        body = said[0].body if said else {}
        model = str(body.get("model", attempt.agent.model))
        spending = Spent(used, attempt.agent.name, model)
        outcome = Outcome(turn.event_id, turn.turn, "applied", stop, spent=spending) if ends_turn(stop) else None
        reserved = {} if attempt.claim.reserved is None else {"paid": metering().paid}
        counted = {name: value for name, value in body.get("usage", {}).items() if name != "usd"}
        result = ModelResult(stop=stop, calls=calls, usage=counted)
        if not ends_turn(stop) and attempt.agent.model != attempt.own:
            result.model = attempt.agent.model
        record = result.model_dump(mode="json")
        end = await committed(
            lambda: self._journal.finish(attempt.step, attempt.claim.token, record, entries, outcome, **reserved),
            patience=self._bounds.commit_patience,
        )
        if ends_turn(stop) and tracing():
            carried = attempt.input.trace
            span = trace_completed(self._journal, attempt.step.turn, carried, attempt.agent.name, stop, used)
            await uncancelled(span)
        more: dict[str, Any] = {"head": end.head, "seal": end.seal}
        if attempt.input.inline and ends_turn(stop):
            own = inline_answers.from_memory(attempt.step, attempt.claim, entries, end.head)
            more |= {"turn": inline_answers.inline(own, self._bounds.inline)} if own else {}
        return result.model_copy(update=more)

    async def _described(self, attempt: ModelAttempt, result: ModelResult) -> ModelResult:
        """Add the recorded end of an event that had ended."""
        if result.stop != "ended" or attempt.claim.outcome is None:
            return result
        ended = await recorded_outcome(self._journal, attempt.step.session, attempt.claim.outcome)
        return result.model_copy(update={"ended": ended})

    async def _addressed(self, attempt: ModelAttempt, result: ModelResult, apart: Sequence[str]) -> ModelResult:
        """Add what this workflow does not know yet, or cannot read."""
        input, agent = attempt.input, attempt.agent
        more: dict[str, Any] = {"apart": list(apart)} if apart else {}
        if input.compact is not None and result.stop not in ("ended", "closed", "budget_reached"):
            more["compacted"] = input.compact
        if input.agent != agent.name:
            more["agent"] = agent.name
        if input.policy != agent.policy_hash:
            more["policy"] = policy_of(agent)
        if input.inline and result.turn is None and result.stop != "closed" and ends_turn(result.stop):
            turn = await inline_answers.from_journal(self._journal, attempt.step, own=result.ended is None)
            more["turn"] = inline_answers.inline(turn, self._bounds.inline) if turn else None
        return result.model_copy(update=more) if more else result

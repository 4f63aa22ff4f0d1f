"""A request to the model, and what is asked besides where it is refused.

Invariant: what the model takes no more is found, written down and left out before another request relies on that; what
it refuses for another reason is this event's own, or passes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from inturn.agents import Agent
from inturn.errors import ModelError
from inturn.journal import Journal
from inturn.journal.views.doubts import doubt
from inturn.journal.views.requests import Form
from inturn.journal.views.transcript import Transcript
from inturn.models import DeltaKind, ModelRequest, OnDelta
from inturn.turns.blocks import text
from inturn.turns.doubts import Doubts, Outgrown, of_event, of_more
from inturn.turns.fallbacks import first_answer
from inturn.turns.room.making_room import RoomMaker
from inturn_activities import failures
from inturn_activities.bounds import Bounds
from inturn_activities.limits.stuck import note_progress
from inturn_activities.live.pen import Pen
from inturn_activities.model.account import AccountWatch
from inturn_activities.model.attempt import ModelAttempt
from inturn_activities.model.closing import Answered
from inturn_activities.model.conversation.manifest_changes import Memories
from inturn_activities.model.guard import GuardedModel
from inturn_activities.model.transcript_cache import Transcripts
from inturn_activities.model.usage import metering

RequestOf = Callable[[ModelAttempt, Transcript], ModelRequest]


class NoMoney(Exception):
    """There is no money for an answer."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks a model for answers."""

    journal: Journal
    model: GuardedModel
    transcripts: Transcripts
    memories: Memories
    account: AccountWatch
    bounds: Bounds

    async def first(
        self, attempt: ModelAttempt, transcript: Transcript, request: ModelRequest, maker: RoomMaker, of: RequestOf
    ) -> Answered:
        """Return the answer of whichever of the agent's models gives one.

        Args:
            attempt: The attempt, with the agent as the model is to answer it that comes first.
            transcript: The conversation.
            request: That model's request.
            maker: Makes room for it.
            of: Makes the request of another one.

        Raises:
            NoMoney: There is none for the request of that model.
        """
        agent, before, mine = attempt.agent, attempt.claim.attempts, 0

        async def ask(by: Agent) -> Answered:
            nonlocal mine
            if by is not agent:
                other = dataclasses.replace(attempt, agent=by)
                return await self._once(other, transcript, _affordable(of(other, transcript)))
            answered = await self._with_room(attempt, transcript, request, maker)
            mine = len(metering().requests) - 1
            return answered

        away = any(before.has_lasted(kind, self.bounds.fallback_after) for kind in failures.AWAY)
        first = await first_answer(agent, ask, _refuses, away=away)
        if first.by is agent:
            metering().answer(mine)
        instead_of = None if first.why is None else (agent.model, first.why)
        return dataclasses.replace(first.answer, by=first.by, provider=self.model.provider, instead_of=instead_of)

    async def _with_room(
        self, attempt: ModelAttempt, transcript: Transcript, request: ModelRequest, maker: RoomMaker
    ) -> Answered:
        """Ask the model once there is room for its answer."""
        asked, first, read = attempt.input.compact is not None, attempt.step.step == "0", transcript.seq
        smaller = await maker.make_room(transcript, attempt.step.turn.event_id, first=first, asked=asked)
        smaller = await self.memories.told(attempt, smaller, summarised_since=read)
        if smaller.seq != read:
            request = maker.request(smaller)
        return await self._respond(attempt, smaller, _affordable(request), maker)

    async def _respond(
        self, attempt: ModelAttempt, transcript: Transcript, request: ModelRequest, maker: RoomMaker
    ) -> Answered:
        """Ask the model; where it refuses what is committed, once more without the blocks that are to blame."""
        try:
            return await self._once(attempt, transcript, request)
        except ModelError as refusal:
            lasted = attempt.claim.attempts.lasted("account")
            if refusal.kind == "account" and lasted >= self.bounds.account_believed:
                await self._look_at_account(request)
            if refusal.kind != "own":
                raise
            refused = refusal
        form = self._form(attempt.agent.model)
        ask = partial(self.model.respond, on_delta=_on_delta)
        try:
            finding = await Doubts(ask, request, transcript, form).find(refused)
        except Outgrown:
            smaller = await maker.compact(transcript)
            if smaller is None:
                raise
            return await self._respond(attempt, smaller, maker.request(smaller), maker)
        doubted = attempt.entry(
            "transcript.doubted", doubt(finding.places, finding.why), key=f"{attempt.key}/doubted/{transcript.seq}"
        )
        head = await self.journal.append(attempt.step, attempt.claim.token, [doubted])
        if not finding.all:
            raise of_more(refused)
        transcript = await self.transcripts.load(attempt.step.session, head)
        try:
            answered = await self._once(attempt, transcript, maker.request(transcript))
        except ModelError as error:
            raise of_event(error) from None
        return dataclasses.replace(answered, left_out=doubted.body["seqs"])

    async def _look_at_account(self, request: ModelRequest) -> None:
        """Find out whether the model answers others, where none of them asked it lately."""
        said = [{"role": "user", "content": [text("hi")]}]
        with contextlib.suppress(Exception):  # then it does not, and who knows why
            await self.model.respond(dataclasses.replace(request, messages=said, native=(), max_tokens=1), _on_delta)
            self.account.answered(request.model)

    async def _once(self, attempt: ModelAttempt, transcript: Transcript, request: ModelRequest) -> Answered:
        """Ask the model; where it fails, once more without what stopped turns had said: that may be why."""
        seen, without = transcript.seq, transcript.others(attempt.step.turn.event_id)
        try:
            return Answered(await self.model.respond(request, _written(attempt.pen)), transcript, seen)
        except Exception as error:
            if not without or transcript.seq != seen or failures.classify(error).kind in ("outage", "account"):
                raise
        form = self._form(attempt.agent.model)
        messages = transcript.request_messages(form, without=without)
        asked = dataclasses.replace(request, messages=messages, native=transcript.natives(messages, form))
        message = await self.model.respond(asked, _written(attempt.pen))
        return Answered(message, transcript, seen, without)

    def _form(self, model: str) -> Form:
        return Form.of(model, self.model.facts(model), self.model.provider)


def _affordable(request: ModelRequest) -> ModelRequest:
    if not request.max_tokens:
        raise NoMoney
    return request


def _refuses(answered: Answered) -> bool:
    return answered.message.stop_reason == "refusal"


def _written(pen: Pen | None) -> OnDelta:
    """Return what writes down what a model says to a request; anew, where it was asked before."""
    if pen is None:
        return _on_delta
    pen.begin()

    def on_delta(block: int, kind: DeltaKind, text: str) -> None:
        note_progress()
        pen.add(block, kind, text)

    return on_delta


def _on_delta(block: int, kind: DeltaKind, text: str) -> None:
    """Note that the model is not stuck."""
    note_progress()

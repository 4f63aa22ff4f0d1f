"""Compactions of a model step, under its claim.

Invariant: the entry is written under the claim, so a late attempt writes none, and the next one finds it and pays for
none; what it used is said in it, and counted with its step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from temporalio import activity

from inturn.agents import Agent
from inturn.journal import Journal
from inturn.journal.views.requests import Form
from inturn.journal.views.transcript import Transcript
from inturn.models import ModelMessage, ModelRequest
from inturn.turns.compaction import Room
from inturn.turns.room.making_room import RoomMaker
from inturn.turns.room.summaries import Summariser
from inturn.turns.spending import longest_answer
from inturn.values import Usage
from inturn_activities.commit import before_cancelled
from inturn_activities.limits.stuck import note_progress
from inturn_activities.model.attempt import ModelAttempt
from inturn_activities.model.guard import GuardedModel
from inturn_activities.model.transcript_cache import Transcripts
from inturn_activities.model.usage import metering


@dataclass(frozen=True, slots=True)
class Compactions:
    """Makes room in sessions, by a model."""

    journal: Journal
    model: GuardedModel
    transcripts: Transcripts
    patience: float
    """Seconds that a summary may take."""

    def room(self, agent: Agent) -> Room:
        """Return the room that an agent's requests have."""
        return Room.of(self.model.facts(agent.model), agent.max_tokens, agent.compaction)

    def of(self, attempt: ModelAttempt, request: Callable[[Transcript], ModelRequest]) -> RoomMaker:
        """Return what makes room for a step; `request` makes the request of a transcript."""
        agent = attempt.agent

        async def ask(asked: ModelRequest) -> ModelMessage:
            _tell(attempt)
            async with asyncio.timeout(self.patience):
                return await self.model.respond(self._affordable(asked), _on_delta)

        async def compact(asked: ModelRequest, instructions: str | None) -> ModelMessage | None:
            _tell(attempt)
            async with asyncio.timeout(self.patience):
                return await self.model.compact(self._affordable(asked), instructions)

        by = Summariser.of(
            agent,
            ask=ask,
            compact=compact,
            facts=self.model.facts,
            form=self._form,
            instructions=attempt.input.compact,
            failed=attempt.claim.attempts.counts.get("summary", 0),
        )

        async def write(body: dict[str, Any], number: int, used: Usage) -> Transcript:
            usage = metering().unwritten
            body |= {"turn": attempt.step.turn.turn, **({"usage": usage} if usage else {})}
            entry = attempt.entry("session.compacted", body, key=f"compacted/{attempt.key}/{number}")

            async def written() -> int:
                head = await self.journal.append(attempt.step, attempt.claim.token, [entry], usage=usage)
                metering().write()
                return head

            head = await before_cancelled(written())
            before, after = body["tokens"]
            activity.logger.info(
                "%s: compacted by %s, from about %d to %d tokens", attempt.key, body["by"], before, after
            )
            return await self.transcripts.load(attempt.step.session, head)

        async def leave_out(body: dict[str, Any]) -> Transcript:
            key = f"{attempt.key}/doubted/{body['seqs'][-1]}/shown"
            entry = attempt.entry("transcript.doubted", body, key=key)
            head = await self.journal.append(attempt.step, attempt.claim.token, [entry])
            return await self.transcripts.load(attempt.step.session, head)

        return RoomMaker(self.room(agent), agent.compaction, by, attempt.key, request, write, leave_out)

    def _affordable(self, asked: ModelRequest) -> ModelRequest:
        """Return a request for a summary that is no longer than there is money for."""
        meter = metering()
        if meter.most is None:
            return asked
        price, prompt = self.model.worst_price(asked), self.model.prompt(asked)
        most = longest_answer(price, prompt, asked.max_tokens, meter.most - meter.paid)
        return replace(asked, max_tokens=most or asked.max_tokens)

    def _form(self, model: str) -> Form:
        return Form.of(model, self.model.facts(model), self.model.provider)


def _tell(attempt: ModelAttempt) -> None:
    """Tell whoever looks that the answer comes later."""
    if attempt.pen is not None:
        attempt.pen.compacts()


def _on_delta(block: int, kind: str, text: str) -> None:
    """Note that the model is not stuck."""
    note_progress()

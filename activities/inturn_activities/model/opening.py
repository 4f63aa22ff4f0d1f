"""The entries that a model step begins with.

Invariant: they depend on the event, the agent and the step alone, and carry keys, so that every attempt of the step
writes the same ones and they are written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from inturn import names
from inturn.agents import Agent
from inturn.errors import InvalidEvent
from inturn.journal import Journal, NewEntry
from inturn.journal.log import forks
from inturn.journal.views.turns import entries_of
from inturn.keys import StepKey, TurnKey
from inturn.models import ModelSettings
from inturn_activities import failures
from inturn_activities.failures import OwnFailure
from inturn_activities.limits.budget_question import answer
from inturn_activities.messages import ModelInput
from inturn_activities.model.conversation.manifest_changes import Memories
from inturn_activities.model.joined_events import elsewhere

_CARRIED: Final = ("source", "sender", "sent_at", "metadata", "aliases", "model")


async def opening(
    journal: Journal, step: StepKey, input: ModelInput, agent: Agent, memories: Memories, *, known: bool
) -> list[NewEntry]:
    """Return the entries of a step's claim; `known`: the session has begun for sure."""
    said = (
        [answer(step, input.raised - (input.answered.answer == "approved"), input.answered)] if input.answered else []
    )
    if step.step != "0":
        return [*said, *(user_message(step.turn, event, host=step.turn) for event in input.joined)]
    if input.event is None:
        messages = await _redriven(journal, step.turn)
    else:
        messages = [user_message(step.turn, input.event, n=input.n)]
    messages += [user_message(step.turn, event, host=step.turn) for event in input.joined]
    started = [] if known else [session_started(agent, await memories.frozen(agent, step))]
    begun = turn_started(step.turn, input, model=messages[0].body.get("model"), settings=agent.settings_at("0"))
    return [*started, *messages, begun, *said]


def chosen(agent: Agent, step: StepKey, input: ModelInput, begin: Sequence[NewEntry]) -> Agent:
    """Return an agent as the model is to answer it that its event named, or that stands in for this turn.

    Args:
        agent: The agent.
        step: The step.
        input: Its input.
        begin: The entries that it begins with.

    Raises:
        ApplicationError: The event names a model that is none of the agent's.
    """
    if step.step != "0":  # one that it has no more was its own worker's
        return agent.answered_by(input.model) if input.model in agent.all_models else agent
    said = next(e.body for e in begin if e.type == "user.message" and "joined" not in e.body)
    try:
        return agent.named(said.get("model"))
    except InvalidEvent as error:
        raise failures.final(names.INVALID_EVENT, str(error)) from None


def session_started(agent: Agent, memory: dict[str, Any] | None = None) -> NewEntry:
    """Return the entry that freezes the agent in the session, and what it remembers."""
    body = {**agent.manifest(), "model": agent.model, "manifest": agent.manifest_hash}
    body |= {"memory": memory} if memory else {}
    return NewEntry("session.started", body, key=forks.KEY)


def turn_started(
    turn: TurnKey, input: ModelInput, *, model: str | None = None, settings: ModelSettings | None = None
) -> NewEntry:
    """Return the entry that begins a turn; `model`: the one that its event named."""
    body: dict[str, Any] = {"n": input.n, "turn": turn.turn}
    if model is not None:
        body["model"] = model
    if said := {} if settings is None else settings.said():
        body["settings"] = said
    if input.chain:
        body["chain"] = input.chain
    if input.resets:
        body["resets"] = input.resets
    event = input.event or {}
    if event.get("when_busy") == "interrupt":
        body["when_busy"] = "interrupt"  # it came to the front: out of the order of acceptance on purpose
    if "sequence" in event:
        body |= {"source": event.get("source", "client"), "sequence": event["sequence"]}  # the order of its source
    # A chain's first turn may have begun in the one before, which was terminated: the chain is named all the same.
    key = f"{turn.turn}/started" + (f"/{input.chain}" if input.chain else "")
    return NewEntry("turn.started", body, event_id=turn.event_id, key=key)


def user_message(
    turn: TurnKey, event: dict[str, Any], *, n: int | None = None, host: TurnKey | None = None
) -> NewEntry:
    """Return an event as the user's message; with `host` it joined that turn."""
    what = "content" if "content" in event else "claim"  # the journal's: it moves it here
    if what not in event:
        raise OwnFailure("the event has no content")
    body: dict[str, Any] = {what: event[what], "source": event.get("source", "client")}
    body |= {name: event[name] for name in _CARRIED if event.get(name) is not None}
    if host is None:
        return NewEntry("user.message", body | {"n": n or 0}, event_id=turn.event_id, key=f"{turn.turn}/user")
    joined = str(event.get("event_id", ""))
    return NewEntry("user.message", body | {"joined": joined}, event_id=turn.event_id, key=f"{turn.turn}/user/{joined}")


async def said_again(journal: Journal, turn: TurnKey, messages: Sequence[NewEntry], head: int) -> list[NewEntry]:
    """Return a turn's messages anew, as the entries have them: they are from a run that was terminated."""
    entries = await entries_of(journal, turn.session, turn.event_id, ("user.message",))
    bodies = {entry.body.get("joined"): entry.body for entry in entries}
    said = [replace(message, body=bodies.get(message.body.get("joined"), message.body)) for message in messages]
    return [replace(message, key=f"{message.key}/{head}") for message in said if "content" in message.body]


async def _redriven(journal: Journal, turn: TurnKey) -> list[NewEntry]:
    """Return the messages of a redriven event, with those that had joined its turn."""
    entries = await entries_of(journal, turn.session, turn.event_id, ("user.message", "event.parked"))
    own: dict[str, Any] | None = None
    joined: dict[str, dict[str, Any]] = {}
    for entry in entries:
        body = entry.body
        if entry.type == "event.parked":
            own = body.get("event") or own
            joined |= {event["event_id"]: event for event in body.get("joined", ())}
        elif "joined" in body:
            joined[body["joined"]] = {**body, "event_id": body["joined"]}
        else:
            own = body
    for end in await elsewhere(journal, turn, list(joined)):  # it was a duplicate
        del joined[end.event_id]
    if own is None:
        raise OwnFailure(f"the journal holds no content of event {turn.event_id}")
    return [
        user_message(turn, own, n=own.get("n")),
        *(user_message(turn, event, host=turn) for event in joined.values()),
    ]

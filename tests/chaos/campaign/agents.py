"""The agents of the campaign, and what the world outside sees of their steps.

Each body of a model or tool sends one datagram to the socket that `INTURN_TEST_WITNESS` names (`witness.py`): whole or
not at all, and no death of this process can take it back. The workers' named points are those of
`tests.support.agents.crashing`. The product has no hook for any of it: the models are wrapped here.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import to_json
from temporalio import activity

from inturn import Agent, InboxPolicy, ToolContext, tool
from inturn.keys import StepKey
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import ScriptedModel
from inturn_activities.failures import OwnFailure
from inturn_activities.model.claude import Claude
from tests.chaos.campaign.witness import PATIENCE, POISON
from tests.support.agents.crashing import crash

CANARY: Final = re.compile(rb"canary-[0-9a-f]{12}")
SAID: Final = re.compile(r"\b([a-z]\d+) canary-")
"""How an event names itself in its text."""


def _tell(**row: Any) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as witness:
        witness.connect(os.environ["INTURN_TEST_WITNESS"])
        witness.send(json.dumps({**row, "pid": os.getpid()}).encode())


def _seen(model: type[Any]) -> None:
    respond = model.respond

    async def seen(self: Any, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        key = activity.info().activity_id
        canaries = sorted({found.decode() for found in CANARY.findall(to_json(request.messages))})
        event_id = key.split("/")[2].partition("~")[0]
        text = _latest(request.messages)
        said = SAID.findall(text)
        _tell(
            kind="model",
            key=key,
            session=str(StepKey.parse(key).session),
            event_id=event_id,
            canaries=canaries,
            said=said,
        )
        if POISON in text:
            raise OwnFailure("poison")
        answer: ModelMessage = await respond(self, request, on_delta)
        return answer

    model.respond = seen


def _latest(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return what was said since the model's last answer."""
    answers = [n for n, message in enumerate(messages) if message["role"] == "assistant"]
    return to_json(messages[answers[-1] + 1 if answers else 0 :]).decode()


_seen(ScriptedModel)
_seen(Claude)


def _effect(name: str, event_id: str, canary: str, ctx: ToolContext, *, keyed: bool) -> str:
    session = f"{ctx.tenant}/{ctx.session_id}"
    crash("tool:before-effect")
    _tell(kind="effect", tool=name, key=ctx.key, session=session, event_id=event_id, canaries=[canary], keyed=keyed)
    crash("tool:after-effect")
    return f"{name} for {event_id}"


@tool(idempotent=True)
async def pay(event_id: str, canary: str, ctx: ToolContext) -> str:
    """Pay: the bank knows the key, and takes a repeated one for the same payment."""
    return _effect("pay", event_id, canary, ctx, keyed=True)


@tool
async def post(event_id: str, canary: str, ctx: ToolContext) -> str:
    """Post: nobody knows keys there, and twice is twice."""
    return _effect("post", event_id, canary, ctx, keyed=False)


def _agent(name: str, on_gap: str) -> Agent:
    policy = InboxPolicy.model_validate({"gap_timeout": PATIENCE, "on_gap": on_gap})
    return Agent(name, model="claude-sonnet-5-5", instructions="Be brief.", tools=[pay, post], inbox=policy)


agents = [_agent("support", "skip"), _agent("desk", "park")]

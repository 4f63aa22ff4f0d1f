"""What a session is called towards a model's provider: nothing that says who it is about."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import pytest

from inturn.keys import SessionKey
from inturn.testing import ScriptedModel
from inturn_activities.messages import ModelInput
from tests.support.steps import StepRunner, environment, rig

NAMES = ["+49 170 1234567", "jane.doe@example.com", "slack:T1:C2"]


@pytest.mark.promise("SEC-3")
async def test_the_provider_gets_a_name_that_says_nothing_and_stays(tmp_path: Path) -> None:
    model = ScriptedModel(["a"] * 12)
    async with rig(tmp_path, model=model) as r:
        sessions = [SessionKey("acme", name.replace(" ", "")) for name in NAMES]
        for session in sessions:
            for n in range(2):
                await _ask(r, session, f"e{n}")
        for session in sessions:
            await _ask(StepRunner(r.journal, model, r.agents), session, "e9")
    given = [request.user_id or "" for request in model.requests]
    assert all(re.fullmatch(r"[0-9a-f]{32}", name) for name in given)
    first = given[0:6:2]
    assert len(set(first)) == 3
    assert given[1:6:2] == given[6:] == first, "the same on every turn and worker"
    plain = {hashlib.sha256(str(session).encode()).hexdigest()[:32] for session in sessions}
    assert not plain & set(given), "who knows the session's name cannot work it out"


async def test_two_journals_call_a_session_differently(tmp_path: Path) -> None:
    given = []
    for place in ("a", "b"):
        async with rig(tmp_path / place, model=(model := ScriptedModel(["hi"]))) as r:
            await r.ask()
            given.append(model.requests[0].user_id)
    assert given[0] != given[1]


async def _ask(r: StepRunner, session: SessionKey, event: str) -> None:
    made = environment(session.turn(event).step(0))
    made.info = dataclasses.replace(made.info, activity_id=str(session.turn(event).step(0)))
    await made.run(r.steps.call_model, ModelInput(event={"event_id": event, "content": "hi"}))

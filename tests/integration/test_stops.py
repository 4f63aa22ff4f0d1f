"""How a stop gets to what runs: at once, though steps beat every two seconds."""

from __future__ import annotations

import time

import pytest

from inturn import Session
from inturn.keys import StepKey
from inturn_workflows.stops import heard_by
from tests.support.claude import ClaudeRig
from tests.support.histories import replayed
from tests.support.rig import Rig

SAME_PROCESS = 0.3
ANOTHER_PROCESS = 0.5
"""Seconds from an interrupt to the end of the model's stream."""


async def _interrupted(claude: ClaudeRig, session: Session, number: int) -> float:
    """Interrupt a turn whose model streams; return the seconds until its stream was closed."""
    event_id, tag = f"e{number}", f"{session.session_id}-{number}-"
    await session.send(f"[[delay 30]] {tag} and more words that stream slowly", event_id=event_id)
    await claude.until_streaming(tag)
    began = time.monotonic()
    assert await session.interrupt(event_id=event_id)
    await claude.until_closed(tag, within=10)
    [request] = [e for e in claude.requests if tag in e.text]
    assert request.ended is not None
    assert (await session.wait(event_id, timeout=20)).disposition == "cancelled"
    return request.ended - began


@pytest.mark.promise("EFF-8")
async def test_an_interrupt_closes_the_models_stream_at_once(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hello")
        took = [await _interrupted(claude, session, number) for number in range(6)]
        assert sorted(took)[-2] <= SAME_PROCESS, took  # one of them may meet a machine that is busy
        heard: list[StepKey] = []
        with heard_by(heard.append):
            await replayed(rig.temporal, f"{rig.tenant}/s")
        assert not heard, "what was stopped long ago is told to nobody in a replay"

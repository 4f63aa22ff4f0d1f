"""A fork's turns: the model sees what its parent saw, byte for byte, and the parent's effects stay its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inturn import Agent
from inturn.journal.log.forks import KEY
from inturn.keys import SessionKey
from inturn.models import ModelMessage, ModelRequest
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn.tools.context import ToolContext
from inturn.turns.compaction import Compaction
from inturn_activities.messages import Decision, ModelInput
from inturn_activities.model.opening import opening
from tests.support.steps import SESSION, StepRunner, rig
from tests.support.strict import Given, answer

pytestmark = [pytest.mark.promise("MOD-1"), pytest.mark.promise("EFF-1")]
FORK = SessionKey("acme", "fork")
DONE: list[str] = []


@tool(idempotent=True)
async def refund(order: str, ctx: ToolContext) -> str:
    """Refund an order."""
    DONE.append(ctx.key)
    return f"refunded {order}"


async def turn(steps: StepRunner, event_id: str, content: Any = "hi") -> Any:
    step, made = 0, await steps.ask(event_id, content)
    while made.stop == "tool_use":
        await steps.tools(made, event_id, step=step)
        step += 1
        made = await steps.ask(event_id, step=step)
    return made


THOUGHT = {"type": "thinking", "thinking": "well", "signature": "signed"}


def said(text: str) -> ModelMessage:
    return answer([THOUGHT, {"type": "text", "text": text}], "end_turn")


async def test_a_forks_request_begins_as_its_parents_did(tmp_path: Path) -> None:
    given = Given(*(said(f"answer {n}") for n in range(6)))
    async with rig(tmp_path, model=given, tools=[refund]) as steps:
        for n in range(4):
            await turn(steps, f"e{n}", f"question {n}")
        await steps.journal.fork(SESSION, "fork", upto="e1")
        await turn(steps.of(FORK), "f0", "another way")
        parent, fork = given.requests[2], given.requests[-1]
        assert fork.messages[:-1] == parent.messages[:-1]
        assert THOUGHT in fork.messages[1]["content"], "the prefix is the same, so what was thought is still valid"
        assert (fork.system, fork.tools) == (parent.system, parent.tools)
        assert "question 2" not in str(fork.messages)
        await turn(steps, "e9")
        assert "another way" not in str(given.requests[-1].messages), "nor does the parent know of its fork"
        await turn(steps.of(FORK), "f1", "further")
        assert given.requests[-1].messages[: len(fork.messages)] == fork.messages


async def test_the_same_event_in_a_fork_is_done_anew_under_a_key_of_its_own(tmp_path: Path) -> None:
    DONE.clear()
    script = ["first", ToolCall("refund", order="17"), "done", ToolCall("refund", order="17"), "done"]
    async with rig(tmp_path, script, tools=[refund]) as steps:
        await turn(steps, "e0")
        await turn(steps, "e1")
        await steps.journal.fork(SESSION, "fork", upto="e0")
        await turn(steps.of(FORK), "e1")
        assert DONE == ["acme/s1/e1/0/0", "acme/fork/e1/0/0"]
        assert len(steps.model.requests[-1].messages) == 5  # type: ignore[attr-defined]


async def test_an_agent_that_changed_since_is_said_in_the_fork(tmp_path: Path) -> None:
    given = Given()
    async with rig(tmp_path, model=given) as steps:
        await turn(steps, "e0")
        await steps.journal.fork(SESSION, "fork")
        deployed = StepRunner(steps.journal, given, [Agent("support", model="m", instructions="Be long.")])
        await turn(deployed.of(FORK), "f0")
        assert given.requests[-1].system == "Be brief."
        assert "Be long." in str(given.requests[-1].messages)
        entry = await steps.journal.entry(FORK, KEY)
        assert entry is not None
        assert entry.body["agent"] == "support"


async def test_what_an_interrupted_turn_left_is_no_events_of_the_forks(tmp_path: Path) -> None:
    given = Given()
    async with rig(tmp_path, model=given) as steps:
        await turn(steps, "e0")
        begun = await _opening(steps, "e1", "stop me")
        await steps.journal.claim_model(SESSION.turn("e1").step(0), begun, lease=1.0)
        await _end(steps, "turn.interrupted", "cancelled")
        await steps.journal.fork(SESSION, "fork")
        fork = steps.of(FORK)
        await steps.journal.claim_model(FORK.turn("e1").step(0), await _opening(steps, "e1", "bad"), lease=1.0)
        await _end(fork, "turn.failed", "parked")
        await turn(fork, "e2", "another one")
        asked = str(given.requests[-1].messages)
        assert "stop me" in asked
        assert "another one" in asked
        assert "bad" not in asked, "and the end of an event of the same id takes back its own alone"


async def _end(steps: StepRunner, type_: str, disposition: Any) -> None:
    body = {"turn": "e1", "error": "x"}
    await steps.record(Decision(type=type_, turn="e1", key="e1/end", disposition=disposition, body=body), settle=["e1"])


async def _opening(steps: StepRunner, event_id: str, content: str) -> list[Any]:
    made = ModelInput(event={"event_id": event_id, "content": content})
    return await opening(
        steps.journal, SESSION.turn(event_id).step(0), made, steps.agents[0], steps.steps._models._memories, known=True
    )


async def test_a_fork_takes_the_compaction_that_stood_where_it_was_made(tmp_path: Path) -> None:
    given, words = Given(), "word " * 400
    async with rig(tmp_path, model=given, max_tokens=1_000, compaction=Compaction(window=12_000)) as steps:
        ends: list[tuple[int, ModelRequest]] = []
        for n in range(30):
            assert (await turn(steps, f"e{n}", f"{n}: {words}")).stop == "end_turn"
            ends.append((len(await steps.bodies("session.compacted")), given.requests[-1]))
        assert ends[-1][0] >= 3
        second = next(n for n, (count, _) in enumerate(ends) if count == 2)
        for name, upto in (("long-before", 1), ("before", second - 2), ("after", second)):
            await steps.journal.fork(SESSION, name, upto=f"e{upto}")
            fork = StepRunner(steps.journal, given, steps.agents).of(SessionKey("acme", name))
            await turn(fork, "f", "short")
            assert not await fork.bodies("session.compacted")
            expected = ends[upto + 1][1].messages if ends[upto + 1][0] == ends[upto][0] else None
            if expected is not None:
                assert given.requests[-1].messages[:-1] == expected[:-1]
            assert f"{second + 3}: word" not in str(given.requests[-1].messages)
        for n in range(15):
            await turn(fork, f"g{n}", f"{n}: {words}")
        assert await fork.bodies("session.compacted"), "and it is compacted by itself"

"""An agent's memory: frozen in its sessions, written by compare-and-set, and told of when others change it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from inturn import Agent, sizes
from inturn.keys import SessionKey
from inturn.models import ModelMessage
from inturn.tools import tool
from inturn.turns.compaction import Compaction
from tests.support.steps import SESSION, StepRunner, rig
from tests.support.strict import Given, answer

pytestmark = pytest.mark.promise("AGT-4")
FORK = SessionKey("acme", "fork")
MEMORY = ["rules", "notes:*"]


async def turn(steps: StepRunner, event_id: str, content: Any = "hi") -> list[Any]:
    step, made, results = 0, await steps.ask(event_id, content), list[Any]()
    while made.stop == "tool_use":
        results += await steps.tools(made, event_id, step=step)
        step += 1
        made = await steps.ask(event_id, step=step)
    return results


def call(**args: Any) -> ModelMessage:
    return answer([{"type": "tool_use", "id": "toolu_0123456789abcdef01", "name": "remember", "input": args}])


async def put(steps: StepRunner, name: str, text: str) -> None:
    await steps.journal.put_document("acme", name, text)


def notes(given: Given) -> str:
    """What the application said of changes, in the last request."""
    said = [block.get("text") or "" for message in given.requests[-1].messages for block in message["content"]]
    return "\n".join(text for text in said if "changed by others" in text)


async def test_a_session_freezes_its_agents_documents_behind_the_instructions(tmp_path: Path) -> None:
    given = Given()
    async with rig(tmp_path, model=given, memory=MEMORY) as steps:
        await put(steps, "rules", "No refunds on Sundays.")
        await put(steps, "notes:ann", "Ann likes tea.")
        await put(steps, "secret", "of another agent")
        await turn(steps, "e0")
        system = given.requests[-1].system
        assert system.startswith("Be brief.")
        assert '<document name="rules" version="1">\nNo refunds on Sundays.\n</document>' in system
        assert "Ann likes tea." in system
        assert "another agent" not in system
        assert "remember" in [each["name"] for each in given.requests[-1].tools]
        await put(steps, "rules", "Refunds always.")
        await turn(steps, "e1")
        assert given.requests[-1].system == system, "what was frozen stays"
        [body] = await steps.bodies("session.started")
        assert body["memory"]["versions"] == {"rules": 1, "notes:ann": 1}


async def test_what_others_change_is_told_once_at_the_next_turn(tmp_path: Path) -> None:
    given = Given()
    async with rig(tmp_path, model=given, memory=MEMORY) as steps:
        await put(steps, "rules", "one")
        await turn(steps, "e0")
        assert notes(given) == ""
        await put(steps, "rules", "two")
        await put(steps, "notes:new", "fresh")
        await turn(steps, "e1")
        assert '<document name="rules" version="2">\ntwo\n</document>' in notes(given)
        assert "fresh" in notes(given)
        told = len(await steps.bodies("system.message"))
        await turn(steps, "e2")
        assert len(await steps.bodies("system.message")) == told == 1
        await steps.journal.delete_document("acme", "rules")
        await turn(steps, "e3")
        assert "The document rules was removed." in notes(given)
        await turn(steps, "e4")
        assert len(await steps.bodies("system.message")) == 2
        again = StepRunner(steps.journal, given, steps.agents)
        await turn(again, "e5")
        assert len(await steps.bodies("system.message")) == 2, "nor by a worker that reads the session anew"


async def test_the_model_writes_what_it_knows_and_is_told_what_it_does_not(tmp_path: Path) -> None:
    given = Given(call(name="rules", text="mine", version=1), answer([{"type": "text", "text": "ok"}], "end_turn"))
    async with rig(tmp_path, model=given, memory=MEMORY) as steps:
        await put(steps, "rules", "one")
        await turn(steps, "e0")
        [kept] = await steps.journal.documents("acme", ["rules"])
        assert (kept.text, kept.version) == ("mine", 2)
        await turn(steps, "e1")
        assert notes(given) == "", "it is told of no change of its own"
        await put(steps, "rules", "theirs")
        given._answers = [call(name="rules", text="blind", version=2)]
        results = await turn(steps, "e2")
        assert [result.status for result in results] == ["error"]
        said = str(given.requests[-1].messages[-1])
        assert "is at version 3" in said
        assert "theirs" in said
        [kept] = await steps.journal.documents("acme", ["rules"])
        assert kept.text == "theirs"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"name": "other", "text": "x", "version": 0}, "none of your documents"),
        ({"name": "notes:é", "text": "x", "version": 0}, "does not match"),
        ({"name": "notes:a", "text": "x" * (sizes.DOCUMENT + 1), "version": 0}, "are the most"),
        ({"name": "notes:a", "text": "x", "version": 7}, "does not exist"),
        ({"name": "notes:a", "text": "x", "version": -1}, "does not exist"),
        ({"name": "notes:a", "text": "x"}, "version"),
        ({"name": "notes:a", "text": "x", "version": 2**70}, "does not exist"),
    ],
)
async def test_what_cannot_be_remembered_is_an_error_that_the_model_sees(
    tmp_path: Path, args: dict[str, Any], said: str
) -> None:
    given = Given(call(**args))
    async with rig(tmp_path, model=given, memory=MEMORY) as steps:
        [result] = await turn(steps, "e0")
        assert result.status == "error"
        assert said in str(given.requests[-1].messages[-1])
        assert await steps.journal.listed_documents("acme", ["*"]) == []


async def test_a_call_that_is_tried_again_writes_once(tmp_path: Path) -> None:
    given = Given(call(name="rules", text="mine", version=0))
    async with rig(tmp_path, model=given, memory=MEMORY) as steps:
        made = await steps.ask("e0")
        held = await steps.journal.claim_call(SESSION.turn("e0").step(0, 0), lease=0.01)
        assert await steps.journal.remember(SESSION.turn("e0").step(0, 0), held.token, "rules", "mine", 0) == 1
        [result] = await steps.tools(made, "e0")
        assert result.status == "ok", "its first attempt died behind the write"
        assert [each.version for each in await steps.journal.listed_documents("acme", ["*"])] == [1]


async def test_documents_for_which_there_is_no_room_are_named(tmp_path: Path) -> None:
    given = Given()
    async with rig(tmp_path, model=given, memory=["big:*", "rules"]) as steps:
        for n in range(4):
            await put(steps, f"big:{n}", f"{n}" * sizes.DOCUMENT)
        await put(steps, "rules", "small")
        await turn(steps, "e0")
        system = given.requests[-1].system
        assert len(system.encode()) < sizes.MEMORY + 4_000
        assert "no room to show these: big:2, big:3" in system or "no room to show these: big:2, big:3, rules" in system
        for n in range(60):
            await put(steps, f"big:x{n}", "y")
        await turn(steps, "e1")
        assert len(notes(given).encode()) < sizes.MEMORY + 8_000


async def test_an_agent_that_gains_a_memory_tells_its_open_sessions(tmp_path: Path) -> None:
    given = Given()
    async with rig(tmp_path, model=given) as steps:
        await put(steps, "rules", "No refunds.")
        await turn(steps, "e0")
        assert "No refunds." not in given.requests[-1].system
        grown = dataclasses.replace(steps.agents[0], memory=MEMORY)
        later = StepRunner(steps.journal, given, [grown])
        await turn(later, "e1")
        assert "No refunds." in notes(given)
        assert "remember" in [each["name"] for each in given.requests[-1].tools]
        without = StepRunner(steps.journal, given, [dataclasses.replace(grown, memory=())])
        await put(steps, "rules", "never told")
        await turn(without, "e2")
        assert "never told" not in str(given.requests[-1].messages)


async def test_an_agent_without_a_memory_has_no_tool_for_it_and_reads_nothing(tmp_path: Path) -> None:
    given = Given()
    async with rig(tmp_path, model=given) as steps:
        await put(steps, "rules", "x")
        await turn(steps, "e0")
        assert given.requests[-1].system == "Be brief."
        assert not given.requests[-1].tools
        [body] = await steps.bodies("session.started")
        assert "memory" not in body


async def test_a_summary_that_loses_what_was_told_has_it_told_again(tmp_path: Path) -> None:
    given, words = Given(), "word " * 400
    compaction = Compaction(window=12_000)
    async with rig(tmp_path, model=given, memory=MEMORY, max_tokens=1_000, compaction=compaction) as steps:
        await put(steps, "rules", "frozen")
        await turn(steps, "e0")
        await put(steps, "rules", "told later")
        n = 0
        while not await steps.bodies("session.compacted"):
            n += 1
            await turn(steps, f"e{n}", f"{n}: {words}")
        assert "frozen" in given.requests[-1].system
        assert str(given.requests[-1].messages).count("told later") == 1
        for again in range(n + 1, n + 4):
            await turn(steps, f"e{again}", "short")
            assert str(given.requests[-1].messages).count("told later") == 1
        cold = StepRunner(steps.journal, given, steps.agents)
        await turn(cold, "last")
        assert str(given.requests[-1].messages).count("told later") == 1


async def test_a_fork_has_its_parents_frozen_memory_and_is_told_of_what_came_since(tmp_path: Path) -> None:
    given = Given()
    async with rig(tmp_path, model=given, memory=MEMORY) as steps:
        await put(steps, "rules", "frozen")
        await turn(steps, "e0")
        await steps.journal.fork(SESSION, "fork")
        await put(steps, "rules", "since")
        await turn(steps.of(FORK), "f0")
        assert "frozen" in given.requests[-1].system
        assert "since" in notes(given)


@pytest.mark.parametrize("memory", ["rules", [3], ["a b"], [""], ["*a"], ["a**"], 7, [None], ["x" * 129], ["n"] * 51])
def test_a_memory_that_is_none_is_refused_where_it_is_declared(memory: Any) -> None:
    with pytest.raises(ValueError, match="memory="):
        Agent("a", model="m", instructions="", memory=memory)


def test_a_tool_of_the_same_name_is_refused() -> None:
    @tool
    def remember(text: str) -> str:
        """Another one."""
        return text

    with pytest.raises(ValueError, match="more than one tool named remember"):
        Agent("a", model="m", instructions="", memory=["rules"], tools=[remember])
    assert Agent("a", model="m", instructions="", tools=[remember]).tool("remember")

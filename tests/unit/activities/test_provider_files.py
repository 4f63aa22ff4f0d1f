"""A file that the provider keeps may be any tenant's: no id of one gets to the model, whichever way it came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from inturn.decoding import Undecodable, decode, read_event
from inturn.errors import InvalidEvent
from inturn.events import make_event
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import ScriptedModel, ToolCall
from inturn.tools import tool
from inturn.turns.blocks import are_blocks, content_blocks
from inturn.values import Usage
from inturn_activities.messages import Decision
from tests.support.steps import SESSION, StepRunner, rig

pytestmark = pytest.mark.promise("ISO-1")

OTHERS = "file_of_another_tenant"
FILE = {"type": "file", "file_id": OTHERS}
DOCUMENT = {"type": "document", "source": FILE}
IMAGE = {"type": "image", "source": FILE}
NESTED = {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "see"}, IMAGE]}}
NAMED = [[DOCUMENT], [IMAGE], [NESTED], [{"type": "text", "text": "see"}, {**DOCUMENT, "title": "mine"}]]


def _told(run: StepRunner) -> str:
    assert isinstance(run.model, ScriptedModel)
    return json.dumps([request.messages for request in run.model.requests])


def _opens(value: Any) -> bool:
    """Whether the API would open a file that this names; in a string it is words."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value == FILE or any(map(_opens, items))


@pytest.mark.parametrize("content", NAMED)
def test_an_event_that_names_one_is_refused_before_it_is_sent(content: list[Any]) -> None:
    with pytest.raises(InvalidEvent, match="a file id may be any tenant's") as error:
        make_event(event_id="e1", content=content)
    assert OTHERS not in str(error.value)


@pytest.mark.parametrize("content", NAMED)
def test_one_that_another_sdk_sends_is_no_event(content: list[Any]) -> None:
    data = to_json({"event_id": "e1", "content": content})
    with pytest.raises(Undecodable, match="a file id may be any tenant's") as error:
        read_event(decode([RawValue(Payload(data=data, metadata={"encoding": b"json/plain"}))], len(data)))
    assert error.value.event_id == "e1"


@pytest.mark.parametrize("content", NAMED)
async def test_a_content_that_somebody_put_into_the_journal_names_none(tmp_path: Path, content: list[Any]) -> None:
    async with rig(tmp_path, ["ok", "ok"]) as run:
        claim = await run.journal.put_content(SESSION, "e1", {"content": content})
        event = {"event_id": "e1", "claim": claim, "preview": ""}
        assert (await run.ask("e1", event=event)).stop == "end_turn"
        await run.ask("e2")
        assert OTHERS not in _told(run)
        assert "it cannot be shown" in _told(run)


@pytest.mark.parametrize("content", NAMED)
async def test_a_message_that_joins_names_none(tmp_path: Path, content: list[Any]) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        await run.ask("e1", joined=[{"event_id": "e2", "content": content}])
        assert OTHERS not in _told(run)


@pytest.mark.parametrize("content", NAMED)
@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_tools_result_shows_none_and_says_what_it_returned(
    tmp_path: Path, content: list[Any], wrapped: bool
) -> None:
    @tool
    async def read() -> Any:
        """Read, as from a server of the tool's that anybody may run."""
        return {"content": content, "isError": False} if wrapped else content

    async with rig(tmp_path, [[ToolCall("read")], "done"], tools=[read]) as run:
        await run.tools(await run.ask())
        await run.ask(step=1)
        assert isinstance(run.model, ScriptedModel)
        [result] = run.model.requests[-1].messages[-1]["content"]
        assert isinstance(result["content"], str) or not _opens(result["content"])


async def test_what_a_person_says_of_a_call_that_is_unknown_shows_none(tmp_path: Path) -> None:
    assert not are_blocks([DOCUMENT])
    assert not are_blocks([NESTED, {"type": "image", "source": FILE}])
    assert content_blocks([NESTED])[0]["source"]["content"][1]["type"] == "text"


class _Answers:
    """A model that answers with blocks of its own, and keeps what it was asked."""

    def __init__(self, content: list[dict[str, Any]]) -> None:
        self.content = content
        self.asked = ""

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        self.asked = json.dumps(request.messages)
        return ModelMessage(content=self.content, stop_reason="end_turn", usage=Usage(), model="m")

    async def aclose(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("content", NAMED)
async def test_an_answer_of_the_model_shows_none(tmp_path: Path, content: list[Any]) -> None:
    model = _Answers([{"type": "text", "text": "see"}, *content, {"type": "container_upload", "file_id": OTHERS}])
    async with rig(tmp_path, model=model) as run:
        await run.ask("e1")
        await run.ask("e2")
        assert OTHERS not in model.asked


@pytest.mark.parametrize("content", NAMED)
async def test_a_parked_event_that_is_driven_again_shows_none(tmp_path: Path, content: list[Any]) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        body = {"turn": "e1", "error": "late", "event": {"event_id": "e1", "content": content}}
        await run.record(Decision(type="event.parked", turn="e1", key="e1/parked", disposition="parked", body=body))
        await run.ask("e1~1", event=None)
        assert OTHERS not in _told(run)


@pytest.mark.parametrize("depth", [90, 600])
def test_blocks_within_each_other_are_looked_into_no_deeper_than_any_can_be_sent(depth: int) -> None:
    block: dict[str, Any] = DOCUMENT
    for _ in range(depth):
        block = {"type": "document", "source": {"type": "content", "content": [block]}}
    with pytest.raises(InvalidEvent):
        make_event(event_id="e1", content=[block])
    assert OTHERS not in json.dumps(content_blocks([block]))

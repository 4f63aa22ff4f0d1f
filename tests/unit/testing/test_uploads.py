"""Tests that show what was uploaded: by the journal's rules, in memory."""

from __future__ import annotations

from typing import Any

import pytest

from inturn import Agent, tool
from inturn.errors import InvalidEvent
from inturn.testing import ScriptedModel, ToolCall, Uploads, run
from tests.support.media import block, pdf, png

AGENT = Agent("a", model="m", instructions="")


async def test_a_turn_shows_what_the_test_uploaded_and_the_next_one_still_does() -> None:
    uploads, messages = Uploads(), list[dict[str, Any]]()
    ref = await uploads.upload(pdf(), "application/pdf")
    for n in range(2):
        model = ScriptedModel(["paid"])
        content: Any = [block(ref), block("sha256:" + "f" * 64)] if n == 0 else "sure?"
        turn = await run(AGENT, content, model=model, messages=messages, uploads=uploads)
        assert turn.text == "paid"
        shown, unknown = model.requests[0].messages[0]["content"]
        assert shown["source"]["type"] == "base64"
        assert "nothing was uploaded" in unknown["text"]


async def test_a_tool_may_refer_to_it() -> None:
    uploads = Uploads()
    ref = await uploads.upload(png(), "image/png")

    @tool
    def draw() -> list[dict[str, Any]]:
        """Draw."""
        return [block(ref, "image")]

    model = ScriptedModel([ToolCall("draw"), "done"])
    await run(Agent("a", model="m", instructions="", tools=[draw]), "draw", model=model, uploads=uploads)
    [result] = model.requests[1].messages[-1]["content"]
    assert result["content"][0]["source"]["media_type"] == "image/png"


@pytest.mark.parametrize(
    ("data", "media_type"),
    [(b"", "text/plain"), (b"a", "text"), (b"a", "text/plain\n"), ("a", "text/plain"), (b"a", 7), (None, "text/plain")],
)
async def test_what_is_no_upload_is_refused(data: Any, media_type: Any) -> None:
    with pytest.raises(InvalidEvent):
        await Uploads().upload(data, media_type)


async def test_too_much_is_refused() -> None:
    with pytest.raises(InvalidEvent, match=r"1 to 20,971,520"):
        await Uploads().upload(b"a" * (20 * 2**20 + 1), "text/plain")

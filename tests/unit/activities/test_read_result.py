"""A result that was cut can be read on by the model, piece by piece, and nothing but such a result."""

from __future__ import annotations

import base64
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from inturn import Agent, tool
from inturn.errors import ToolError
from inturn.journal import Journal
from inturn.keys import SessionKey
from inturn.testing import ToolCall, context, run
from inturn.tools.read_result import PIECE, READ_RESULT
from tests.support.media import png
from tests.support.steps import SESSION, rig

TEXT = "".join(f"line {n} grün\n" for n in range(5_000))


@tool
async def report() -> str:
    """Report."""
    return TEXT


async def test_a_model_reads_a_cut_result_to_its_end() -> None:
    pieces, offsets = list[str](), list[int]()

    def goes_on(request: Any) -> Any:
        [result] = request.messages[-1]["content"]
        said = result["content"]
        text, _, note = said.rpartition("\n[")
        pieces.append(text)
        if "this is its end" in note:
            return "read"
        ref = "sha256:" + (note.split("sha256:")[1][:64] if "sha256:" in note else refs[0])
        refs.append(ref.removeprefix("sha256:"))
        offset = int(note.split("offset ")[1].split()[0].rstrip("]"))
        offsets.append(offset)
        return ToolCall("read_result", ref=ref, offset=offset)

    refs = list[str]()
    agent = Agent("a", model="m", instructions="", tools=[report])
    turn = await run(agent, "report", script=[ToolCall("report"), *[goes_on] * 20])
    assert turn.text == "read"
    assert "".join(pieces) == TEXT
    assert offsets == sorted(set(offsets))
    assert len(set(refs)) == 1
    assert max(len(piece.encode()) for piece in pieces) <= PIECE


@pytest.mark.promise("EFF-5")
async def test_a_worker_reads_on_and_gives_nothing_else(tmp_path: Path) -> None:
    script = [ToolCall("report"), "done"]
    async with rig(tmp_path, script, tools=[report]) as r:
        await r.tools(await r.ask("e1"))
        [cut] = await r.bodies("agent.tool_result")
        assert f"read_result goes on at offset {len(cut['text'].rpartition(chr(10) + '[')[0].encode())}" in cut["text"]
        others = await r.journal.put_blob(SessionKey("acme", "s2"), b"of another session")
        uploaded = await r.journal.put_upload("acme", b"a text", "text/plain")
        for ref, offset, said in [
            (cut["ref"], 5_000, TEXT.encode()[5_000:5_100].decode(errors="ignore")),
            (cut["ref"], len(TEXT.encode()) - 3, "[this is its end]"),
            (cut["ref"], len(TEXT.encode()), "the offset lies outside"),
            (cut["ref"], -1, "the offset lies outside"),
            (others, 0, "no result of this session"),
            (uploaded, 0, "no result of this session"),
            ("nonsense\0", 0, "no result of this session"),
        ]:
            found = await r.journal.result(SESSION, ref)
            result = await _call(r.journal, ref, offset)
            assert said in result
            assert (found is not None) == (ref == cut["ref"])


async def _call(journal: Journal, ref: str, offset: int) -> str:
    made = context(_result=partial(journal.result, SESSION))
    try:
        return str(await READ_RESULT.fn(ref=ref, offset=offset, ctx=made))
    except ToolError as error:
        return str(error)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
async def test_no_character_is_lost_between_two_pieces(width: int) -> None:
    character = {1: "a", 2: "ü", 3: "€", 4: "😀"}[width]
    data = (" " + character * PIECE).encode()

    async def result(ref: str) -> bytes:
        return data

    said, offset = "", 0
    while True:
        text, _, note = (await READ_RESULT.fn(ref="r", offset=offset, ctx=context(_result=result))).rpartition("\n[")
        said += text
        if "end" in note:
            break
        offset = int(note.split("offset ")[1].rstrip("]"))
    assert said.encode() == data


async def test_an_agent_without_tools_has_none_and_one_of_its_own_by_that_name_stands() -> None:
    @tool
    def read_result(ref: str) -> str:
        """Mine."""
        return "mine"

    none = Agent("a", model="m", instructions="")
    own = Agent("a", model="m", instructions="", tools=[read_result])
    with_it = Agent("a", model="m", instructions="", tools=[report])
    assert none.manifest()["tools"] == []
    assert [each["description"] for each in own.manifest()["tools"]] == ["Mine."]
    assert [each["name"] for each in with_it.manifest()["tools"]] == ["read_result", "report"]
    assert [each.name for each in with_it.tools] == ["report"]


async def test_a_picture_too_large_for_an_entry_is_kept_beside_it_and_shown_all_the_same(tmp_path: Path) -> None:
    data = png(size=2 * 2**20)

    @tool
    async def draw() -> list[dict[str, Any]]:
        """Draw."""
        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(data).decode()}
        return [{"type": "text", "text": "here"}, {"type": "image", "source": source}]

    async with rig(tmp_path, [ToolCall("draw"), "seen"], tools=[draw]) as r:
        await r.tools(await r.ask("e1"))
        await r.ask("e1", step=1)
        [body] = await r.bodies("agent.tool_result")
        source = body["content"][1]["source"]
        assert (source["type"], source["size"]) == ("inturn", len(data))
        [result] = r.model.requests[1].messages[-1]["content"]  # type: ignore[attr-defined]
        assert result["content"][1]["source"]["data"] == base64.b64encode(data).decode()

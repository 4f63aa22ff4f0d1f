"""What is shown by reference: the model gets its bytes, with every request, and nobody else's."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from inturn.decoding import Undecodable, decode, read_event
from inturn.errors import InvalidEvent, ModelError
from inturn.events import make_event
from inturn.journal.log import uploads
from inturn.keys import SessionKey
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.sizes import SHOWN, UPLOAD
from inturn.testing import ScriptedModel, ToolCall
from inturn.testing.claude import Reply
from inturn.tools import tool
from inturn.values import Usage
from inturn_activities.references import References
from tests.support.media import block, pdf, png
from tests.support.steps import SESSION, StepRunner, rig
from tests.support.strict import strict

UNKNOWN = "sha256:" + "0" * 64


def asked(r: StepRunner, number: int = -1) -> list[dict[str, Any]]:
    """The messages of a request."""
    assert isinstance(r.model, ScriptedModel)
    return r.model.requests[number].messages


def shows(data: bytes, media_type: str, kind: str = "document") -> dict[str, Any]:
    source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
    return {"type": kind, "source": source}


async def test_a_model_gets_what_was_uploaded_with_every_request_that_follows(tmp_path: Path) -> None:
    async with rig(tmp_path, ["one", "two"]) as r:
        image = await r.journal.put_upload("acme", png(), "image/png")
        document = await r.journal.put_upload("acme", pdf(2), "application/pdf")
        words = await r.journal.put_upload("acme", "grün".encode(), "text/x-told")
        content = [{"type": "text", "text": "see"}, block(image, "image"), block(document), block(words)]
        content[2]["title"] = "a bill"
        await r.ask("e1", content)
        said = asked(r)[0]["content"]
        assert said[0] == {"type": "text", "text": "see"}
        assert said[1] == shows(png(), "image/png", "image")
        assert said[2] == shows(pdf(2), "application/pdf") | {"title": "a bill"}
        assert said[3]["source"] == {"type": "text", "media_type": "text/plain", "data": "grün"}
        await r.ask("e2", "and?")
        assert asked(r)[0]["content"] == said
        [entry, _] = await r.bodies("user.message")
        assert len(json.dumps(entry)) < 1_000


async def test_another_worker_sends_the_same_bytes(tmp_path: Path) -> None:
    async with rig(tmp_path, ["one"]) as first:
        ref = await first.journal.put_upload("acme", pdf(), "application/pdf")
        await first.ask("e1", [block(ref)])
        before = asked(first)
    async with rig(tmp_path, ["two"]) as second:
        await second.ask("e2", "and?")
        assert asked(second)[0] == before[0]


async def test_an_unknown_reference_costs_a_note_and_no_turn(tmp_path: Path) -> None:
    async with rig(tmp_path, ["one", "two"]) as r:
        assert (await r.ask("e1", [block(UNKNOWN, "image")])).stop == "end_turn"
        [said] = asked(r)[0]["content"]
        assert said["text"].startswith("[image: nothing was uploaded under this reference")
        assert (await r.ask("e2", "and?")).stop == "end_turn"
        assert asked(r)[0]["content"] == [said]


async def test_a_result_may_refer_too(tmp_path: Path) -> None:
    refs = list[str]()

    @tool
    async def chart() -> list[dict[str, Any]]:
        """Draw."""
        return [{"type": "text", "text": "here"}, block(refs[0], "image"), block(UNKNOWN, "image")]

    async with rig(tmp_path, [ToolCall("chart"), "seen"], tools=[chart]) as r:
        refs.append(await r.journal.put_upload("acme", png(), "image/png"))
        await r.tools(await r.ask("e1"))
        await r.ask("e1", step=1)
        [result] = asked(r)[-1]["content"]
        assert result["content"][:2] == [{"type": "text", "text": "here"}, shows(png(), "image/png", "image")]
        assert "nothing was uploaded" in result["content"][2]["text"]


@pytest.mark.parametrize("ref", ["", "sha256:", "sha256:" + "A" * 64, f"{UNKNOWN}\n", None, 7, ["sha256:"], "file_1"])
def test_what_can_be_no_reference_is_no_event(ref: Any) -> None:
    nested = {"type": "document", "source": {"type": "content", "content": [block(ref, "image")]}}
    for content in ([block(ref)], [nested]):
        with pytest.raises(InvalidEvent, match=r"as Client\.upload returns it"):
            make_event(event_id="e1", content=content)
        data = to_json({"event_id": "e1", "content": content})
        sent = [RawValue(Payload(data=data, metadata={"encoding": b"json/plain"}))]
        with pytest.raises(Undecodable, match="a reference is sha256"):
            read_event(decode(sent, len(data)))


class Strict:
    """Refuses a request that is larger than the API takes, or holds anything but what it takes."""

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        self.requests.append(request)
        said = json.dumps(request.messages)
        assert '"inturn"' not in said
        if len(said) > 32_000_000:
            raise ModelError("request_too_large", kind="own")
        if (count := said.count('"type": "image"')) > 100:
            raise ModelError(f"messages: too many images: {count} > 100 maximum", kind="own")
        return ModelMessage([{"type": "text", "text": "seen"}], "end_turn", Usage(input_tokens=10), "m")


async def test_what_was_shown_long_ago_is_left_out_before_it_is_too_much_in_bytes(tmp_path: Path) -> None:
    model = Strict()
    async with rig(tmp_path, model=model) as r:
        for n in range(9):
            ref = await r.journal.put_upload("acme", pdf(2, size=4 * 2**20 + n), "application/pdf")
            assert (await r.ask(f"e{n}", [{"type": "text", "text": f"page {n}"}, block(ref)])).stop == "end_turn"
        assert len(model.requests) == 9, "none was refused"
        first, *_ = model.requests[-1].messages
        assert first["content"] == [{"type": "text", "text": "page 0"}, {"type": "text", "text": "(left out)"}]
        assert model.requests[-1].messages[-1]["content"][-1]["type"] == "document"
        found = await r.bodies("transcript.doubted")
        assert len(found) == 2, "much at once, and seldom"
        kept = model.requests[-1].messages
    async with rig(tmp_path, model=Strict()) as other:
        await other.ask("e9", "and?")
        assert isinstance(other.model, Strict)
        assert other.model.requests[-1].messages[: len(kept)] == kept


async def test_what_was_shown_long_ago_is_left_out_before_it_is_too_many(tmp_path: Path) -> None:
    model = Strict()
    async with rig(tmp_path, model=model, max_tokens=1_000) as r:
        ref = await r.journal.put_upload("acme", png(), "image/png")
        for n in range(8):
            assert (await r.ask(f"e{n}", [block(ref, "image")] * 20)).stop == "end_turn"
        assert len(model.requests) == 8
        assert "(left out)" in json.dumps(model.requests[-1].messages)


async def test_of_a_result_only_what_it_shows_is_left_out(tmp_path: Path) -> None:
    refs = list[str]()

    @tool
    async def chart() -> list[dict[str, Any]]:
        """Draw."""
        return [{"type": "text", "text": "the words stay"}, *[block(refs[0], "image")] * 60]

    async with rig(tmp_path, [ToolCall("chart"), "seen", "more"], tools=[chart], compaction=None) as r:
        refs.append(await r.journal.put_upload("acme", png(), "image/png"))
        await r.tools(await r.ask("e1"))
        await r.ask("e1", step=1)
        await r.ask("e2", [block(refs[0], "image")] * 60)
        [result] = next(m for m in asked(r) if m["content"][0]["type"] == "tool_result")["content"]
        assert result["content"][0] == {"type": "text", "text": "the words stay"}
        assert {item["text"] for item in result["content"][1:]} == {"(left out)"}


async def test_an_event_that_shows_too_much_by_itself_fails_alone_and_takes_nothing_from_others(tmp_path: Path) -> None:
    model = Strict()
    async with rig(tmp_path, model=model) as r:
        small = await r.journal.put_upload("acme", png(), "image/png")
        large = [await r.journal.put_upload("acme", pdf(n, size=UPLOAD - n), "application/pdf") for n in (1, 2)]
        await r.ask("e1", [block(small, "image")])
        with pytest.raises(Exception, match="too large"):
            await r.ask("e2", [block(ref) for ref in large])
        assert await r.bodies("transcript.doubted") == []
        await r.record(settle=["e2"])
        assert (await r.ask("e3", [block(large[0])])).stop == "end_turn", "one alone is taken"
        assert "(left out)" not in json.dumps(model.requests[-1].messages)
        assert UPLOAD * 4 // 3 < SHOWN


async def test_what_is_kept_in_memory_is_bounded_and_counted(tmp_path: Path) -> None:
    async with rig(tmp_path, []) as r:
        kept, other = References(r.journal, size=25), SessionKey("acme", "s2")
        refs = [await r.journal.put_upload("acme", bytes([65 + n]) * 10, "text/plain") for n in range(4)]
        body = {"content": [block(ref) for ref in refs]}
        await r.journal._store.write(lambda tx: uploads.settled(tx, SESSION, body))
        for ref in [*refs, refs[0], refs[3]]:
            assert await kept.load(SESSION, ref) is not None
        assert sum(map(len, kept._kept.values())) == 20
        assert kept._left == 5
        assert await kept.load(other, refs[3]) is None, "another session does not say it"
        assert await kept.load(SESSION, UNKNOWN) is None


@pytest.mark.promise("MOD-1", "MOD-8")
async def test_the_api_refuses_nothing_of_a_conversation_that_has_shown_more_than_it_takes(tmp_path: Path) -> None:
    thought = {"type": "thinking", "thinking": "hm"}
    async with strict(tmp_path) as r:
        ref = await r.steps.journal.put_upload("acme", png(), "image/png")
        for n in range(5):
            r.server.script(Reply(content=[thought, {"type": "text", "text": f"seen {n}"}]))
            assert await r.turn(f"e{n}", [*[block(ref, "image")] * 250, {"type": "text", "text": "?"}]) == "end_turn"
        assert [request.error for request in r.server.requests if request.outcome == "rejected"] == []
        kinds = [{item["type"] for item in message["content"]} for message in r.sent if message["role"] == "user"]
        assert kinds[0] == {"text"}, "the oldest are left out"
        assert kinds[-1] == {"image", "text"}
        assert len(await r.steps.bodies("transcript.doubted")) >= 2

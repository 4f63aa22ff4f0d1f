"""A committed part that the API takes no more is found, named and left out; nothing else ever is."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import Agent, names
from inturn.errors import ModelError
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import Fault, ToolCall
from inturn.testing.claude.script import Reply
from inturn.tools import tool
from inturn.turns.doubts import MAX_REFUSALS, is_about_size
from inturn.turns.pictures import longest_side
from inturn_activities.bounds import Bounds
from inturn_activities.messages import Decision
from tests.support.steps import SESSION, StepRunner, rig
from tests.support.strict import MODEL, StrictRig, answer, strict

pytestmark = pytest.mark.promise("MOD-8")

URL = "https://pictures.example/{}.png"


def picture(n: int = 0) -> list[dict[str, Any]]:
    return [
        {"type": "text", "text": f"look at {n}"},
        {"type": "image", "source": {"type": "url", "url": URL.format(n)}},
    ]


def refusals(r: StrictRig) -> int:
    return sum(request.outcome == "rejected" for request in r.server.requests)


async def asked_again(r: StepRunner, event_id: str) -> int:
    """Ask until there is an answer, as Temporal does; gives the attempts."""
    for attempt in range(1, 4):
        with contextlib.suppress(ApplicationError):
            await r.ask(event_id, attempt=attempt)
            return attempt
    raise AssertionError("there is no answer")


def cold(r: StrictRig) -> StrictRig:
    """Return a worker that has read nothing."""
    return StrictRig(r.server, StepRunner(r.steps.journal, r.steps.model, r.steps.agents))


async def test_a_picture_that_is_gone_is_left_out_and_the_session_goes_on(tmp_path: Path) -> None:
    async with strict(tmp_path) as r:
        assert await r.turn("e0", "remember 7") == "end_turn"
        assert await r.turn("e1", picture()) == "end_turn"
        assert await r.turn("e2", "and?") == "end_turn"
        r.server.gone(URL.format(0))
        assert await r.turn("e3", "what was it?") == "end_turn"
        assert 2 <= refusals(r) <= 4
        [doubted] = await r.steps.entries("transcript.doubted")
        [said] = [e for e in await r.steps.entries("user.message") if e.event_id == "e1"]
        assert doubted.body["seqs"] == [said.seq]
        assert "download" in doubted.body["why"]
        answered = (await r.steps.bodies("agent.message"))[-1]
        assert answered["left_out"] == [said.seq]
        before = refusals(r)
        assert await r.turn("e4") == "end_turn"
        warm = r.sent
        assert await cold(r).turn("e5") == "end_turn"
        assert refusals(r) == before, "what was found is left out by every worker"
        assert r.sent[: len(warm)] == warm
        text = json.dumps(warm)
        assert "remember 7" in text
        assert "look at 0" in text
        assert URL.format(0) not in text


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "hm", "signature": "bm90aGluZw=="},
        {"type": "redacted_thinking", "data": "of another"},
    ],
)
async def test_thinking_that_is_not_taken_back_is_left_out_alone(tmp_path: Path, block: dict[str, Any]) -> None:
    async with strict(tmp_path) as r:
        r.server.script(Reply(content=[block, {"type": "text", "text": "seven"}]))
        assert await r.turn("e1", "which?") == "end_turn"
        assert await r.turn("e2") == "end_turn"
        [doubted] = await r.steps.bodies("transcript.doubted")
        assert doubted["blocks"] == []
        before = refusals(r)
        assert await r.turn("e3") == "end_turn"
        assert refusals(r) == before
        assert "seven" in json.dumps(r.sent)


async def test_a_tools_picture_that_is_gone_leaves_its_call_with_a_result(tmp_path: Path) -> None:
    @tool
    async def show() -> list[dict[str, Any]]:
        """Show."""
        return picture(1)[1:]

    async with strict(tmp_path, tools=[show]) as r:
        r.server.script([ToolCall("show")])
        assert await r.turn("e1") == "end_turn"
        r.server.gone(URL.format(1))
        assert await r.turn("e2") == "end_turn"
        [result] = [b for m in r.sent for b in m["content"] if b["type"] == "tool_result"]
        assert result["content"] == "(left out)"
        before = refusals(r)
        assert await r.turn("e3") == "end_turn"
        assert refusals(r) == before


@pytest.mark.parametrize("count", [2, 5])
async def test_many_that_are_gone_at_once_are_found_in_bounded_steps(tmp_path: Path, count: int) -> None:
    async with strict(tmp_path) as r:
        for n in range(count):
            assert await r.turn(f"e{n}", picture(n)) == "end_turn"
        r.server.gone(*[URL.format(n) for n in range(count)])
        before = refusals(r)
        attempts = await asked_again(r.steps, "next")
        assert refusals(r) - before <= (MAX_REFUSALS + 2) * attempts
        after = refusals(r)
        assert await r.turn("last") == "end_turn"
        assert refusals(r) == after


async def test_an_event_that_is_refused_by_itself_costs_nothing_of_the_conversation(tmp_path: Path) -> None:
    async with strict(tmp_path) as r:
        r.server.gone(URL.format(9))
        assert await r.turn("e1", "remember 7") == "end_turn"
        assert "download" in await r.turn("bad", picture(9))
        assert refusals(r) == 1
        assert await r.steps.entries("transcript.doubted") == []
        assert await r.turn("e2") == "end_turn"
        assert "remember 7" in json.dumps(r.sent)
        assert refusals(r) == 1


async def test_the_first_event_of_a_session_is_never_a_reason_to_doubt(tmp_path: Path) -> None:
    async with strict(tmp_path) as r:
        r.server.gone(URL.format(9))
        assert "download" in await r.turn("bad", picture(9))
        assert await r.turn("e1") == "end_turn"
        assert await r.steps.entries("transcript.doubted") == []


class Fussy:
    """A model that refuses what it is told to: by a function of the request."""

    def __init__(self, refuses: Any) -> None:
        self.refuses = refuses
        self.requests: list[ModelRequest] = []

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        self.requests.append(request)
        if why := self.refuses(request):
            raise ModelError(why, kind="own")
        return answer([{"type": "text", "text": "fine"}], "end_turn")


async def test_an_agent_that_is_refused_altogether_is_the_accounts_trouble(tmp_path: Path) -> None:
    wrong: list[str] = []
    model = Fussy(lambda request: "400 tools.0.custom.input_schema: bad" if wrong else None)
    async with rig(tmp_path, model=model, agents=[Agent("support", model=MODEL, instructions="")]) as r:
        await r.ask("e1")
        wrong.append("now")
        for attempt in range(1, 5):
            with pytest.raises(ApplicationError) as failed:
                await r.ask("e2", attempt=attempt)
            assert (failed.value.type, failed.value.non_retryable) == (names.ACCOUNT, False)
        assert await r.entries("transcript.doubted") == []
        wrong.clear()
        assert (await r.ask("e2", attempt=5)).stop == "end_turn"


SIZES = [
    "400 invalid_request_error: prompt is too long: 213423 tokens > 200000 maximum",
    "413 request_too_large: Request exceeds the maximum size",
    "400 invalid_request_error: messages: too many images: 101 > 100 maximum",
    "400 messages: at most 100000 messages are allowed",
    "400 input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
]


@pytest.mark.parametrize("why", SIZES)
async def test_what_is_too_much_is_compacted_and_never_doubted(tmp_path: Path, why: str) -> None:
    assert is_about_size(why)
    full: list[str] = []

    def refuses(request: ModelRequest) -> str | None:
        return why if len(request.messages) > 8 and full else None

    async with rig(tmp_path, model=Fussy(refuses)) as r:
        for n in range(4):
            await r.ask(f"e{n}")
        full.append("now")
        assert (await r.ask("next")).stop == "end_turn"
        assert await r.entries("transcript.doubted") == []
        assert [body["by"] for body in await r.bodies("session.compacted")] == ["summary"]
        for n in range(10):
            assert (await r.ask(f"later{n}")).stop == "end_turn", "the session goes on"


async def test_where_even_the_least_is_too_much_the_event_is_set_aside_with_a_clear_error(tmp_path: Path) -> None:
    full: list[str] = []

    def refuses(request: ModelRequest) -> str | None:
        return SIZES[0] if len(request.messages) > 1 and full else None

    async with rig(tmp_path, model=Fussy(refuses)) as r:
        for n in range(4):
            await r.ask(f"e{n}")
        full.append("now")
        with pytest.raises(ApplicationError, match="outgrown the model") as failed:
            await r.ask("next")
        assert failed.value.non_retryable
        assert await r.entries("transcript.doubted") == []


async def test_an_event_that_is_too_much_says_that_it_is(tmp_path: Path) -> None:
    model = Fussy(lambda request: SIZES[0] if "huge" in str(request.messages) else None)
    async with rig(tmp_path, model=model) as r:
        await r.ask("e1")
        with pytest.raises(ApplicationError, match="the event is too large"):
            await r.ask("e2", "huge")
        assert len(model.requests) == 5
        assert await r.entries("session.compacted") == [], "whoever sends too much costs nobody's memory"


async def test_a_named_block_is_found_at_once_however_long_the_conversation_is(tmp_path: Path) -> None:
    def refuses(request: ModelRequest) -> str | None:
        for at, message in enumerate(request.messages):
            for n, block in enumerate(message["content"]):
                if "odd" in str(block) and armed:
                    return f"400 messages.{at}.content.{n}: nobody knows"
        return None

    armed: list[str] = []
    async with rig(tmp_path, model=(model := Fussy(refuses))) as r:
        for n in range(40):
            await r.ask(f"e{n}", "odd" if n == 17 else f"plain {n}")
        armed.append("now")
        before = len(model.requests)
        assert (await r.ask("next")).stop == "end_turn"
        assert len(model.requests) - before <= 5
        sent = str(model.requests[-1].messages)
        assert all(f"plain {n}'" in sent for n in range(40) if n != 17)
        assert "odd" not in sent


@pytest.mark.parametrize("guilty", [{3}, {0, 39}, {11, 12}])
async def test_blocks_that_nothing_names_are_found_by_halves(tmp_path: Path, guilty: set[int]) -> None:
    armed: list[str] = []

    def refuses(request: ModelRequest) -> str | None:
        return "400 nobody knows" if armed and "odd" in str(request.messages) else None

    async with rig(tmp_path, model=(model := Fussy(refuses))) as r:
        for n in range(40):
            await r.ask(f"e{n}", "odd" if n in guilty else f"plain {n}")
        armed.append("now")
        await asked_again(r, "next")
        sent = str(model.requests[-1].messages)
        assert "odd" not in sent
        assert all(f"plain {n}'" in sent for n in range(40) if n not in guilty)


@pytest.mark.promise("EFF-3")
async def test_what_was_found_before_an_outage_is_not_looked_for_again(tmp_path: Path) -> None:
    async with strict(tmp_path) as r:
        assert await r.turn("e1", picture()) == "end_turn"
        r.server.gone(URL.format(0))
        finish, down = r.steps.journal.append, list[int]()

        async def found(*args: Any, **options: Any) -> Any:
            down.append(1)
            r.server.faults(Fault(status=529))
            return await finish(*args, **options)

        r.steps.journal.append = found  # type: ignore[method-assign]
        with pytest.raises(ApplicationError) as failed:
            await r.steps.ask("e2")
        assert failed.value.type == names.OUTAGE
        before = refusals(r)
        assert (await StepRunner(r.steps.journal, r.steps.model, r.steps.agents).ask("e2", attempt=2)).stop
        assert refusals(r) == before
        assert down == [1]
        assert len(await r.steps.entries("transcript.doubted")) == 1
        assert await r.steps.journal.verify(SESSION) == []


@pytest.mark.promise("MOD-9")
@pytest.mark.parametrize(
    "why",
    [
        "400 max_tokens: 200000 > 8192, which is the maximum allowed number of output tokens for m",
        "400 tools: at most 20 strict tools are allowed",
        "400 prompt is too long: 213423 tokens > 200000 maximum",
    ],
)
async def test_an_agent_that_asks_for_too_much_itself_costs_no_event_its_turn(tmp_path: Path, why: str) -> None:
    wrong: list[str] = []
    known = 100

    def refuses(request: ModelRequest) -> str | None:
        return why if wrong and ("max_tokens" not in why or request.max_tokens > known) else None

    async with rig(tmp_path, model=Fussy(refuses), agents=[Agent("support", model="own", instructions="")]) as r:
        await r.ask("e1")
        wrong.append("now")
        for event in ("e2", "e3"):
            with pytest.raises(ApplicationError) as failed:
                await r.ask(event)
            assert (failed.value.type, failed.value.non_retryable) == (names.ACCOUNT, False)
        wrong.clear()
        assert (await r.ask("e2", attempt=2)).stop == "end_turn"


@pytest.mark.parametrize("switches", ["1", "0", "10", "1011", "110", "100"])
async def test_a_picture_that_comes_and_goes_costs_nobody_elses_words(tmp_path: Path, switches: str) -> None:
    """Its owner answers as he likes while the session looks for what is to blame."""
    armed: list[bool] = []

    def refuses(request: ModelRequest) -> str | None:
        if not armed or "coming.png" not in str(request.messages):
            return None
        gone = armed.pop(0) if len(armed) > 1 else armed[0]
        return "400 Could not process image" if gone else None

    mine = [{"type": "image", "source": {"type": "url", "url": "https://pictures.example/coming.png"}}]
    async with rig(tmp_path, model=(model := Fussy(refuses))) as r:
        for n in range(12):
            await r.ask(f"e{n}", mine if n == 9 else f"plain {n}")
        armed += [True, True, *(c == "1" for c in switches), True]
        await asked_again(r, "next")
        sent = str(model.requests[-1].messages)
        assert sent.count("'fine'") == 12, "nor an answer"
        assert all(f"plain {n}'" in sent for n in range(12) if n != 9)


async def test_images_that_are_too_large_among_many_are_left_out_and_the_session_goes_on(tmp_path: Path) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    many: list[str] = []

    def refuses(request: ModelRequest) -> str | None:
        shown = str(request.messages).count("base64")
        return "400 messages: image dimensions exceed max allowed size: 2000 pixels" if many and shown > 20 else None

    async with rig(tmp_path, model=(model := Fussy(refuses))) as r:
        for n in range(40):
            await r.ask(f"e{n}", [{"type": "text", "text": f"plain {n}"}, image])
        many.append("now")
        assert (await r.ask("next")).stop == "end_turn"
        sent = str(model.requests[-1].messages)
        assert all(f"plain {n}'" in sent for n in range(40))
        assert sent.count("base64") == 20
        before = len(model.requests)
        assert (await r.ask("last")).stop == "end_turn"
        assert len(model.requests) == before + 1


@pytest.mark.promise("MOD-9")
async def test_an_event_that_looks_like_the_accounts_trouble_holds_its_session_for_minutes(tmp_path: Path) -> None:
    """Nobody else asks this worker's model: it has to find out itself that the account is well."""

    class Forbidding:
        def __init__(self) -> None:
            self.forbidden = "rare"

        async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
            if self.forbidden in str(request.messages):
                raise ModelError("403 permission_error: that is not for you", kind="account")
            return answer([{"type": "text", "text": "fine"}], "end_turn")

    bounds = Bounds(account_believed=0.0)
    async with rig(tmp_path, model=(model := Forbidding()), bounds=bounds) as r:
        seen = list[str]()
        for attempt in range(1, 20):
            with pytest.raises(ApplicationError) as failed:
                await r.ask("e1", "rare", attempt=attempt)
            seen.append(failed.value.type or "")
            if failed.value.non_retryable:
                break
        assert seen == [*[names.ACCOUNT] * (len(seen) - 1), names.OWN_FAILURE]
        assert 5 <= len(seen) <= 10
        await r.record(Decision(type="turn.failed", turn="e1", key="e1/end", disposition="parked"), settle=["e1"])
        assert (await r.ask("e2", "plain")).stop == "end_turn"
        model.forbidden = "text"  # now nobody is answered: that is the account's, however long it lasts
        fresh = StepRunner(r.journal, model, r.agents, bounds=bounds)  # a worker that has heard nothing yet
        for attempt in range(1, 20):
            with pytest.raises(ApplicationError) as failed:
                await fresh.ask("e4", attempt=attempt)
            assert (failed.value.type, failed.value.non_retryable) == (names.ACCOUNT, False)


def _shown(n: int, side: int, *, kind: str = "png", more: int = 20) -> dict[str, Any]:
    """A picture of so many pixels; each is another one."""
    head = {
        "png": b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", side, 10),
        "gif": b"GIF89a" + struct.pack("<HH", min(side, 65_535), 10),
        "jpeg": b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + struct.pack(">HH", 10, side),
        "webp": b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + (side - 1).to_bytes(3, "little") + b"\x09\0\0",
    }[kind]
    data = base64.b64encode(head + f" {n}".encode() + b"\0" * more).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": f"image/{kind}", "data": data}}


def _refused_for_pixels(request: ModelRequest, most: int, most_of_many: int = 2_000) -> str | None:
    sides = [longest_side(block) for message in request.messages for block in _pictures(message["content"])]
    limit = most if len(sides) <= 20 else most_of_many
    return (
        f"400 messages: image dimensions exceed max allowed size: {limit} pixels"
        if max(sides, default=0) > limit
        else None
    )


def _pictures(blocks: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for block in blocks if isinstance(blocks, list) else []:
        found += [block] if block["type"] == "image" else _pictures(block.get("content"))
    return found


@pytest.mark.parametrize("kind", ["png", "gif", "jpeg", "webp"])
def test_how_large_a_picture_is_stands_in_its_first_bytes(kind: str) -> None:
    assert longest_side(_shown(1, 9_000, kind=kind)) == 9_000
    result = {
        "type": "tool_result",
        "content": [{"type": "text", "text": "x"}, _shown(1, 50), _shown(2, 700, kind=kind)],
    }
    assert longest_side(result) == 700
    assert longest_side({"type": "text", "text": "x"}) == 0


@pytest.mark.parametrize(
    ("count", "large"),
    [(4, {3: 9_000}), (4, {0: 9_000}), (15, {7: 9_000, 11: 12_000}), (30, {17: 3_000}), (30, {4: 9_000, 22: 2_500})],
)
async def test_the_pictures_that_are_too_large_are_left_out_and_no_other(
    tmp_path: Path, count: int, large: dict[int, int]
) -> None:
    armed: list[str] = []
    model = Fussy(lambda request: _refused_for_pixels(request, 8_000) if armed else None)
    async with rig(tmp_path, model=model) as r:
        for n in range(count):
            await r.ask(f"e{n}", [{"type": "text", "text": f"plain {n}"}, _shown(n, large.get(n, 40))])
        armed.append("now")
        await asked_again(r, "next")
        sent = model.requests[-1].messages
        left = [longest_side(picture) for message in sent for picture in _pictures(message["content"])]
        assert left == [40] * (count - len(large))
        assert all(f"plain {n}'" in str(sent) for n in range(count))
        before = len(model.requests)
        assert (await r.ask("last")).stop == "end_turn"
        assert len(model.requests) == before + 1


@pytest.mark.parametrize("where", ["old", "last"])
async def test_a_large_picture_of_a_tools_costs_its_result_alone(tmp_path: Path, where: str) -> None:
    sides = iter([9_000, 40] if where == "old" else [40, 9_000])

    @tool
    async def show() -> list[dict[str, Any]]:
        """Show."""
        return [{"type": "text", "text": "see"}, _shown(1, next(sides))]

    armed: list[str] = []
    fussy = Fussy(lambda request: _refused_for_pixels(request, 8_000) if armed else None)
    made = fussy.respond

    async def respond(request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        await made(request, on_delta)
        if "call it" in str(request.messages[-1]):
            return answer([{"type": "tool_use", "id": f"t{len(request.messages)}", "name": "show", "input": {}}])
        return answer([{"type": "text", "text": "fine"}], "end_turn")

    fussy.respond = respond  # type: ignore[method-assign]
    async with rig(tmp_path, model=fussy, tools=[show]) as r:
        await r.ask("e0", [{"type": "text", "text": "mine"}, _shown(0, 40)])
        for event_id in ("e1", "e2"):
            await r.tools(await r.ask(event_id, "call it"), event_id)
            assert (await r.ask(event_id, step=1)).stop == "end_turn"
        armed.append("now")
        await asked_again(r, "next")
        sent = fussy.requests[-1].messages
        assert [longest_side(p) for message in sent for p in _pictures(message["content"])] == [40, 40]


def _by_url(n: int) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "url", "url": URL.format(n)}}


@pytest.mark.parametrize("guilty", [{2}, {1, 6}])
async def test_a_picture_elsewhere_that_has_grown_is_left_out_and_no_other(tmp_path: Path, guilty: set[int]) -> None:
    grown: list[int] = []
    why = "400 messages: image dimensions exceed max allowed size: 8000 pixels"
    model = Fussy(lambda request: why if any(URL.format(n) in str(request.messages) for n in grown) else None)
    async with rig(tmp_path, model=model) as r:
        for n in range(9):
            shown = _by_url(n) if n < 7 else _shown(n, 1_000 * n)
            await r.ask(f"e{n}", [{"type": "text", "text": f"plain {n}"}, shown])
        grown += sorted(guilty)
        await asked_again(r, "next")
        sent = str(model.requests[-1].messages)
        assert [n for n in range(7) if URL.format(n) not in sent] == sorted(guilty)
        assert sent.count("base64") == 2


def _paper(n: int, pages: int) -> dict[str, Any]:
    data = base64.b64encode(f"%PDF {n} ".encode() + b"/Type /Page " * pages).decode()
    return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}


@pytest.mark.parametrize("papers", [{0: 200, 1: 5, 2: 5}, {0: 5, 1: 5, 2: 200, 3: 5}, {0: 5, 1: 150, 2: 5, 3: 200}])
async def test_a_document_that_is_too_long_is_left_out_and_no_other(tmp_path: Path, papers: dict[int, int]) -> None:
    armed: list[str] = []

    def refuses(request: ModelRequest) -> str | None:
        found = sum(papers[n] for n in papers if _paper(n, papers[n])["source"]["data"] in str(request.messages))
        return (
            f"400 messages: A maximum of 100 PDF pages may be provided. Found {found}."
            if armed and found > 100
            else None
        )

    async with rig(tmp_path, model=(model := Fussy(refuses)), compaction=None) as r:
        for n, pages in papers.items():
            await r.ask(f"e{n}", [{"type": "text", "text": f"plain {n}"}, _paper(n, pages)])
        armed.append("now")
        await asked_again(r, "next")
        sent = str(model.requests[-1].messages)
        assert [n for n in papers if _paper(n, papers[n])["source"]["data"] in sent] == [
            n for n in papers if papers[n] == 5
        ]


async def test_a_picture_of_too_many_bytes_is_left_out_and_no_other(tmp_path: Path) -> None:
    armed: list[str] = []
    why = "400 messages: image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes"
    model = Fussy(lambda request: why if armed and "AAAA" * 6_000 in str(request.messages) else None)
    async with rig(tmp_path, model=model) as r:
        for n in range(6):
            image = _shown(n, 40, more=20_000 if n == 3 else n)
            await r.ask(f"e{n}", [{"type": "text", "text": f"plain {n}"}, image])
        armed.append("now")
        await asked_again(r, "next")
        sent = model.requests[-1].messages
        assert len([p for message in sent for p in _pictures(message["content"])]) == 5
        assert "AAAA" * 6_000 not in str(sent)

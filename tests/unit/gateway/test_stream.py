"""The event stream: every entry once, wherever it was cut; previews beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from inturn.journal import Journal, NewEntry, Recorded
from inturn.keys import SessionKey
from inturn.values import Delta
from inturn_gateway import bounds
from inturn_gateway.v1.outgoing import wire_delta
from inturn_gateway.v1.stream import Wanted
from tests.support.gateway import Served
from tests.support.waiting import until

KEY = SessionKey("acme", "s")
PATH = "/v1/sessions/s/events/stream"
Frame = dict[str, Any]


async def write(journal: Journal, *entries: NewEntry) -> None:
    await journal.record(KEY, [Recorded(entry) for entry in entries])


def said(number: int) -> NewEntry:
    return NewEntry("user.message", {"content": f"m{number}"}, event_id=f"e{number}", key=f"e{number}/user")


@asynccontextmanager
async def streaming(http: httpx2.AsyncClient, **options: Any) -> AsyncIterator[AsyncIterator[Frame]]:
    async with http.stream("GET", PATH, **options) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        yield frames(answer)


async def frames(answer: httpx2.Response) -> AsyncIterator[Frame]:
    frame: Frame = {}
    async for line in answer.aiter_lines():
        if not line:
            if frame:
                yield frame
            frame = {}
        else:
            name, _, value = line.partition(": ")
            frame[name] = json.loads(value) if name == "data" else value


@pytest.mark.promise("ORD-9")
async def test_a_reader_sees_what_is_there_and_what_comes_and_resumes_behind_it(
    served: Served, keys: dict[str, str], journal: Journal
) -> None:
    await write(journal, said(1), said(2))
    async with served.http(keys["acme"]) as http:
        seen = list[int]()
        async with asyncio.timeout(20), streaming(http) as stream:
            async for frame in stream:
                if "id" not in frame:
                    assert frame == {"retry": "1000"}
                    continue
                assert frame["event"] == frame["data"]["type"] == "user.message"
                seen.append(int(frame["id"]))
                if len(seen) == 2:
                    await write(journal, said(3))
                if len(seen) == 3:
                    break
        await write(journal, said(4))
        for given in ({"headers": {"last-event-id": "3"}}, {"params": {"after": 3}}):
            async with asyncio.timeout(20), streaming(http, **given) as stream:
                async for frame in stream:
                    if "id" in frame:
                        assert frame["id"] == "4"
                        break
    assert seen == [1, 2, 3]


async def test_one_turns_stream_ends_with_it_and_is_not_begun_again(
    served: Served, keys: dict[str, str], journal: Journal
) -> None:
    await write(
        journal,
        said(1),
        NewEntry("turn.started", {}, event_id="e1", key="e1/start"),
        NewEntry("agent.message", {"content": "yes"}, event_id="e1", step="0", key="e1/0"),
        NewEntry("turn.completed", {"stop": "end_turn"}, event_id="e1", key="e1/end"),
        said(2),
    )
    async with served.http(keys["acme"]) as http, asyncio.timeout(20):
        async with streaming(http, params={"event_id": "e1"}) as stream:
            found = [frame async for frame in stream if len(frame) > 1 or "id" in frame]
        again = await http.get(PATH, params={"event_id": "e1"}, headers={"last-event-id": "4"})
    assert [frame.get("event") for frame in found] == [
        *("user.message", "session.status_running", None, "span.model_request_start", "span.model_request_end"),
        *("agent.message", "session.status_idle", None),
    ]
    assert [frame["id"] for frame in found if "id" in frame] == ["1", "2", "3", "4"]
    assert found[-2]["data"]["stop_reason"] == {"type": "end_turn"}
    assert again.status_code == 204


async def test_previews_come_before_their_answer_and_never_as_a_place_to_resume_from() -> None:
    def delta(index: int, kind: Any, text: str = "", block: int = 0) -> Delta:
        return Delta(event_id="e1", step="0", attempt=2, index=index, kind=kind, text=text, block=block)

    wanted = Wanted(deltas=True)
    start, piece = wire_delta(delta(0, "start")), wire_delta(delta(1, "text", "he", 1))
    assert start == {"type": "event_start", "event": {"id": "e1/0", "type": "agent.message"}, "attempt": 2}
    assert piece is not None
    assert (piece["event_id"], piece["delta"]["content"]["text"]) == ("e1/0", "he")
    for each in (delta(0, "start"), delta(1, "text", "he")):
        assert b"id:" not in wanted.frames(each).replace(b'"id":', b"")
        assert wanted.frames(each).startswith(b"event: event_")
        assert Wanted().frames(each) == b""
    assert wanted.frames(delta(2, "thinking", "hm")) == b""


async def test_entries_that_nobody_asked_for_move_the_place_alone(
    served: Served, keys: dict[str, str], journal: Journal
) -> None:
    await write(journal, NewEntry("session.gap", {}, key="g"), said(1), NewEntry("session.closed", {}, key="c"))
    async with served.http(keys["acme"]) as http, asyncio.timeout(20):
        async with streaming(http) as stream:
            plain = [frame async for frame in stream]
        async with streaming(http, params={"include": "inturn", "types[]": "inturn.session.gap"}) as stream:
            some = [frame async for frame in stream]
    assert plain[1] == {"id": "1"}
    assert [frame["event"] for frame in plain if "event" in frame] == ["user.message", "session.status_terminated"]
    assert [frame.get("event") for frame in some[1:]] == ["inturn.session.gap", None, None]
    assert [frame["id"] for frame in some[1:]] == ["1", "2", "3"]


async def test_a_silent_stream_shows_that_it_lives_and_a_server_that_ends_ends_it(
    served: Served, keys: dict[str, str], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "PING", 0.05)
    await write(journal, said(1))
    async with served.http(keys["acme"]) as http, asyncio.timeout(20):
        async with http.stream("GET", PATH) as answer:
            lines = answer.aiter_lines()
            async for line in lines:
                if line == ": ping":
                    served.closing.set()
                    break
            async for _ in lines:
                pass  # to its end, without an error


async def test_a_credential_has_so_many_streams(
    served: Served, keys: dict[str, str], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "STREAMS", 1)
    await write(journal, said(1))
    async with served.http(keys["acme"]) as http, asyncio.timeout(20):
        async with streaming(http) as stream:
            assert await anext(stream) == {"retry": "1000"}
            assert (await http.get(PATH)).status_code == 429
            async with served.http(keys["other"]) as others:
                assert (await others.get(PATH)).status_code == 404  # its own count, and no such session

        async def free() -> bool:
            async with http.stream("GET", PATH) as answer:
                return answer.status_code == 200

        await until(free)


@pytest.mark.promise("ORD-9")
async def test_a_stream_that_is_cut_anywhere_is_whole_again(
    served: Served, keys: dict[str, str], journal: Journal
) -> None:
    for start in range(0, 120, 40):
        await write(journal, *[said(number) for number in range(start, start + 40)])
    await write(journal, NewEntry("session.closed", {}, key="c"))
    seen, cut = list[int](), 0
    async with served.http(keys["acme"]) as http, asyncio.timeout(60):
        while not seen or seen[-1] <= 120:
            cut += 1
            headers = {"last-event-id": str(seen[-1])} if seen else {}
            async with http.stream("GET", PATH, headers=headers) as answer:
                left, text = 1_000 + 997 * cut % 3_000, b""
                async for piece in answer.aiter_bytes():
                    text += piece[:left]
                    left -= len(piece)
                    if left <= 0:
                        break
            whole = text[: text.rfind(b"\n\n") + 2].split(b"\n\n")
            seen += [int(block.split(b"\n")[0][4:]) for block in whole if block.startswith(b"id: ")]
    assert seen == list(range(1, 122))
    assert cut > 5

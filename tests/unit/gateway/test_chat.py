"""Chat Completions: the last user message is an event, and the same request again is the same one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from inturn.journal import Journal, NewEntry, Recorded
from inturn.keys import SessionKey
from inturn.values import Delta, Entry, Turn, Usage
from inturn_gateway.app import gateway
from inturn_gateway.v1.chat import Told
from tests.support.gateway import DeskClient, Served, Temporal
from tests.support.journal import entry

PATH = "/openai/v1/chat/completions"


@pytest.fixture
async def http(
    desk: Temporal, keys: dict[str, str], tmp_path: Path, journal: Journal
) -> AsyncGenerator[httpx2.AsyncClient]:
    closing = asyncio.Event()
    app = gateway(
        DeskClient(desk, journal=journal), keys=tmp_path / "keys.json", models=["support"], api=False, closing=closing
    )
    async with Served(app, closing) as server, server.http(keys["acme"]) as client:
        yield client


def asked(*said: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}]
    for text in said:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]
    return {"model": "support", "messages": messages, "user": "dora@example.com", "temperature": 0.5, **more}


async def test_the_last_user_message_is_one_event_however_often_it_is_asked(
    http: httpx2.AsyncClient, desk: Temporal
) -> None:
    desk.raises["wait"] = [LookupError()]
    assert (await http.post(PATH, json=asked("one", "two"))).status_code == 500  # the event's id is known now
    [(tenant, session, event_id)] = desk.sent()
    desk.turns[event_id] = Turn(event_id=event_id, text="Two.", usage=Usage(input_tokens=3, output_tokens=2))
    answer = (await http.post(PATH, json=asked("one", "two"))).json()
    assert answer["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Two."}, "finish_reason": "stop"}
    ]
    assert answer["usage"]["total_tokens"] == 5
    assert desk.sent() == [(tenant, session, event_id)] * 2
    assert (tenant, session) == ("acme", session)
    assert desk.calls[0][3]["content"] == "two"
    desk.raises["wait"] = [LookupError()] * 2
    await http.post(PATH, json=asked("one", "two", "two"))
    await http.post(PATH, json=asked("one", "two"), headers={"x-session-id": "other"})
    assert len({event_id for _, _, event_id in desk.sent()}) == 3
    assert len({session for _, session, _ in desk.sent()}) == 2


async def test_the_same_words_are_another_event_where_a_caller_sends_the_end_of_the_conversation_alone(
    http: httpx2.AsyncClient, desk: Temporal
) -> None:
    said = [f"{place}" if place % 3 else "yes" for place in range(9)]
    desk.raises["wait"] = [LookupError()] * 20
    for end in range(4, len(said) + 1):
        window = asked(*said[end - 4 : end], user="dora")
        window["messages"][0]["content"] = f"It is {end} o'clock."
        await http.post(PATH, json=window)
        window["messages"][0]["content"] = "It is later."
        await http.post(PATH, json=window)
    events = [event_id for *_, event_id in desk.sent()]
    assert events[::2] == events[1::2]
    assert len(set(events)) == 6


async def test_what_cannot_be_meant_is_refused(http: httpx2.AsyncClient) -> None:
    assert (await http.post(PATH, json=asked("hi", model="gpt"))).status_code == 404
    assert (await http.post(PATH, json={"model": "support", "messages": []})).status_code == 422
    for content in (None, 7, [7], [{"type": "audio"}], "\ud800", [{"type": "text", "text": "\ud800"}], ""):
        messages = [{"role": "user", "content": content}]
        body = json.dumps({"model": "support", "messages": messages}).encode()
        refused = await http.post(PATH, content=body, headers={"content-type": "application/json"})
        assert refused.status_code == 422, content
        assert refused.json()["error"]["message"]
    assert (await http.post(PATH, json=asked("hi"), headers={"authorization": "Bearer ik_"})).status_code == 401
    assert (await http.get("/openai/v1/models")).json()["data"][0]["id"] == "support"
    assert (await http.get("/v1/sessions")).status_code == 404


async def test_a_streamed_answer_ends_as_callers_expect(
    http: httpx2.AsyncClient, desk: Temporal, journal: Journal
) -> None:
    async with http.stream("POST", PATH, json=asked("hi", stream=True)) as answer, asyncio.timeout(30):
        [(tenant, session, event_id)] = desk.sent()
        entries = [
            NewEntry("agent.message", {"content": "Hello."}, event_id=event_id, step="0", key="m"),
            NewEntry("turn.completed", {"stop": "end_turn"}, event_id=event_id, key="end"),
        ]
        await journal.record(SessionKey(tenant, session), [Recorded(entry) for entry in entries])
        lines = [line async for line in answer.aiter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "Hello."
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]


def text_of(said: bytes) -> str:
    return str(json.loads(said.removeprefix(b"data: "))["choices"][0]["delta"]["content"]) if said else ""


def test_of_an_answer_that_another_attempt_gives_anew_the_caller_gets_all() -> None:
    told = Told("support", "e1")

    def delta(kind: Any, attempt: int, text: str = "") -> Delta:
        return Delta(event_id="e1", step="0", attempt=attempt, index=0, kind=kind, text=text)

    def message(text: str) -> Entry:
        return entry(1, "agent.message", {"content": text}, step="0")

    assert text_of(told.of(delta("start", 1))) == ""
    assert text_of(told.of(delta("text", 1, "He"))) == "He"
    assert text_of(told.of(message("Hello"))) == "llo"
    told.of(delta("start", 1))
    assert text_of(told.of(delta("text", 1, "Wro"))) == "Wro"
    assert told.of(delta("start", 2)) == told.of(delta("text", 2, "Right")) == b""
    assert text_of(told.of(message("Right"))) == "\n\nRight"

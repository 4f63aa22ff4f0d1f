"""Reading a journal: every entry once, in order, live, and from where one stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from inturn import Client, InvalidEvent
from inturn.client.reader import SessionReader
from inturn.client.temporal.connection import Connection
from inturn.journal import Journal, NewEntry, Recorded
from inturn.keys import SessionKey
from inturn.values import Entry
from tests.support.waiting import until

KEY = SessionKey("default", "s")


async def _append(journal: Journal, *entries: tuple[str, str, dict[str, Any]]) -> None:
    head = await journal.head(KEY)
    made = [
        Recorded(NewEntry(type_, body, event_id=event_id or None, key=f"{head}/{n}"))
        for n, (type_, event_id, body) in enumerate(entries)
    ]
    await journal.record(KEY, made)


async def _types(entries: AsyncIterator[Any]) -> list[str]:
    async with asyncio.timeout(10):
        return [entry.type async for entry in entries]


@pytest.mark.promise("ORD-9")
async def test_who_follows_sees_what_is_appended_meanwhile_once_and_ends_with_the_close(journal: Journal) -> None:
    session = Client(journal=journal).session("s")
    await _append(journal, ("user.message", "e1", {"content": "hi"}))
    reader = asyncio.create_task(_types(session.entries(follow=True)))
    for n in range(20):
        await _append(journal, ("turn.started", "e1", {"n": n}))
    await _append(journal, ("session.closed", "", {}))
    assert await reader == ["user.message", *["turn.started"] * 20, "session.closed"]


@pytest.mark.promise("ORD-9")
async def test_who_follows_on_from_behind_the_close_is_done(journal: Journal) -> None:
    session = Client(journal=journal).session("s")
    await _append(journal, ("user.message", "e1", {"content": "hi"}), ("session.closed", "", {}))
    assert await _types(session.entries(after=2, follow=True)) == []
    assert await _types(session.entries(after=1, follow=True)) == ["session.closed"]


@pytest.mark.promise("ORD-9")
async def test_a_long_journal_is_read_whole_and_from_any_seq(journal: Journal) -> None:
    session = Client(journal=journal).session("s")
    await _append(journal, *[("tool.progress", f"e{n % 2}", {"n": n}) for n in range(1_203)])
    assert [entry.seq async for entry in session.entries()] == list(range(1, 1_204))
    assert [entry.seq async for entry in session.entries(after=1_200)] == [1_201, 1_202, 1_203]
    assert len([entry async for entry in session.entries(event_id="e0")]) == 602


@pytest.mark.parametrize(
    "end", ["turn.completed", "turn.interrupted", "turn.failed", "event.parked", "event.expired", "event.cancelled"]
)
async def test_a_stream_ends_with_its_event(journal: Journal, end: str) -> None:
    await _append(journal, ("user.message", "e1", {}), ("user.message", "e2", {}), (end, "e1", {}))
    stream = Client(journal=journal).session("s").stream("e1")
    assert await _types(stream) == ["user.message", end]


async def test_a_stream_of_a_merged_event_goes_on_in_its_hosts_turn(journal: Journal) -> None:
    await _append(journal, ("turn.started", "e1", {}), ("event.merged", "e2", {"into": "e1"}))
    await _append(journal, ("turn.completed", "e1", {}))
    stream = Client(journal=journal).session("s").stream("e2")
    assert await _types(stream) == ["event.merged", "turn.started", "turn.completed"]


@pytest.mark.promise("ORD-9")
@pytest.mark.parametrize("end", ["turn.completed", "event.expired"])
async def test_a_stream_resumed_behind_the_end_of_its_turn_is_over(journal: Journal, end: str) -> None:
    await _append(journal, ("user.message", "e1", {}), (end, "e1", {}))
    assert await _types(Client(journal=journal).session("s").stream("e1", after=2)) == []


@pytest.mark.promise("ORD-9")
@pytest.mark.parametrize("after", [2, 3])
async def test_a_stream_of_a_merged_event_resumed_behind_its_hosts_end_is_over(journal: Journal, after: int) -> None:
    await _append(journal, ("turn.started", "e1", {}), ("turn.completed", "e1", {}))
    await _append(journal, ("event.merged", "e2", {"into": "e1"}))
    left = {2: ["event.merged"], 3: []}
    assert await _types(Client(journal=journal).session("s").stream("e2", after=after)) == left[after]


async def test_a_delivery_that_was_set_aside_ends_no_stream(journal: Journal) -> None:
    await _append(journal, ("turn.started", "e1", {}), ("event.parked", "e1", {"delivery": "ask-0-0"}))
    await _append(journal, ("turn.completed", "e1", {}))
    stream = Client(journal=journal).session("s").stream("e1")
    assert await _types(stream) == ["turn.started", "event.parked", "turn.completed"]


async def test_a_stream_of_a_redriven_event_goes_on_to_its_latest_end(journal: Journal) -> None:
    first: list[tuple[str, str, dict[str, Any]]] = [
        ("turn.started", "e1", {}),
        ("turn.failed", "e1", {}),
        ("event.parked", "e1", {}),
    ]
    await _append(journal, *first, ("turn.started", "e1", {}), ("turn.completed", "e1", {}))
    stream = Client(journal=journal).session("s").stream("e1")
    assert (await _types(stream))[-2:] == ["turn.started", "turn.completed"]


@pytest.mark.promise("ORD-9")
async def test_a_cursor_shows_the_entry_again_whose_handling_failed(journal: Journal) -> None:
    await _append(journal, *[("tool.progress", "e1", {"n": n}) for n in range(5)])
    cursor = Client(journal=journal).cursor("mirror")
    handled: list[int] = []

    async def handle() -> None:
        async for entry in cursor.entries("s"):
            if entry.seq == 3 and len(handled) < 3:
                handled.append(-3)
                raise RuntimeError("the mirror is away")
            handled.append(entry.seq)

    with pytest.raises(RuntimeError):
        await handle()
    assert await cursor.position("s") == 2
    await handle()
    assert handled == [1, 2, -3, 3, 4, 5]
    assert await cursor.position("s") == 5


async def test_a_transcript_is_what_the_model_sees(journal: Journal) -> None:
    answer = {"content": [{"type": "text", "text": "hello"}], "stop": "end_turn"}
    await _append(journal, ("user.message", "e1", {"content": "hi"}), ("agent.message", "e1", answer))
    transcript = await Client(journal=journal).session("s").transcript()
    assert [message["role"] for message in transcript] == ["user", "assistant"]


@pytest.mark.promise("ISO-1")
async def test_a_large_result_is_read_by_its_own_session_alone(journal: Journal) -> None:
    ref = await journal.put_blob(KEY, b"large")
    connection = Connection(journal=journal)
    assert await SessionReader(connection, KEY).blob(ref) == b"large"
    for other in (SessionKey("default", "t"), SessionKey("other", "s")):
        with pytest.raises(InvalidEvent, match=r"has nothing under 'sha256:"):
            await SessionReader(connection, other).blob(ref)


@pytest.mark.promise("ORD-9")
@pytest.mark.parametrize("event_id", ["e1", "never"])
async def test_who_follows_one_event_is_done_when_the_session_is_closed(journal: Journal, event_id: str) -> None:
    session = Client(journal=journal).session("s")
    await _append(journal, ("user.message", "e1", {"content": "hi"}))
    following = asyncio.create_task(_types(session.entries(event_id=event_id, follow=True)))
    streaming = asyncio.create_task(_types(session.stream(event_id)))
    await asyncio.sleep(0)
    await _append(journal, ("tool.progress", "e1", {}), ("session.closed", "", {}))
    expected = ["user.message", "tool.progress"] if event_id == "e1" else []
    assert [await following, await streaming] == [expected, expected]
    assert await _types(session.entries(event_id=event_id, follow=True)) == expected
    assert await _types(session.stream(event_id, after=3)) == []


@pytest.mark.parametrize("after", [-1, 2**63, 10**30])
async def test_a_seq_that_no_entry_has_is_refused_where_it_is_given(journal: Journal, after: int) -> None:
    client = Client(journal=journal)
    session = client.session("s")
    for reading in (session.entries(after), session.entries(after, follow=True), session.stream("e1", after=after)):
        with pytest.raises(InvalidEvent, match="the seq of an entry"):
            await _types(reading)
    with pytest.raises(InvalidEvent, match="the seq of an entry"):
        await client.cursor("c").move("s", after)
    assert await _types(session.entries(2**63 - 1)) == []


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_listing_of_less_than_one_is_refused(limit: int) -> None:
    client = Client(temporal=cast(Any, object()))
    with pytest.raises(InvalidEvent, match="above 0"):
        _ = [info async for info in client.sessions(limit=limit)]


@pytest.mark.promise("MOD-7")
@pytest.mark.parametrize("since", [0, 130])
async def test_who_looks_on_is_shown_no_answer_that_it_has_and_reads_few_of_them(journal: Journal, since: int) -> None:
    answers = [("agent.message", "e1", {"attempt": n}) for n in range(1, 401)]
    await _append(journal, *answers, *[("tool.progress", "e1", {})] * since)
    got, read, count = list[Any](), journal.read, list[int]()

    async def counted(*args: Any, **options: Any) -> list[Entry]:
        count.append(len(page := await read(*args, **options)))
        return page

    async def look() -> None:
        async for new in Client(journal=journal).session("s").stream(None, after=400 + since):
            got.append(new)

    journal.read = counted  # type: ignore[method-assign]
    rows = [(fence, *said) for fence in (400, 401) for said in ((0, '{"event": "e1"}'), (1, f'[[0, "t", "{fence}"]]'))]
    insert = "INSERT INTO deltas (tenant, session, fence, idx, at, data) VALUES ('default', 's', ?, ?, 0, ?)"
    await journal._store.write(lambda tx: [tx.execute(insert, row) for row in rows])
    looking = asyncio.create_task(look())
    await until(lambda: asyncio.sleep(0, len(got) == 2))
    looking.cancel()
    await asyncio.wait([looking])
    assert [(new.kind, new.attempt, new.text) for new in got] == [("start", 401, ""), ("text", 401, "401")]
    assert 0 < sum(count) <= 130

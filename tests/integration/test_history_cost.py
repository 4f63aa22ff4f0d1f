"""History is a promise: events and bytes per turn, counted on a real server."""

from __future__ import annotations

import pytest

from inturn.events import Content
from tests.support.histories import size
from tests.support.media import block, pdf
from tests.support.rig import Rig

TEXT = "x" * 489  # echoed as "You said: …": a reply of about 500 characters, too


@pytest.mark.promise("ACC-10")
async def test_a_plain_turn_by_send_costs_ten_events_and_at_most_three_kilobytes(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send(TEXT, event_id="first")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        before = await size(handle)
        for n in range(4):
            await session.send(TEXT, event_id=f"e{n}")
            after = await size(handle)
            assert after[0] - before[0] == 10
            assert after[1] - before[1] <= 3_000
            before = after


async def test_a_plain_turn_by_ask_costs_eleven_events(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client, rig.client(journal=False) as far:
        await client.session("s", agent="support").ask(TEXT, event_id="first")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        before = await size(handle)
        for n, (asking, limit) in enumerate([(client, 3_300), (far, 4_200)]):
            turn = await asking.session("s").ask(TEXT, event_id=f"e{n}")
            assert turn.text.endswith(TEXT)
            after = await size(handle)
            assert after[0] - before[0] == 11
            assert after[1] - before[1] <= limit
            before = after


@pytest.mark.promise("ACC-10")
async def test_a_document_of_ten_megabytes_costs_no_event_and_a_few_hundred_bytes_more_than_a_word(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, spent = client.session("s", agent="support"), list[tuple[int, int]]()
        await session.ask("hi", event_id="first")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        ref = await client.upload(pdf(3, size=10 * 2**20), "application/pdf")
        contents: list[Content] = ["see", [{"type": "text", "text": "see"}, block(ref)]]
        for n, content in enumerate(contents):
            before = await size(handle)
            assert (await session.ask(content, event_id=f"e{n}")).stop_reason == "end_turn"
            after = await size(handle)
            spent.append((after[0] - before[0], after[1] - before[1]))
        assert spent[1][0] == spent[0][0]
        assert spent[1][1] - spent[0][1] <= 400
        [said] = [entry async for entry in session.entries(event_id="e1") if entry.type == "user.message"]
        assert said.body["content"][1]["source"]["measure"] == 3
        assert await session.read_blob(ref) == pdf(3, size=10 * 2**20)


async def test_a_turn_with_one_tool_costs_twenty_two_events(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="first")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        before = await size(handle)
        await session.send('[[tool add {"a": 1, "b": 2}]]', event_id="tool")
        after = await size(handle)
        assert after[0] - before[0] == 22


async def test_turn_three_hundred_costs_what_turn_ten_did(rig: Rig) -> None:
    sizes: dict[int, int] = {}
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask(TEXT, event_id="e0")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        for first, last in ((1, 9), (10, 10), (11, 150), (151, 299), (300, 300)):
            before = await size(handle)
            for n in range(first, last + 1):
                await session.ask(TEXT, event_id=f"event-{n:06d}")
            if first == last:
                sizes[first] = (await size(handle))[1] - before[1]
    assert sizes[300] == pytest.approx(sizes[10], rel=0.05)

"""Parts of an answer: each is there once, as far as its platform allows, whoever dies on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.channels import Channel, Out, ToolContext, outbox, render, route, sending, split
from inturn.channels.failures import Refusal
from inturn_activities.bounds import Bounds
from tests.support.deliveries import delivered
from tests.support.steps import SESSION, rig

EVENT = {"event_id": "e1", "content": "hi", "metadata": {"channel": "wall", "to": "C1"}}
TEXT = "\n\n".join(f"Part {n} " + "x" * 55 for n in range(3))


class Wall(Channel):
    """A platform that has what was posted; `faults` happen behind the post of their number."""

    name = "wall"

    def __init__(self, kind: str = "keyed", faults: dict[int, BaseException] | None = None) -> None:
        self.kind = kind
        self.posts: list[tuple[str | None, str]] = []
        self.calls = 0
        self.faults = faults or {}
        self.refuses_with: list[Exception] = []

    async def deliver(self, out: Out, ctx: ToolContext) -> None:
        options: dict[str, Any] = {"secrets": "s"}
        if self.kind == "blind":
            options["blind"] = True
        if self.kind == "findable":
            options["find"] = self._find
        async with outbox(ctx, **options) as send:
            for part in split(render(out), 64):
                await send(self._post, part)

    async def _post(self, part: str, idempotency_key: str | None = None) -> str:
        if self.refuses_with:
            raise self.refuses_with.pop(0)
        self.calls += 1
        if self.kind != "keyed" or idempotency_key not in [key for key, _ in self.posts]:
            self.posts.append((idempotency_key, part))
        if (fault := self.faults.pop(self.calls, None)) is not None:
            raise fault
        return f"m{len(self.posts)}"

    async def _find(self, key: str, at: float) -> str | None:
        return next((f"m{n}" for n, (posted, _) in enumerate(self.posts, 1) if posted == key), None)

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.posts]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "REQUEST", 0.05)
    monkeypatch.setattr(sending, "LISTED", 0.0)


@pytest.mark.parametrize("kind", ["keyed", "findable", "blind"])
async def test_an_answer_goes_out_in_parts_once(tmp_path: Path, kind: str) -> None:
    wall = Wall(kind)
    async with rig(tmp_path, [TEXT], deliver=route(wall)) as r:
        await r.ask(event=EVENT)
        assert await delivered(r) == 1
        assert await delivered(r) == 1
    assert wall.texts == split(TEXT, 64)
    assert len({key for key, _ in wall.posts}) == (1 if kind == "blind" else 3)
    assert all(key is None or "acme" not in key for key, _ in wall.posts)


@pytest.mark.parametrize("kind", ["keyed", "findable"])
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_part_whose_answer_was_lost_is_there_once(tmp_path: Path, kind: str, at: int) -> None:
    wall = Wall(kind, {at: TimeoutError()})
    async with rig(tmp_path, [TEXT], deliver=route(wall)) as r:
        await r.ask(event=EVENT)
        assert await delivered(r) == 2
    assert wall.texts == split(TEXT, 64)


async def test_a_blind_platform_gets_it_again_and_the_journal_says_so(tmp_path: Path) -> None:
    wall = Wall("blind", {2: TimeoutError()})
    async with rig(tmp_path, [TEXT], deliver=route(wall)) as r:
        await r.ask(event=EVENT)
        assert await delivered(r) == 2
        first, second, third = split(TEXT, 64)
        assert wall.texts == [first, second, second, third]
        [said] = await r.bodies("tool.progress")
        assert said["text"].startswith("part 2 may be there twice")


async def test_an_attempt_that_was_killed_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    wall = Wall("findable")
    async with rig(tmp_path, [TEXT], deliver=route(wall), bounds=Bounds(lease=0.05)) as r:
        await r.ask(event=EVENT)
        await r.journal.claim_call(SESSION.turn("e1").step("deliver"), lease=0.01)
        await delivered(r)
    assert wall.texts == split(TEXT, 64)


async def test_a_request_that_hangs_is_given_up_and_tried_again(tmp_path: Path) -> None:
    class Hangs(Wall):
        hung = False

        async def _post(self, part: str, idempotency_key: str | None = None) -> str:
            if not self.hung:
                self.hung = True
                await asyncio.Event().wait()
            return await super()._post(part, idempotency_key)

    wall = Hangs()
    async with rig(tmp_path, [TEXT], deliver=route(wall)) as r:
        await r.ask(event=EVENT)
        assert await delivered(r) == 2
    assert wall.texts == split(TEXT, 64)


async def test_a_part_that_was_refused_is_not_taken_for_one_that_may_be_there(tmp_path: Path) -> None:
    wall = Wall("blind")
    wall.refuses_with = [Refusal("slow down", 429)]
    async with rig(tmp_path, [TEXT], deliver=route(wall)) as r:
        await r.ask(event=EVENT)
        assert await delivered(r) == 2
        assert await r.bodies("tool.progress") == []


@pytest.mark.parametrize("status", [429, 503])
async def test_it_comes_again_when_the_platform_says_however_often(tmp_path: Path, status: int) -> None:
    wall = Wall()
    wall.refuses_with = [Refusal("slow down", status, 7.0) for _ in range(5)]
    async with rig(tmp_path, [TEXT], deliver=route(wall)) as r:
        await r.ask(event=EVENT)
        with pytest.raises(ApplicationError, match="slow down") as told:
            await r.deliver()
        assert told.value.type == names.NOT_YET
        assert told.value.next_retry_delay is not None
        assert told.value.next_retry_delay.total_seconds() == 7.0
        assert await delivered(r) == 5
    assert wall.texts == split(TEXT, 64)


async def test_what_is_refused_for_good_is_parked_and_a_redrive_goes_on_behind_what_is_there(tmp_path: Path) -> None:
    wall = Wall(faults={2: Refusal("channel archived", 404)})
    async with rig(tmp_path, [TEXT], deliver=route(wall)) as r:
        await r.ask(event=EVENT)
        with pytest.raises(ApplicationError, match="channel archived") as told:
            await r.deliver()
        assert told.value.non_retryable
        assert await delivered(r, step="deliver~1") == 1
    assert wall.texts == split(TEXT, 64)
    assert wall.calls == 4  # the first part was not asked for again


async def test_an_answer_of_a_channel_that_this_worker_lacks_waits(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hello"], deliver=route()) as r:
        await r.ask(event=EVENT)
        with pytest.raises(ApplicationError, match="no channel 'wall'") as told:
            await r.deliver()
        assert told.value.type == names.NOT_YET


async def test_an_event_of_no_channel_is_answered_by_the_default_or_not_at_all(tmp_path: Path) -> None:
    wall = Wall()
    async with rig(tmp_path / "a", ["hello"], deliver=route(wall)) as r:
        await r.ask()
        await r.deliver()
    assert wall.texts == []
    async with rig(tmp_path / "b", ["hello"], deliver=route(default=wall)) as r:
        await r.ask()
        await r.deliver()
    assert wall.texts == ["hello"]


def test_two_channels_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        route(Wall(), Wall())

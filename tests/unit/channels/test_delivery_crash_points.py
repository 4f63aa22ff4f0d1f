"""A delivery that dies at every point that it has: before and after each thing it writes, asks and sends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from inturn.channels import Channel, Out, ToolContext, outbox, render, route, sending, split
from inturn_activities.bounds import Bounds
from tests.support.deliveries import delivered
from tests.support.steps import rig

EVENT = {"event_id": "e1", "content": "hi", "metadata": {"channel": "wall"}}
TEXT = "\n\n".join(f"Part {n} " + "x" * 55 for n in range(3))
PARTS = split(TEXT, 64)


class Killed(BaseException):
    """The process is gone."""


class Trip:
    """Kills at its n-th point, once."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.points = 0

    def __call__(self) -> None:
        self.points += 1
        if self.points == self.at:
            raise Killed

    def around(self, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def tripped(*args: Any, **options: Any) -> Any:
            self()
            result = await work(*args, **options)
            self()
            return result

        return tripped


class Wall(Channel):
    """A platform that has what was posted."""

    name = "wall"

    def __init__(self, kind: str, trip: Trip) -> None:
        self.kind = kind
        self.posts: list[tuple[str | None, str]] = []
        self.post, self.find = trip.around(self._post), trip.around(self._find)

    async def deliver(self, out: Out, ctx: ToolContext) -> None:
        find = self.find if self.kind == "findable" else None
        async with outbox(ctx, secrets="s", find=find, blind=self.kind == "blind") as send:
            for part in split(render(out), 64):
                await send(self.post, part)

    async def _post(self, part: str, idempotency_key: str | None = None) -> str:
        if self.kind != "keyed" or idempotency_key not in [key for key, _ in self.posts]:
            self.posts.append((idempotency_key, part))
        return f"m{len(self.posts)}"

    async def _find(self, key: str, at: float) -> str | None:
        return next((f"m{n}" for n, (posted, _) in enumerate(self.posts, 1) if posted == key), None)


async def killed_at(point: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Trip, Wall]:
    """Deliver, killed once at a point, and again until it is done."""
    trip = Trip(point)
    wall = Wall(kind, trip)
    with monkeypatch.context() as patch:
        patch.setattr(sending, "REQUEST", 60.0)
        patch.setattr(sending, "LISTED", -60.0)
        for name in ("known", "intend", "sent"):
            patch.setattr(sending.Part, name, trip.around(getattr(sending.Part, name)))
        async with rig(tmp_path, [TEXT], deliver=route(wall), bounds=Bounds(lease=0.05)) as r:
            await r.ask(event=EVENT)
            await delivered(r)
            assert await r.bodies("event.delivered") == [{"kind": "turn", "turn": "e1"}]
    return trip, wall


@pytest.mark.promise("OUT-1")
@pytest.mark.parametrize("kind", ["keyed", "findable", "blind"])
async def test_every_part_is_there_once_in_order_wherever_it_died(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = await killed_at(0, kind, tmp_path / "0", monkeypatch)
    extra = 0
    for point in range(1, whole.points + 1):
        _, wall = await killed_at(point, kind, tmp_path / str(point), monkeypatch)
        texts = [text for _, text in wall.posts]
        if kind == "blind":
            extra += len(texts) - len(PARTS)
            assert len(texts) - len(PARTS) in (0, 1)
            texts = [text for number, text in enumerate(texts) if not number or texts[number - 1] != text]
        assert texts == PARTS, f"killed at {point}"
    assert whole.points == 24
    assert (extra > 0) == (kind == "blind")

"""The streaming rows: 100 answers of 200 pieces over 10 s at once, one side after the other; then 200 of ours."""

from __future__ import annotations

from typing import Final

from bench import budgets
from bench.report import Book, percentile
from bench.rig import Rig
from bench.streaming.fleet import Bare, Fleet, Inturn, begun, streamed

SESSIONS: Final = 100
MANY: Final = 200
ROUNDS: Final = 3
"""Of 24 s each, at most."""


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the rows of streaming."""
    lane = rig.lane("streaming")
    model = await lane.program("answers ready", "bench.streaming.answers")
    url = model.line.split()[-1]
    env = {"ANTHROPIC_API_KEY": "bench", "ANTHROPIC_BASE_URL": url, "INTURN_LIMITS_MAX_STEPS": "none"}
    ours = await lane.worker(**env)
    bare = await lane.program("bare worker ready", "bench.streaming.bare", rig.address, f"{lane.name}-bare", **env)
    async with lane.client() as client:
        sides: list[tuple[Fleet, int]] = [(Inturn(lane, client), ours.pid), (Bare(lane), bare.pid)]
        for fleet, _ in sides:
            await begun(fleet, MANY)
        for number in range(min(rounds, ROUNDS)):
            order = sides if number % 2 == 0 else sides[::-1]
            found = {pid: await streamed(rig, fleet, pid, url, SESSIONS, f"{number}-{pid}") for fleet, pid in order}
            mine, other = found[ours.pid], found[bare.pid]
            book.add(budgets.STREAM_WORKER, mine.worker)
            book.add(budgets.STREAM_SERVER, mine.server)
            book.add(budgets.STREAM_REQUESTS, mine.requests)
            book.note(budgets.STREAM_WORKER, f"last: {mine.worker:.1f} ms against {other.worker:.1f} ms")
            book.note(budgets.STREAM_SERVER, f"last: {mine.server:.1f} ms against {other.server:.1f} ms")
            book.note(budgets.STREAM_REQUESTS, f"last: {mine.requests:.1f} against {other.requests:.1f}")
        late = {pid: (await streamed(rig, fleet, pid, url, MANY, f"many-{pid}")).later for fleet, pid in sides}
        book.add(budgets.STREAM_LATER, *late[ours.pid])
        book.note(budgets.STREAM_LATER, f"bare: {percentile(late[bare.pid], 99):.2f} s")
    for process in (ours, bare, model):
        await process.stop()

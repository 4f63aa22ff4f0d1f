"""What waits in a session: the time to work it off, what continue-as-new carries of it, and what the inbox costs.

End to end as deep as a policy may allow; the pure inbox also far beyond.
"""

from __future__ import annotations

import time
from typing import Final

from bench.admit import cost
from bench.curves.series import Curve, Series
from bench.curves.sizes import Sizes
from bench.curves.turns import carried
from bench.rig import Lane, Rig
from bench.sides import Handle, until
from inturn import Client, Session

TEXT: Final = "hello"
WITHIN: Final = 60.0
REPEATS: Final = 50
"""Duplicates between two looks whether the run has continued as new."""


async def measure(rig: Rig, sizes: Sizes) -> list[Curve]:
    """Fill sessions while they are paused, and let them go."""
    lane = rig.lane("queue")
    drained, bytes_carried = Series("end to end", []), Series("end to end", [])
    async with lane.running(), lane.client(journal=True) as client:
        for depth in sizes.depths:
            held, seconds = await _worked_off(lane, client, depth, min(depth, sizes.worked_off))
            bytes_carried.points.append((depth, held))
            drained.points.append((depth, 1000 * seconds / min(depth, sizes.worked_off)))
    pure = Series("pure inbox", [(depth, 1e6 * cost(waiting=depth)) for depth in sizes.pure_depths])
    return _curves(drained, bytes_carried, pure, max(sizes.depths), sizes.worked_off)


async def _worked_off(lane: Lane, client: Client, depth: int, turns: int) -> tuple[int, float]:
    """Queue events; return the bytes that continue-as-new carried, and the seconds that the first turns took then."""
    session = client.session(f"deep-{depth}", agent="deep")
    await session.ask(TEXT, event_id="first")
    await session.pause()
    for n in range(1, depth + 1):
        await session.send(TEXT, event_id=_event(n))
    handle = lane.rig.temporal.get_workflow_handle(f"{lane.name}/deep-{depth}")
    held = await _continued(handle, session, _event(depth), depth)
    began = time.time()
    await session.resume()
    await session.wait(_event(turns))
    await session.pause()  # what still waits is not to run beside the next measurement
    return held, await _completed(session, _event(turns)) - began


def _event(number: int) -> str:
    return f"event-{number:06d}"


async def _continued(handle: Handle, session: Session, last: str, depth: int) -> int:
    """Send a duplicate, which changes nothing, until the run continues as new; return what it carried then."""
    full = (await handle.describe()).run_id
    while (await handle.describe()).run_id == full:
        for _ in range(REPEATS):
            await session.send(TEXT, event_id=last)

    async def all_wait() -> bool | None:
        return len((await session.status()).queue) == depth or None

    await until(all_wait, within=WITHIN)
    async for started in handle.fetch_history_events(page_size=1):
        return carried([started])
    raise RuntimeError("a run without a history")


async def _completed(session: Session, event_id: str) -> float:
    """Return the time at which a turn was recorded as completed."""
    async for entry in session.entries(event_id=event_id):
        if entry.type == "turn.completed":
            return entry.at.timestamp()
    raise RuntimeError(f"{event_id} has no turn")


def _curves(drained: Series, bytes_carried: Series, pure: Series, deepest: int, worked_off: int) -> list[Curve]:
    x = "events queued"
    bound = f"End to end up to {deepest:,}: a policy allows 2,000 events and 512 KiB at most."
    return [
        Curve(
            "queue-drain",
            "Time to work off what waits, by its number",
            x,
            "ms per turn",
            [drained],
            note=f"From resume to the last answer, of the first {worked_off} where there are more. {bound}",
        ),
        Curve(
            "queue-carried",
            "Bytes that continue-as-new carries, by what waits",
            x,
            "bytes",
            [bytes_carried],
            note=f"Events of {len(TEXT)} characters. {bound}",
        ),
        Curve(
            "queue-inbox",
            "Check, admit, take and finish of one event, by what waits",
            x,
            "µs",
            [pure],
            note="The pure inbox without a session around it, with a bound raised beyond what a policy may allow.",
        ),
    ]

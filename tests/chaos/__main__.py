"""The fault campaign: `python -m tests.chaos [--kills N] [--lanes N] [--crashes N] [--seed S] [--json FILE]`.

Workers are killed at random named points, in several sessions at once, on a real server; then at each crash point of a
tool call, with each kind of tool. Seeded: the same seed kills at the same points in the same order. Exit code 1 where
anything did not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from inturn.testing.claude.log import overlaps
from tests.chaos.campaign import POINTS, Campaign
from tests.chaos.crash_points import POINTS as CALL_POINTS
from tests.chaos.crash_points import TOOLS, CrashPoints
from tests.support.claude import ClaudeRig
from tests.support.rig import Rig
from tests.support.server import DevServer


async def campaign(address: str, directory: Path, *, kills: int, lanes: int, seed: int) -> dict[str, Any]:
    """Run it and give what was measured."""
    rng = random.Random(seed)
    points = [point for group in POINTS.values() for point in group]
    async with ClaudeRig() as claude:
        made: list[Campaign] = []
        for lane in range(min(lanes, kills)):
            (directory / str(lane)).mkdir()
            rig = await Rig(address, directory / str(lane)).connect()
            made.append(Campaign(rig, claude, [rng.choice(points) for _ in range(kills // lanes)]))
        began = time.monotonic()
        try:
            ends = await asyncio.gather(*(lane.run() for lane in made), return_exceptions=True)
        finally:
            for lane_made in made:
                lane_made.rig.end()
        overlapping = overlaps(claude.requests)
    recoveries: dict[str, list[float]] = defaultdict(list)
    for point, seconds in (recovery for lane_made in made for recovery in lane_made.recoveries):
        recoveries[point].append(seconds)
    failures = [f"{type(end).__name__}: {end}" for end in ends if isinstance(end, BaseException)]
    return {
        "seed": seed,
        "kills": sum(len(times) for times in recoveries.values()),
        "seconds": round(time.monotonic() - began, 1),
        "overlaps": len(overlapping),
        "failures": failures,
        "recoveries": {point: sorted(times) for point, times in sorted(recoveries.items())},
    }


async def crashes(address: str, directory: Path, *, rounds: int) -> dict[str, Any]:
    """Crash each kind of tool at each point so many times; give what was counted."""
    directory.mkdir()
    rig = await Rig(address, directory).connect()
    made = CrashPoints(rig)
    try:
        await made.run(rounds)
    except Exception as error:
        made.wrong.append(f"{type(error).__name__}: {error}")
    finally:
        rig.end()
    return {"crashes": {f"{tool} {point}": count for (tool, point), count in made.seen.items()}, "wrong": made.wrong}


def show_crashes(result: dict[str, Any]) -> None:
    """Print the table: tools by points."""
    table = Table(title=f"{sum(result['crashes'].values())} crashes of tool calls")
    for column in ("tool", *CALL_POINTS):
        table.add_column(column, justify="left" if column == "tool" else "right")
    for tool in TOOLS:
        table.add_row(tool, *(str(result["crashes"].get(f"{tool} {point}", 0)) for point in CALL_POINTS))
    console = Console()
    console.print(table)
    console.print(f"ends that the rules do not allow: {len(result['wrong'])}")
    for wrong in result["wrong"]:
        console.print(wrong, style="red", markup=False)


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(title=f"{result['kills']} kills in {result['seconds']} s, seed {result['seed']}")
    for column in ("killed at", "kills", "median s", "worst s"):
        table.add_column(column, justify="left" if column == "killed at" else "right")
    for point, times in result["recoveries"].items():
        table.add_row(point, str(len(times)), f"{times[len(times) // 2]:.1f}", f"{times[-1]:.1f}")
    console = Console()
    console.print(table)
    console.print(f"overlapping model calls: {result['overlaps']}; violations: {len(result['failures'])}")
    for failure in result["failures"]:
        console.print(failure, style="red", markup=False)


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="workers to kill (default: 60)")
    parser.add_argument("--lanes", type=int, default=3, help="sessions at once (default: 3)")
    parser.add_argument("--crashes", type=int, default=30, help="of each kind of tool at each point (default: 30)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the points' order")
    parser.add_argument("--json", type=Path, help="write the result there, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, DevServer() as server:
        run = campaign(server.address, Path(directory), kills=args.kills, lanes=args.lanes, seed=args.seed)
        result = asyncio.run(run)
        show(result)
        result |= asyncio.run(crashes(server.address, Path(directory) / "calls", rounds=args.crashes))
        show_crashes(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    return 1 if result["failures"] or result["overlaps"] or result["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())

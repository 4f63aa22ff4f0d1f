"""The fault campaign: `python -m tests.chaos [--minutes M] [--seed S] [--json FILE] [--keep DIRECTORY]`.

Rounds of a few minutes on real processes: a server, two lanes of workers, producers, and faults of every kind. After
each round the checker judges its evidence. Then each kind of tool is crashed at each point of its call, hostile input
is fired at every door, and the inbox is compared with a naive one over millions of steps. The same seed does the same
faults in the same order. Exit code 1 where anything was violated; the evidence of that round is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.campaign.campaign import ROUND, campaign
from tests.chaos.campaign.crash_points import POINTS, TOOLS, CrashPoints
from tests.chaos.campaign.ground import cluster, one_machine
from tests.chaos.checker.__main__ import show
from tests.chaos.fuzz.__main__ import show as show_fire
from tests.chaos.fuzz.fuzz import Bombardment
from tests.property.soak import soak
from tests.support.processes.server import DevServer
from tests.support.rig import Rig


async def crashes(directory: Path, rounds: int) -> dict[str, Any]:
    """Crash each kind of tool at each point so many times; return what was counted."""
    with DevServer() as server:
        rig = await Rig(server.address, directory).connect()
        made = CrashPoints(rig)
        try:
            await made.run(rounds)
        except Exception as error:
            made.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            rig.end()
    return {"crashes": {f"{tool} {point}": count for (tool, point), count in made.seen.items()}, "wrong": made.wrong}


def show_crashes(result: dict[str, Any], console: Console) -> None:
    """Print the table: tools by points."""
    table = Table(title=f"{sum(result['crashes'].values())} crashes of tool calls", title_justify="left")
    for column in ("tool", *POINTS):
        table.add_column(column, justify="left" if column == "tool" else "right")
    for tool in TOOLS:
        table.add_row(tool, *(str(result["crashes"].get(f"{tool} {point}", 0)) for point in POINTS))
    console.print(table)
    console.print(f"ends that the rules do not allow: {len(result['wrong'])}")
    for wrong in result["wrong"]:
        console.print(wrong, style="red", markup=False)


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="The fault campaign.")
    parser.add_argument("--minutes", type=float, default=10.0, help="of faults, in all (default: 10)")
    parser.add_argument("--round", type=float, default=ROUND, help="minutes of a round (default: %(default)g)")
    parser.add_argument("--cluster", action="store_true", help="rounds on a cluster, with the journal on PostgreSQL")
    parser.add_argument("--crashes", type=int, default=30, help="of each kind of tool at each point (default: 30)")
    parser.add_argument("--inputs", type=int, default=100_000, help="that are hostile (default: 100,000)")
    parser.add_argument("--steps", type=int, default=5_000_000, help="of the inbox's machine (default: 5,000,000)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the faults and their order")
    parser.add_argument("--json", type=Path, help="write the summary there, too")
    parser.add_argument("--keep", type=Path, default=Path("chaos-evidence"), help="for rounds with violations")
    args = parser.parse_args()
    console = Console()
    summary = campaign(
        args.minutes,
        args.seed,
        keep=args.keep,
        length=min(args.round, args.minutes),
        ground=cluster if args.cluster else one_machine,
        tell=lambda line: console.print(line, markup=False, highlight=False),
        judged=lambda verdict: show(verdict, console),
    )
    figures: dict[str, Any] = {**summary.as_json(), "wrong": []}
    if args.crashes:
        with tempfile.TemporaryDirectory() as directory:
            figures |= asyncio.run(crashes(Path(directory), args.crashes))
        show_crashes(figures, console)
    if args.inputs:
        with tempfile.TemporaryDirectory() as directory:
            fire = Bombardment(Path(directory), args.seed, inputs=args.inputs, tell=lambda line: None)
            result = asyncio.run(fire.run())
        show_fire(result, console)
        figures["fuzz"] = result.as_json()
        figures["wrong"] += result.findings
    if args.steps:
        figures["inbox"] = soak(args.steps, processes=os.cpu_count() or 1, seed=args.seed)
        figures["wrong"] += figures["inbox"]["failures"]
        console.print(f"{figures['inbox']['steps']:,} steps of the inbox: {len(figures['inbox']['failures'])} failures")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    console.print(
        f"{figures['minutes']} min, {figures['events']:,} events ({figures['events_per_second']}/s), "
        f"{figures['kills']:,} kills ({figures['kills_per_minute']}/min), {summary.violations} violations, "
        f"seed {args.seed}"
    )
    return 1 if summary.violations or figures["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())

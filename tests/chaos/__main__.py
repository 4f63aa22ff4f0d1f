"""The fault campaign: `python -m tests.chaos [--minutes M] [--seed S] [--json FILE] [--keep DIRECTORY]`.

Rounds of a few minutes on real processes: a server, two lanes of workers, producers, and faults of every kind. After
each round the checker judges its evidence. The same seed does the same faults in the same order. Exit code 1 where
anything was violated; the evidence of that round is kept.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from rich.console import Console

from tests.chaos.campaign import ROUND, campaign
from tests.chaos.checker.__main__ import show


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="The fault campaign.")
    parser.add_argument("--minutes", type=float, default=10.0, help="of faults, in all (default: 10)")
    parser.add_argument("--round", type=float, default=ROUND, help="minutes of a round (default: %(default)g)")
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
        tell=lambda line: console.print(line, markup=False, highlight=False),
        judged=lambda verdict: show(verdict, console),
    )
    figures = summary.as_json()
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    console.print(
        f"{figures['minutes']} min, {figures['events']:,} events ({figures['events_per_second']}/s), "
        f"{figures['kills']:,} kills ({figures['kills_per_minute']}/min), {summary.violations} violations, "
        f"seed {args.seed}"
    )
    return 1 if summary.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The fault campaign: `python -m tests.chaos [--minutes M] [--seed S] [--json FILE] [--keep DIRECTORY]`.

Rounds of a few minutes on real processes: a server, two lanes of workers, producers, and faults of every kind. After
each round the checker judges its evidence. The same seed does the same faults in the same order. Exit code 1 where
anything was violated; the evidence of that round is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.chaos.checker.__main__ import show, verdict_of
from tests.chaos.checker.verdict import Verdict
from tests.chaos.rounds import Round
from tests.chaos.summary import Summary

ROUND: Final = 5.0
"""Minutes of a round: its evidence fits into memory, and a violation is found while it is young."""


def campaign(
    minutes: float,
    seed: int,
    *,
    keep: Path,
    length: float = ROUND,
    tell: Callable[[str], None] = print,
    judged: Callable[[Verdict], None] = lambda verdict: None,
) -> Summary:
    """Run rounds until the minutes are over; a round with violations leaves its evidence in `keep`."""
    summary = Summary(seed)
    count = max(1, round(minutes / length))
    for number in range(count):
        with tempfile.TemporaryDirectory(prefix="inturn-chaos-", ignore_cleanup_errors=True) as directory:
            tell(f"round {number + 1} of {count}, seed {seed}/{number}")
            figures = asyncio.run(Round(Path(directory), f"{seed}/{number}", minutes / count, tell).run())
            tell("  judging")
            verdict = verdict_of(Path(directory)).with_finding(
                "audit", "every session's own audit holds", figures["audit_differences"]
            )
            summary.add(verdict, figures)
            judged(verdict)
            if verdict.violations:
                kept = keep / f"{seed}-{number}"
                shutil.copytree(directory, kept, ignore=shutil.ignore_patterns("*.sock", "disk"))
                tell(f"  the evidence is in {kept}")
    return summary


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

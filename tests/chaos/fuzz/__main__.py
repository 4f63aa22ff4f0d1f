"""The fuzzer: `python -m tests.chaos.fuzz [--inputs N | --seconds S --pace P] [--seed S] [--json FILE]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from pathlib import Path

from rich.console import Console

from tests.chaos.fuzz.fuzz import Bombardment, Result


def show(result: Result, console: Console) -> None:
    """Print what came of it."""
    console.print(
        f"{result.inputs:,} inputs in {result.seconds:g} s, {result.acknowledged:,} readable events acknowledged, "
        f"{result.runs} runs, {len(result.findings)} findings, seed {result.seed}"
    )
    console.print(
        f"{result.innocent_turns:,} innocent turns: p99 {result.p99_beside_hostile:.3f} s beside hostile messages, "
        f"{result.p99_beside_plain:.3f} s beside plain ones; worker {result.memory_before >> 20} MiB, at most "
        f"{result.memory_most >> 20} MiB"
    )
    for answer, count in result.answers.most_common():
        console.print(f"  {count:>9,}  {answer}", markup=False)
    for finding in result.findings[:50]:
        console.print(finding, style="red", markup=False)


def main() -> int:
    """Parse the arguments and fire."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fuzz", description="Hostile input at every door.")
    parser.add_argument("--inputs", type=int, help="as many, as fast as they go")
    parser.add_argument("--seconds", type=float, default=60.0, help="of fire (default: 60)")
    parser.add_argument("--pace", type=float, default=40.0, help="inputs a second (default: 40)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    args = parser.parse_args()
    console = Console(highlight=False)
    bounds = {"inputs": args.inputs} if args.inputs else {"seconds": args.seconds, "pace": args.pace}
    with tempfile.TemporaryDirectory(prefix="inturn-fuzz-") as directory:
        fire = Bombardment(Path(directory), args.seed, tell=lambda line: console.print(line, markup=False), **bounds)
        result = asyncio.run(fire.run())
    show(result, console)
    if args.json:
        args.json.write_text(json.dumps(result.as_json(), indent=1) + "\n")
    return 1 if result.findings else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The fuzzer: `python -m tests.chaos.fuzz [--inputs N | --seconds S --pace P] [--messages N] [--seed S] [--json FILE]`.

Live input is fired at a worker on a server; messages are given to replayed sessions, by the hundred thousand a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.chaos.fuzz.fuzz import Bombardment, Result
from tests.chaos.fuzz.replayed import Told, bombard


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


def show_replayed(told: Told, console: Console) -> None:
    """Print what came of the messages to replayed sessions."""
    console.print(
        f"{told.messages:,} messages to {told.histories:,} replayed sessions in {told.seconds:g} s, {told.accepted:,} "
        f"accepted, {told.by_id:,} by their ids, at most {told.largest_state:,} bytes carried, "
        f"{len(told.findings)} findings"
    )
    for finding in told.findings[:50]:
        console.print(finding, style="red", markup=False)


def main() -> int:
    """Parse the arguments and fire."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fuzz", description="Hostile input at every door.")
    parser.add_argument("--inputs", type=int, help="as many, as fast as they go; 0: no live fire")
    parser.add_argument("--seconds", type=float, default=60.0, help="of fire (default: 60)")
    parser.add_argument("--pace", type=float, default=40.0, help="inputs a second (default: 40)")
    parser.add_argument("--messages", type=int, default=0, help="to replayed sessions, besides (default: none)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    args = parser.parse_args()
    console = Console(highlight=False)
    bounds = {"inputs": args.inputs} if args.inputs else {"seconds": args.seconds, "pace": args.pace}
    figures, findings = dict[str, Any](), list[str]()
    if args.inputs != 0:
        with tempfile.TemporaryDirectory(prefix="inturn-fuzz-") as directory:
            fire = Bombardment(
                Path(directory), args.seed, tell=lambda line: console.print(line, markup=False), **bounds
            )
            result = asyncio.run(fire.run())
        show(result, console)
        figures, findings = result.as_json(), result.findings
    if args.messages:
        told = bombard(args.messages, args.seed)
        show_replayed(told, console)
        figures["replayed"] = vars(told)
        findings = [*findings, *told.findings]
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())

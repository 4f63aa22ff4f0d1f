"""`python -m tests.property.soak --steps 5000000 [--processes N] [--seed S] [--json FILE]`: the state machine for long.

Exit code 1 where the inbox did what the naive one does not; the shortest way there is printed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from tests.property.exploring import explore

EXAMPLES = 400
LENGTH = 60


def soak(steps: int, *, processes: int = 1, seed: int = 0) -> dict[str, Any]:
    """Do at least so many steps, other ones for each seed; gives how many were done, and the failures."""
    began, done, failures = time.monotonic(), 0, list[str]()
    starts = itertools.count(seed)
    with ProcessPoolExecutor(processes) as pool:
        running = {pool.submit(_part, next(starts)) for _ in range(processes)}
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for part in ended:
                finished, failure = part.result()
                done += finished
                failures += [failure] if failure else []
                if done < steps and not failures:
                    running.add(pool.submit(_part, next(starts)))
            print(f"{done:,} of {steps:,} steps in {time.monotonic() - began:.0f} s", flush=True)
    seconds = round(time.monotonic() - began, 1)
    return {"seed": seed, "steps": done, "seconds": seconds, "processes": processes, "failures": failures}


def _part(start: int) -> tuple[int, str | None]:
    try:
        return explore(EXAMPLES, LENGTH, start=start), None
    except (Exception, ExceptionGroup) as error:  # whatever the inbox raises is a failure of it
        told = "\n".join(getattr(error, "__notes__", []))
        return 0, f"start {start}: {type(error).__name__}: {error}\n{told}"


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000_000, help="steps to do (default: 5,000,000)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once (default: one per CPU)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the choices")
    parser.add_argument("--json", type=Path, help="write the result there, too")
    args = parser.parse_args()
    result = soak(args.steps, processes=args.processes, seed=args.seed)
    for failure in result["failures"]:
        print(failure)
    print(
        f"{result['steps']:,} steps in {result['seconds']} s, seed {result['seed']}: {len(result['failures'])} failures"
    )
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    raise SystemExit(main())

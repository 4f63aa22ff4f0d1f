"""`python -m tests.property.conversations [--steps N] [--seed S] [--all]`: play plans for long; exit code 1 on a fault.

With `--all` it goes on behind a fault, and tells the shortest way to each kind of fault that it found.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections import Counter

from tests.property.conversations.exploring import explore, kind, shrunk
from tests.property.conversations.plans import Turn


async def main() -> int:
    """Parse the arguments and play."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="steps to do (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--all", action="store_true", help="go on behind a fault")
    args = parser.parse_args()
    kinds: Counter[str] = Counter()
    ways: dict[str, tuple[int, list[Turn], Exception]] = {}

    def found(seed: int, turns: list[Turn], broken: Exception) -> bool:
        kinds[kind(broken)] += 1
        ways.setdefault(kind(broken), (seed, turns, broken))
        return not args.all

    began, compacted = time.monotonic(), Counter[str]()
    done = await explore(itertools.count(args.seed), steps=args.steps, found=found, compacted=compacted)
    print(f"{done:,} steps in {time.monotonic() - began:.1f} s: {sum(kinds.values())} faults of {len(kinds)} kinds")
    print(", ".join(f"{count} by {name}" for name, count in compacted.most_common()) or "nothing compacted")
    for name, count in kinds.most_common():
        seed, turns, broken = ways[name]
        few, error = await shrunk(turns, broken)
        print(f"\n{count}× seed {seed}: {error}")
        for turn in few:
            print(f"    {turn}")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

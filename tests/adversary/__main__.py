"""Known triggers of faults, played against today's code: `python -m tests.adversary [KIND…]`.

Prints what happens to each, and fails only where a trigger itself breaks: a fault that is mended gets a test, and its
trigger stays to be looked at.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.adversary import blamed, costs
from tests.adversary.stage import Trigger

KINDS: Final[Mapping[str, Mapping[str, Trigger]]] = {
    "blamed": blamed.TRIGGERS,
    "costs": costs.TRIGGERS,
}


@dataclass(frozen=True)
class Outcome:
    """What a trigger said, and the error that broke it."""

    lines: list[str]
    error: Exception | None = None


async def played(trigger: Trigger) -> Outcome:
    """Return what becomes of a trigger."""
    lines: list[str] = []
    try:
        await trigger(lines.append)
    except Exception as error:  # the others are played all the same
        return Outcome(lines, error)
    return Outcome(lines)


async def play(kinds: Sequence[str]) -> dict[str, Outcome]:
    """Return what becomes of the triggers of some kinds, all played at once."""
    triggers = {f"{kind}: {name}": trigger for kind in kinds for name, trigger in KINDS[kind].items()}
    outcomes = await asyncio.gather(*map(played, triggers.values()))
    return dict(zip(triggers, outcomes, strict=True))


def main() -> int:
    """Parse the arguments and play."""
    parser = argparse.ArgumentParser(prog="python -m tests.adversary", description="Known triggers of faults.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)} (default: all)")
    kinds = parser.parse_args().kinds or list(KINDS)
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    outcomes = asyncio.run(play(kinds))
    for name, outcome in outcomes.items():
        broke = [f"broke: {outcome.error!r}"] if outcome.error else []
        print("\n  ".join([name, *outcome.lines, *broke]))
    return 1 if any(outcome.error for outcome in outcomes.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A campaign: rounds of faults, each judged by the checker when it is over.

Invariant: no round's figures count without its verdict. What a round with violations or one that broke off leaves is
kept.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.chaos.campaign.ground import MakeGround, one_machine
from tests.chaos.campaign.rounds import Round
from tests.chaos.campaign.summary import Summary
from tests.chaos.checker.__main__ import verdict_of
from tests.chaos.checker.verdict import Verdict

ROUND: Final = 5.0
"""Minutes of a round: its evidence fits into memory, and a violation is found while it is young."""


def campaign(
    minutes: float,
    seed: int,
    *,
    keep: Path,
    length: float = ROUND,
    ground: MakeGround = one_machine,
    tell: Callable[[str], None] = print,
    judged: Callable[[Verdict], None] = lambda verdict: None,
) -> Summary:
    """Run rounds until the minutes are over; a round with violations leaves its evidence in `keep`."""
    summary = Summary(seed)
    count = max(1, round(minutes / length))
    for number in range(count):
        with tempfile.TemporaryDirectory(prefix="inturn-chaos-", ignore_cleanup_errors=True) as directory:
            tell(f"round {number + 1} of {count}, seed {seed}/{number}")
            before = summary.violations
            try:
                played = Round(Path(directory), f"{seed}/{number}", minutes / count, tell, ground=ground)
                figures = asyncio.run(played.run())
            except Exception as error:  # the other rounds count all the same
                summary.add_broken(error)
                tell(f"  broken off: {error!r}")
            else:
                tell("  judging")
                verdict = verdict_of(Path(directory)).with_finding(
                    "audit", "every session's own audit holds", figures["audit_differences"]
                )
                summary.add(verdict, figures)
                judged(verdict)
            if summary.violations > before:
                kept = keep / f"{seed}-{number}"
                shutil.copytree(directory, kept, ignore=shutil.ignore_patterns("*.sock", "disk", "data"))
                tell(f"  the evidence is in {kept}")
    return summary

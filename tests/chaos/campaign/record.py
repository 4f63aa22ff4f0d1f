"""`python -m tests.chaos.campaign.record`: records the small good run that the planted bugs are planted in.

It writes `tests/chaos/recorded/` anew: a few sessions with kills, tools, merged and parked events and several runs.
Stack traces are left out: they name paths of the machine.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from tests.chaos.campaign.rounds import Round
from tests.chaos.campaign.traffic import Traffic
from tests.chaos.checker.__main__ import show, verdict_of
from tests.chaos.checker.recording import read
from tests.chaos.checker.verdict import Verdict

RECORDED: Final = Path(__file__).parents[1] / "recorded"
SLOTS: Final = {"scripted": 1, "claude": 1}
MIX: Final = {name: {"pay": 0.1, "post": 0.1, "poison": 0.05} for name in SLOTS}
TRAFFIC: Final = Traffic(merged=0.3, numbered=0.3, lost=0.1, steered=0.2, interrupting=0.05, stopped=0.1)
MINUTES: Final = 0.15
ATTEMPTS: Final = 20


def main() -> int:
    """Record until a run has something of everything, and keep that."""
    for number in range(ATTEMPTS):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            directory = Path(name)
            asyncio.run(Round(directory, f"recorded {number}", MINUTES, slots=SLOTS, mix=MIX, traffic=TRAFFIC).run())
            verdict = verdict_of(directory)
            show(verdict, Console())
            if not verdict.violations and _rich(verdict, directory):
                _keep(directory)
                return 0
    return 1


def _rich(verdict: Verdict, directory: Path) -> bool:
    recording = read(directory)
    tools = {row.get("tool") for row in recording.ledger}
    endings = {"applied", "merged", "parked"}
    counts = verdict.counts
    enough = counts["runs"] > counts["sessions"] and counts["repeated_attempts"]
    answered = any("canary-" in line["asked"] for line in recording.answers)
    seen = counts["gaps"] and counts["interrupted"] and counts["steered"]
    return bool(enough and answered and seen and tools >= {"pay", "post"} and verdict.dispositions.keys() >= endings)


def _keep(directory: Path) -> None:
    shutil.rmtree(RECORDED, ignore_errors=True)
    (RECORDED / "histories").mkdir(parents=True)
    for name in ("producers.jsonl", "effects.jsonl", "faults.jsonl"):
        shutil.copy(directory / name, RECORDED)
    for path in (directory / "histories").glob("*.json"):
        history = json.loads(path.read_text())
        text = json.dumps(_bare(history), separators=(",", ":"))
        (RECORDED / "histories" / path.name).write_text(text + "\n")


def _bare(value: Any) -> Any:
    """Leave stack traces out."""
    if isinstance(value, dict):
        return {key: _bare(each) for key, each in value.items() if key != "stackTrace"}
    if isinstance(value, list):
        return [_bare(each) for each in value]
    return value


if __name__ == "__main__":
    raise SystemExit(main())

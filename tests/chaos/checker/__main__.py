"""`python -m tests.chaos.checker DIRECTORY [--json] [--no-replay]`: exit code 1 where anything was violated."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.checker.recording import read
from tests.chaos.checker.verdict import Verdict, judge

REPLAYS = "every run replays on the current code"


def verdict_of(directory: Path, *, replays: bool = True) -> Verdict:
    """Judge a campaign's directory."""
    verdict = judge(read(directory))
    if not replays:
        return verdict
    from tests.chaos.checker.replaying import replay_all

    return verdict.with_finding("replay", REPLAYS, replay_all(sorted((directory / "histories").glob("*.json"))))


def show(verdict: Verdict, console: Console) -> None:
    """Print the verdict as a table."""
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in verdict.counts.items())
    table = Table(title=f"{verdict.violations} violations", title_justify="left")
    for column in ("check", "says", "violations"):
        table.add_column(column, justify="right" if column == "violations" else "left")
    for finding in verdict.findings:
        style = "red" if finding.violations else None
        table.add_row(finding.check, finding.says, str(finding.violations), style=style)
    console.print(table)
    console.print(counts, markup=False)
    console.print(f"dispositions: {verdict.dispositions}; faults: {verdict.faults}", markup=False)
    for finding in verdict.findings:
        for quoted in finding.quoted:
            console.print(f"{finding.check}: {quoted}", style="red", markup=False)


def main() -> int:
    """Parse the arguments and judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.checker", description="Judges a recorded campaign.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON instead of the table")
    parser.add_argument("--no-replay", action="store_true", help="leave the replay of the histories out")
    args = parser.parse_args()
    verdict = verdict_of(args.directory, replays=not args.no_replay)
    if args.json:
        print(json.dumps(verdict.as_json(), indent=1))
    else:
        show(verdict, Console())
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())

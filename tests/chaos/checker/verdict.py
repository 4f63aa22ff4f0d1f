"""The verdict on a recording: every check's findings, and what was looked at.

Invariant: a verdict without turns, effects and faults is no good one: nothing was shown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tests.chaos.checker import interrupts
from tests.chaos.checker.checks import CHECKS, Check, retries
from tests.chaos.checker.recording import Recording

SHOWN: Final = 20
"""Findings per check that a verdict quotes; it counts all."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    says: str
    violations: int
    quoted: list[str]


@dataclass(frozen=True)
class Verdict:
    """All findings, and the size of what was judged."""

    findings: list[Finding]
    counts: dict[str, int]
    dispositions: dict[str, int]
    faults: dict[str, int]
    points: dict[str, int] = field(default_factory=dict)

    @property
    def violations(self) -> int:
        """All of them."""
        return sum(finding.violations for finding in self.findings)

    def broken(self) -> list[str]:
        """The names of the checks that found something."""
        return [finding.check for finding in self.findings if finding.violations]

    def with_finding(self, name: str, says: str, violations: list[str]) -> Verdict:
        """Add what a check from elsewhere found."""
        found = Finding(name, says, len(violations), violations[:SHOWN])
        return Verdict([*self.findings, found], self.counts, self.dispositions, self.faults, self.points)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"violations": self.violations, **asdict(self)}


def judge(recording: Recording) -> Verdict:
    """Run every check."""
    done = recording.done
    sessions = recording.sessions.values()
    return Verdict(
        findings=[_findings(check, recording) for check in CHECKS],
        counts=_counts(recording),
        dispositions=dict(Counter(end.how for s in sessions for ends in s.ends.values() for end in ends)),
        faults=dict(Counter(line["kind"] for line in done)),
        points=dict(Counter(line["point"] for line in done if line.get("point") and line.get("hit"))),
    )


def _findings(check: Check, recording: Recording) -> Finding:
    found = list(check.find(recording))
    return Finding(check.name, check.says, len(found), found[:SHOWN])


def _counts(recording: Recording) -> dict[str, int]:
    outcomes = Counter(call.outcomes for call in recording.calls)
    sessions = recording.sessions.values()
    effects = [row for row in recording.ledger if row["kind"] == "effect"]
    return {
        "sessions": len(sessions),
        "runs": sum(len(session.runs) for session in sessions),
        "calls": len(recording.calls),
        "acknowledged": len(recording.promised),
        "unknown": outcomes["unknown",],
        "refused": outcomes["fail",],
        "events": sum(len(session.accepted) for session in sessions),
        "resent": sum(len(run.accepted) for s in sessions for run in s.runs) - sum(len(s.accepted) for s in sessions),
        "numbered": sum(event.number is not None for s in sessions for event in s.arrivals.values()),
        "gaps": sum(len(session.gaps) for session in sessions),
        "turns": sum(len(session.turns) for session in sessions),
        "steps": sum(len(session.steps) for session in sessions),
        "answers": len(recording.answers),
        **interrupts.counts(recording),
        "effects": len({row["key"] for row in effects}),
        "bodies": len(effects),
        "model_calls": sum(row["kind"] == "model" for row in recording.ledger),
        "repeated_attempts": retries(recording),
        "lost_tasks": sum(run.lost_tasks for session in sessions for run in session.runs),
        "workers": len({name for session in sessions for run in session.runs for name in run.workers}),
    }

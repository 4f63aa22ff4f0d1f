"""The figures of a whole campaign: the rounds' verdicts, added up.

Invariant: a figure is counted by the checker from the evidence, or marked as the campaign's own word (`done`).
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from tests.chaos.checker.verdict import Verdict


@dataclass
class Summary:
    """What `--json` writes, and `docs/evidence/` keeps."""

    seed: int
    began: float = field(default_factory=time.time)
    rounds: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of everything: server, workers, producers, proxies."""
    counts: Counter[str] = field(default_factory=Counter)
    dispositions: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    quoted: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict, figures: dict[str, Any]) -> None:
        """Add a round."""
        self.rounds += 1
        self.seconds += figures["seconds"]
        self.cpu += figures["cpu_seconds"]
        self.counts.update(verdict.counts)
        self.dispositions.update(verdict.dispositions)
        self.faults.update(verdict.faults)
        self.points.update(verdict.points)
        self.faults["server died by itself"] += figures["server_deaths"]
        for finding in verdict.findings:
            self.checks[finding.check] += finding.violations
            self.quoted += [f"{finding.check}: {text}" for text in finding.quoted]

    def add_broken(self, error: Exception) -> None:
        """Add a round that did not come to its end: nobody knows what it would have shown."""
        self.rounds += 1
        self.checks["campaign"] += 1
        self.quoted.append(f"campaign: {type(error).__name__}: {error}")

    @property
    def violations(self) -> int:
        """All of them."""
        return sum(self.checks.values())

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        minutes = max(self.seconds / 60, 0.01)
        return {
            "began": time.strftime("%Y-%m-%d %H:%M", time.gmtime(self.began)),
            "seed": self.seed,
            "rounds": self.rounds,
            "minutes": round(self.seconds / 60, 1),
            "events": self.counts["events"],
            "events_per_second": round(self.counts["events"] / max(self.seconds, 1), 1),
            "cpu_ms_per_event": round(1000 * self.cpu / max(self.counts["events"], 1), 1),
            "kills": self.faults["kill"],
            "kills_per_minute": round(self.faults["kill"] / minutes, 1),
            "violations": self.violations,
            "checks": dict(self.checks),
            "quoted": self.quoted[:50],
            "counts": dict(self.counts),
            "dispositions": dict(self.dispositions),
            "faults": dict(+self.faults),
            "points": dict(sorted(self.points.items())),
            "machine": machine(),
        }


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "temporalio": version("temporalio"),
        "inturn": version("inturn"),
    }

"""The rate of turns, by its definition: over any span of t seconds at most burst + rate * t turns start."""

from __future__ import annotations

from dataclasses import dataclass, field

from inturn.policy import InboxPolicy


@dataclass(eq=False)
class PaceModel:
    """When every turn started."""

    starts: list[float] = field(default_factory=list)

    def opens(self, policy: InboxPolicy) -> float:
        """Return the earliest time at which one more turn may start."""
        if policy.rate is None:
            return 0.0
        count = len(self.starts) + 1
        spans = [start + (count - k - policy.burst) / policy.rate for k, start in enumerate(self.starts)]
        return max(spans, default=0.0)

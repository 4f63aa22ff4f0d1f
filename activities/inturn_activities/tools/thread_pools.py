"""The threads of a worker.

Invariant: tools, deliveries and the small functions around them have threads of their own, so none of them waits for
what another one hangs in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from inturn.tools.threads import Threads
from inturn_activities.bounds import Bounds


@dataclass(frozen=True, slots=True)
class ThreadPools:
    """Threads by what runs in them."""

    tools: Threads
    deliveries: Threads
    checks: Threads

    @classmethod
    def of(cls, bounds: Bounds) -> Self:
        """Make the pools of a worker."""

        def threads() -> Threads:
            return Threads(bounds.all_threads, share=bounds.threads, spare=bounds.hung_threads)

        return cls(threads(), threads(), threads())

    @property
    def full(self) -> bool:
        """Whether what hangs is in the way of what does not."""
        return self.tools.full or self.deliveries.full or self.checks.full

    def stuck(self) -> str:
        """Return what hangs where only a restart helps; "" elsewhere."""
        return self.trouble() if self.full else ""

    def trouble(self) -> str:
        """Return what hangs, for people; "" where nothing does."""
        hung = self.tools.hung + self.deliveries.hung + self.checks.hung
        most = ", ".join(f"{n} of {who}" for who, n in hung.most_common(3))
        return f"{hung.total()} threads hang: {most}" if hung else ""

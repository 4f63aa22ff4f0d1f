"""How often turns may start: a token bucket.

Invariant: over any span of `t` seconds at most `burst + rate * t` turns start, also across continue-as-new: the whole
bucket is one carried number, the time at which it would be full again (the generic cell rate algorithm).
"""

from __future__ import annotations

from inturn.policy import InboxPolicy
from inturn.wire import Message


class TokenBucket(Message):
    """A session's bucket; full at first."""

    full_at: float = 0.0

    def ready_at(self, policy: InboxPolicy) -> float:
        """Return when the next turn may start, in seconds since 1970; 0 without a rate."""
        if policy.rate is None:
            return 0.0
        return max(0.0, self.full_at - (policy.burst - 1) / policy.rate)

    def wait(self, turns: int, now: float, policy: InboxPolicy) -> float:
        """Return the seconds until so many turns may have started; 0 without a rate."""
        if policy.rate is None:
            return 0.0
        return max(0.0, max(0.0, self.full_at - now) + (turns - policy.burst) / policy.rate)

    def spend(self, now: float, policy: InboxPolicy) -> None:
        """Take the token of a turn that starts."""
        if policy.rate is not None:
            self.full_at = max(self.full_at, now) + 1 / policy.rate

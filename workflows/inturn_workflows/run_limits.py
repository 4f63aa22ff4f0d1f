"""When a run must end and continue as new: by its history, its signals and updates, sooner in a flood.

Invariant: a run that is flooded stays short, since the task that ends it may be replayed from its start again and again
(`policies` says why); each run gets something done.
"""

from __future__ import annotations

from collections import deque

from temporalio import workflow

from inturn import sizes
from inturn_workflows import policies
from inturn_workflows.state import SessionState


class RunLimits:
    """Counts what comes in, and says when the run is to end."""

    def __init__(self, state: SessionState) -> None:
        """Begin to count at the run's first task."""
        self._state = state
        info = workflow.info()
        self._began = info.get_current_history_length(), info.get_current_history_size()
        """Events and bytes that the run's first task found: in a flood they may be many."""
        self.signals = 0
        """How many the run has had."""
        self._updates = 0
        self._latest: deque[float] = deque(maxlen=policies.FLOOD)
        self._told = False

    def count_signal(self) -> None:
        """Count a signal."""
        now = workflow.time()
        self.signals += 1
        self._latest.append(now)
        if len(self._latest) == policies.FLOOD and now - self._latest[0] < policies.FLOOD_SECONDS:
            self._state.flooded_at = now

    def count_update(self) -> None:
        """Count an update."""
        self._updates += 1

    def end_run(self) -> None:
        """Have the run end at its next boundary, however short it is."""
        self._told = True

    @property
    def reached(self) -> bool:
        """Whether the run's history is long enough; in a flood it is sooner: what is replayed must be short.

        What it began with does not count: a session that carries much could do nothing else than go on.
        """
        if self._told or self._uses(1.0, but_bytes=self._began[1]):
            return True
        if workflow.info().is_continue_as_new_suggested() or self.cut_due:
            return True
        return self.flooded and self._grown(1.0)

    @property
    def flooded(self) -> bool:
        """Whether signals flood in: they take every place that gets free."""
        return workflow.time() - self._state.flooded_at < policies.FLOOD_SECONDS

    @property
    def nearly_reached(self) -> bool:
        """Whether a flooded run is about to end."""
        return self.flooded and self._grown(policies.NEARLY)

    @property
    def cut_due(self) -> bool:
        """Whether a running model call is to be cut: the room left must last until the run ends."""
        full = workflow.info().get_current_history_size() > sizes.CUT_RUN
        return full or self.signals > self._state.limits.cut_signals

    @staticmethod
    def has_room(size: int) -> bool:
        """Return whether the run takes an update of so many bytes: what it brings is kept whole by the history.

        What is left must last until the run ends. A client of this project looks itself; in a replay nobody asks.
        """
        most = sizes.SIGNALLED_RUN if size <= sizes.INLINE else sizes.INLINE_RUN
        return workflow.info().get_current_history_size() <= most

    def _grown(self, share: float) -> bool:
        """Return whether a flooded run grew by so much since its first task: each gets something done."""
        return self._uses(share * policies.FLOOD_SHARE, *self._began)

    def _uses(self, share: float, but_events: int = 0, but_bytes: int = 0) -> bool:
        """Return whether such a share of a limit of the run is used, not counting these."""
        info, limits = workflow.info(), self._state.limits
        return (
            info.get_current_history_length() - but_events > share * limits.events
            or self.signals > share * limits.signals
            or self._updates > share * limits.updates
            or info.get_current_history_size() - but_bytes > share * limits.bytes
        )

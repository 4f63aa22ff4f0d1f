"""Timeouts and retries of every step, each with its reason; nothing else in the project sets one inline.

Invariant: no step has a schedule-to-close timeout or a maximum of attempts (one that was sent to another task queue
comes back where nobody takes it). Attempts are counted per class of failure
in the ledger, and an activity that has failed for good says so itself (non-retryable), so an outage costs time and no
event.

Waits in a workflow are bounded by `asyncio.timeout`: that of `wait_condition` is `asyncio.wait_for`, which takes a turn
of the loop more on Python 3.11 than on later ones, so a history of one would not replay on the other.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

from inturn import names
from inturn.turns.call_results import DELIVERY_TIMEOUT

HEARTBEAT: Final = timedelta(seconds=5)
"""A dead worker is noticed after this. Shorter would take a busy event loop for dead, or ask for more beats, each of
them a request to the server."""

_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=0.2),  # after a dead worker; failures bring their own delay
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=60),  # an outage is probed at least once a minute
    maximum_attempts=0,
    non_retryable_error_types=[names.OWN_FAILURE, names.SUPERSEDED],
)
_JOURNAL_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=1.5,
    maximum_interval=timedelta(seconds=15),  # the journal is expected back soon, and the session waits for it
    maximum_attempts=0,
)

MODEL_TIMEOUT: Final = timedelta(minutes=60)
"""The longest answer: 128,000 tokens of a slow model. A stalled stream ends much earlier by the stall timeout."""
CLAIM_MARGIN: Final = 30.0
"""Seconds a call's attempt may wait for locks or an older attempt's lease before its body starts."""
RECORD_MARGIN: Final = 15.0
"""Seconds for its transactions around the body."""

UNSERVED: Final = timedelta(seconds=15)
"""A step waits so long on another task queue than the session's own; then that one is asked again who can do it."""
MAX_QUEUES: Final = 5
"""Task queues to which one step is sent, one after another."""
LONGEST_PAUSE: Final = 60.0
"""Seconds before what somebody without the keys said is recorded is recorded again; a second more each time."""

# Continue as new: between turns or steps when a run's history has one of these.
# Replayed, like everything a workflow decides: once released, a change needs a gate (`patches`).
MAX_EVENTS: Final = 1_200
"""A cold worker replays this in well under a second; the server suggests 4,096."""
MAX_BYTES: Final = 2 * 1024 * 1024
"""The server suggests 4 MiB."""
MAX_SIGNALS: Final = 5_000
"""The server refuses signals above 10,000 and never suggests."""
CUT_SIGNALS: Final = 8_000
"""From here a running model call is cut: the room left must last until the run ends."""
CARRIED_DECISIONS: Final = 250
"""Not recorded yet when a run ends; with twice as many they would only be counted."""
CARRIED_BYTES: Final = 96 * 1024
"""The same in bytes: events set aside may be large."""
MAX_UPDATES: Final = 1_000
"""The server allows 2,000 in a run."""

# In a flood the task that ends a run fails, since signals come in meanwhile. The server then keeps signals away from
# its retry, which replays the run, but forgets to once it has refused an update there (1.29.1). The run would be
# replayed again and again, longer each time, until the flood ends. So flooded runs are short, and updates stay away.
# These three are replayed; NEARLY and FLOOD_RETRY are not.
FLOOD: Final = 200
FLOOD_SECONDS: Final = 10.0
"""So many signals in so short a time are a flood."""
FLOOD_SHARE: Final = 0.35
"""Of a run's limits: so much it may grow in a flood."""
NEARLY: Final = 0.6
"""Of what a flooded run may grow: from here on it takes no updates."""
FLOOD_RETRY: Final = 30.0
"""Seconds after which an update may come again that a flooded session refused: few may come while a run ends."""

MAX_WAITERS: Final = 4
"""`ask`s that wait in a run. It has 10 update slots, and controls need some."""


def model_step() -> dict[str, Any]:
    """Options of `call_model`."""
    return _step(MODEL_TIMEOUT, _RETRY)


def tool_call(timeout: float) -> dict[str, Any]:
    """Options of `run_tool`; `timeout` is the tool's own in seconds."""
    return _step(timedelta(seconds=CLAIM_MARGIN + timeout + RECORD_MARGIN), _RETRY)


def delivery() -> dict[str, Any]:
    """Options of `deliver`."""
    return tool_call(DELIVERY_TIMEOUT)


def queue(name: str | None) -> dict[str, Any]:
    """Return the options that send a step to another task queue; none for the session's own."""
    return {} if name is None else {"task_queue": name, "schedule_to_start_timeout": UNSERVED}


def tick() -> dict[str, Any]:
    """Return the options of a tick's one step: a call to the server and perhaps one to the journal, until it is in."""
    retry = RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30), maximum_attempts=0
    )
    return {"start_to_close_timeout": timedelta(seconds=60), "retry_policy": retry}


def record() -> dict[str, Any]:
    """Options of `record`: short, and retried until the journal takes it."""
    return _step(timedelta(seconds=30), _JOURNAL_RETRY)


def _step(timeout: timedelta, retry: RetryPolicy) -> dict[str, Any]:
    return {
        "start_to_close_timeout": timeout,
        "heartbeat_timeout": HEARTBEAT,
        "retry_policy": retry,
        # A cancelled step may have had its effect: wait and see what it says.
        "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    }

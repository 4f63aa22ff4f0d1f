"""The rows: what is counted, in which unit, and what belongs beside it.

Invariant: a row's name stands here once.
"""

from __future__ import annotations

from typing import Final

OVERLAPS: Final = "model calls that overlap, 5 events sent meanwhile"
DISORDER: Final = "answers given after a later event's, of 5"
BUSY_LOST: Final = "events of these without an answer"
TWICE: Final = "turns too many, 5 events delivered twice"
POISONED: Final = "good events stuck behind a refused one"
ASKED: Final = "model calls spent on the refused one within seconds"
FLOOD_LOST: Final = "events lost around continue-as-new, in a flood"
FLOOD_DISORDER: Final = "events answered out of order in it"
FLOOD_RUNS: Final = "runs that it took"
FLOOD_LONGEST: Final = "history events of its longest run, where 60 were asked for"
LARGE: Final = "messages of 50,000 characters answered, of 25"
DOUBLED: Final = "effects repeated after SIGKILL, of 5, without keys"
DOUBLED_KEYED: Final = "effects repeated after SIGKILL, of 5, where the other side takes keys"
KILLED_LOST: Final = "events of these without an answer later"
HISTORY_BYTES: Final = "history bytes of the whole conversation"
LARGEST_RUN: Final = "history bytes of its largest run"
HISTORY_EVENTS: Final = "history events of the whole conversation"
JOURNAL: Final = "bytes kept beside Temporal, for one conversation"
EARLY_P50: Final = "latency around turn 10, p50"
EARLY_P99: Final = "latency around turn 10, p99"
LATE_P50: Final = "latency of the last turns, p50"
LATE_P99: Final = "latency of the last turns, p99"
EARLY_CPU: Final = "worker CPU per turn around turn 10"
LATE_CPU: Final = "worker CPU per turn of the last turns"
LINES: Final = "lines of workflow and activities"

UNITS: Final = dict.fromkeys((EARLY_P50, EARLY_P99, LATE_P50, LATE_P99, EARLY_CPU, LATE_CPU), "ms")

COUNTED: Final = (
    OVERLAPS,
    DISORDER,
    BUSY_LOST,
    TWICE,
    POISONED,
    FLOOD_LOST,
    FLOOD_DISORDER,
    DOUBLED,
    DOUBLED_KEYED,
    KILLED_LOST,
)
"""What should be none."""
ALL: Final = (
    *COUNTED[:5],
    ASKED,
    *COUNTED[5:7],
    FLOOD_RUNS,
    FLOOD_LONGEST,
    *COUNTED[7:],
    LARGE,
    HISTORY_BYTES,
    LARGEST_RUN,
    HISTORY_EVENTS,
    JOURNAL,
    EARLY_P50,
    EARLY_P99,
    EARLY_CPU,
    LATE_P50,
    LATE_P99,
    LATE_CPU,
    LINES,
)
NOTES: Final = (
    "A tool whose worker died is never repeated by inturn unless it says that it may be: the model is told that the "
    "outcome is unknown. The others repeat it. Where the other side takes keys, a tuned way is as safe; a tool that "
    "must not be repeated can have one attempt there too, and its turn fails.",
    "A chat whose conversation is small, whose producers never repeat themselves and whose tools have no effects loses "
    "nothing by being short.",
)

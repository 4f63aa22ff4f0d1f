"""The budgets, as the design gives them; every part names the rows it measures.

Invariant: a number stands here once, and no part judges itself.
"""

from __future__ import annotations

from typing import Final

from bench.report import Budget

SEND_EVENTS: Final = "events of a plain turn by send"
ASK_EVENTS: Final = "events of a plain turn by ask"
TOOL_EVENTS: Final = "events of a turn with one tool"
SEND_BYTES: Final = "bytes of a plain turn by send"
ASK_BYTES: Final = "bytes of a plain turn by ask, text inline"
READ_BYTES: Final = "bytes of a plain turn by ask, text from the journal"
GROWTH: Final = "bytes of turn 1,000 against turn 10"
SEND_P50: Final = "latency by send, p50"
SEND_P99: Final = "latency by send, p99"
ASK_P50: Final = "latency by ask, p50"
ASK_P99: Final = "latency by ask, p99"
SEND_THROUGHPUT: Final = "throughput by send, 50 sessions"
ASK_THROUGHPUT: Final = "throughput by ask, 50 sessions"
SEND_CPU: Final = "worker CPU per turn by send"
ASK_CPU: Final = "worker CPU per turn by ask"
WARM: Final = "call_model overhead, 1,000 messages, warm"
COLD: Final = "call_model overhead, 1,000 messages, cold"
CLAUDE_CPU: Final = "CPU of call_model by Claude's provider, 1,000 messages"
CLAUDE_CPU_LONG: Final = "CPU of call_model by Claude's provider, 10,000 messages"
INTERRUPT: Final = "interrupt to closed model stream, same process"
INTERRUPT_ACROSS: Final = "interrupt to closed model stream, another process"
KILLED: Final = "SIGKILL in mid-turn to turn done"
IDLE: Final = "SIGKILL, idle session's next turn"
LOST: Final = "machine lost in mid-turn to turn done"
LOST_IDLE: Final = "machine lost, idle session's next turn"
STREAM_WORKER: Final = "worker CPU of a streamed answer, 100 at once"
STREAM_SERVER: Final = "server CPU of a streamed answer, 100 at once"
STREAM_REQUESTS: Final = "requests of a streamed answer, 100 at once"
STREAM_LATER: Final = "streamed answer later than the model's end, 200 at once"
JOURNAL_TURNS: Final = {
    milliseconds: f"journal of a plain turn on PostgreSQL beyond 4 trips, +{milliseconds} ms"
    for milliseconds in (0, 1, 5)
}
JOURNAL_LOAD: Final = "turns of 8 sessions in 4 processes on PostgreSQL, a second"
JOURNAL_TENANT: Final = "turns of one tenant on PostgreSQL at +5 ms, a second"
STORES: Final = ("SQLite", "PostgreSQL")
LIVE_ONE: Final = {store: f"a word from the model to 3 readers' processes, {store}" for store in STORES}
LIVE_MANY: Final = {store: f"a word from the model to its reader, 100 at once, {store}" for store in STORES}
LIVE_COMMITS: Final = {store: f"transactions of words, 100 at once, {store}" for store in STORES}
LIVE_JOIN: Final = {store: f"first word for who begins to look, {store}" for store in STORES}
LIVE_UNSEEN: Final = "CPU of writing down what nobody looks at, 200 pieces"
MEMORY: Final = "memory per cached idle session"
IMPORT: Final = "import inturn"
ADMIT_SOME: Final = "admit and take, 1,000 queued against 10"
ADMIT_MANY: Final = "admit and take, 10,000 queued against 10"
WINDOW: Final = "admit and take, what 10,000 remembered ids add"

PARTS: Final[dict[str, list[Budget]]] = {
    "history": [
        Budget(SEND_EVENTS, 10, "events", by="exact"),
        Budget(ASK_EVENTS, 11, "events", by="exact"),
        Budget(TOOL_EVENTS, 22, "events", by="exact"),
        Budget(SEND_BYTES, 3_000, "bytes"),
        Budget(ASK_BYTES, 4_200, "bytes"),
        Budget(READ_BYTES, 4_200, "bytes"),
        Budget(GROWTH, 5, "%"),
    ],
    "latency": [
        Budget(SEND_P50, 1.25, "×"),
        Budget(SEND_P99, 1.5, "×"),
        Budget(ASK_P50, 1.25, "×"),
        Budget(ASK_P99, 1.5, "×"),
    ],
    "load": [
        Budget(SEND_THROUGHPUT, 0.75, "×", at_least=True),
        Budget(ASK_THROUGHPUT, 0.75, "×", at_least=True),
        Budget(SEND_CPU, 1.4, "×"),
        Budget(ASK_CPU, 1.4, "×"),
    ],
    "model": [
        Budget(WARM, 5, "ms"),
        Budget(COLD, 50, "ms"),
        Budget(CLAUDE_CPU, 5, "ms"),
        Budget(CLAUDE_CPU_LONG, 15, "ms"),
    ],
    "interrupt": [Budget(INTERRUPT, 0.3, "s", by="p99"), Budget(INTERRUPT_ACROSS, 0.5, "s", by="p99")],
    "kills": [Budget(KILLED, 10, "s", by="p99"), Budget(IDLE, 3, "s", by="p99")],
    "streaming": [
        Budget(STREAM_WORKER, 25, "ms"),
        Budget(STREAM_SERVER, 28, "ms"),
        Budget(STREAM_REQUESTS, 16, "requests"),
        Budget(STREAM_LATER, 1, "s", by="p99"),
    ],
    "lost": [Budget(LOST, 12, "s", by="p99"), Budget(LOST_IDLE, 12, "s", by="p99")],
    "journal": [
        *(Budget(name, 7, "ms") for name in JOURNAL_TURNS.values()),
        Budget(JOURNAL_LOAD, 450, "turns", at_least=True),
        Budget(JOURNAL_TENANT, 250, "turns", at_least=True),
    ],
    "live": [
        *(Budget(name, 0.15, "s", by="p99") for names in (LIVE_ONE, LIVE_MANY) for name in names.values()),
        *(Budget(name, 30, "a s") for name in LIVE_COMMITS.values()),
        *(Budget(name, 1.2, "s", by="p99") for name in LIVE_JOIN.values()),
        Budget(LIVE_UNSEEN, 0.1, "ms"),
    ],
    "memory": [Budget(MEMORY, 1.3, "×", by="last")],
    "import": [Budget(IMPORT, 0.2, "s")],
    "inbox": [Budget(ADMIT_SOME, 2.0, "×"), Budget(ADMIT_MANY, 2.0, "×"), Budget(WINDOW, 1.0, "ms")],
}

BOUNDS: Final = {
    "history": 90,
    "latency": 150,
    "load": 150,
    "model": 60,
    "interrupt": 90,
    "kills": 180,
    "lost": 90,
    "streaming": 180,
    "journal": 60,
    "live": 120,
    "memory": 170,
    "import": 20,
    "inbox": 20,
}
"""Seconds that each part may take: twenty-three minutes together."""

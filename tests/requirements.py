"""Every promise of the project by its id: what tests prove with `@pytest.mark.promise("ORD-1")`.

Ids never change. test_promises.py holds both directions: an id that is not open has a test, and a mark
names an id that stands here.
"""

PROMISES: dict[str, str] = {
    # Ordering
    "ORD-1": "Events of a session are processed in order of acceptance, one at a time; sessions run in parallel",
    "ORD-2": "Model calls and tool batches of two turns of one session never overlap in time",
    "ORD-3": (
        "With `source` and `sequence`, events that arrive out of order are held and processed in sequence order, "
        "per source"
    ),
    "ORD-4": (
        "A gap is waited for (default 5 s), then handled by policy `skip` or `park`, and journalled as "
        "`session.gap`; never a silent skip, never an endless stall"
    ),
    "ORD-5": "The hold buffer is bounded (default 100); overflow is handled by policy and visible",
    "ORD-6": "An event that comes after its gap was skipped is parked as late, not processed out of order",
    "ORD-7": "Turns start at most at the session's rate (token bucket: rate, burst), still in order",
    "ORD-8": "The journal is an immutable, hash-chained, ordered log: it replays to the same transcript, from any seq",
    "ORD-9": (
        "A reader resumes from any seq without gap or repeat; a stored cursor (`client.cursor(name)`) moves "
        "forward only, after its entry was handled"
    ),
    "ORD-10": (
        "Adjacent `merge` events of one source become one turn, in order, bounded, all or none; one disposition each"
    ),
    "ORD-11": "What one handle sends is accepted in call order, also under `gather` and retries",
    "ORD-12": (
        "Sources with sparse increasing sequences (chat timestamps): events wait a reorder window and are "
        "processed in sequence"
    ),
    # Accepting
    "ACC-1": "What `send`/`submit` acknowledged survives the death of worker, server and client",
    "ACC-2": (
        "The same `event_id` is one turn: rolling window of 10,000 in the workflow, the journal beyond it, across "
        "continue-as-new and reset"
    ),
    "ACC-3": (
        "An event without an id gets one derived from source, sender, content and `sent_at`, so retries still match"
    ),
    "ACC-4": (
        "First event and session start are one atomic step; 100 producers racing start one session and lose nothing"
    ),
    "ACC-5": (
        "The inbox is bounded in events (default 1,000), in bytes (512 KiB) and in what the journal keeps for it "
        "(64 MiB). Full: `submit` gets "
        "`Backpressure(retry_after)`; a signal gets disposition `rejected` and a busy entry in the journal"
    ),
    "ACC-6": "An event older than `expires_after` is expired with a busy answer that is delivered, not processed late",
    "ACC-7": (
        "Undecodable, oversized, unknown-name and hostile payloads are parked or rejected with a clear error; the "
        "session goes on"
    ),
    "ACC-8": (
        "Conservation: accepted = sum of dispositions, and turns started in the promised order, checkable at any "
        "time with `audit()`"
    ),
    "ACC-9": (
        "A flood of 10,000 events at one session: all that is accepted is processed in order through continue-as-"
        "new, the rest is refused visibly (`submit` with its retry gets all in), and other sessions do not notice "
        "(p99 ≤ 1.2×)"
    ),
    "ACC-10": "An idle session costs no polling: the next event starts at full speed",
    "ACC-11": "With 50 `ask`s waiting, controls, approvals and `submit` answer within 1 s",
    "ACC-12": (
        "Answers get out: `deliver` runs once per turn, approval and notice, in order per session; a failed "
        "delivery is parked and redriven alone"
    ),
    # Sessions apart
    "ISO-1": "Nothing of one session or tenant shows up in another (canary in every session)",
    "ISO-2": (
        "Session, tenant, turn and call ids travel in contextvars (`inturn.current()`) to tools and logs, also "
        "into threads and tasks that tools start"
    ),
    "ISO-3": "No module of the service holds mutable per-session state",
    "ISO-4": (
        "A tenant can be capped (steps in flight, default 50 in all; model calls; a shared rate per model, FIFO); "
        "over the cap its events wait or get busy, other tenants do not notice"
    ),
    # Tools and effects
    "EFF-1": "A keyed effect happens once, whatever is retried or killed; the tool gets the stable key as `ctx.key`",
    "EFF-2": "A non-idempotent tool whose outcome is unknown is reported as unknown, never silently repeated",
    "EFF-3": "A model call that was answered is never paid twice: the recorded answer is returned",
    "EFF-4": (
        "Parallel calls are settled one by one; a failure is a tool result, successes are kept; results stand in "
        "call order, and one that comes after its call was abandoned changes nothing"
    ),
    "EFF-5": (
        "Every tool has a timeout (default 30 s), bounded retries and a bounded result size (larger results by "
        "reference)"
    ),
    "EFF-6": "Parallelism is bounded per session and per worker; sync tools run in a bounded pool",
    "EFF-7": (
        "A tool that asks for approval waits without holding a slot, lock or the inbox; approval is bound to call "
        "id and argument hash, expires, first answer wins, and every pending one is listed"
    ),
    "EFF-8": (
        "Interrupt cancels the running model call and tools within 1 s (on a live worker), leaves a valid "
        "transcript, keeps the queue, never hits another turn; a caller that goes away can cancel its turn"
    ),
    # Sharing
    "SHR-1": (
        "`locks=` serialises calls that touch one resource across sessions and workers; all locks of a call are "
        "taken in one sorted step"
    ),
    "SHR-2": "A lock is a lease with a fencing token; a dead holder frees it; a stale holder is refused",
    "SHR-3": (
        "Waiting for a lock holds no worker slot and is visible with holder and age; a holder over its limit is "
        "reported"
    ),
    "SHR-4": (
        "A cycle of waiters (locks taken inside tools, sub-agents) is found within 5 s, logged with the call "
        "graph, broken by policy; the victim gets an error result"
    ),
    "SHR-5": "A turn without progress for N s is reported stuck with what it waits for; timeouts end it, never a guess",
    "SHR-6": (
        "Shared state is atomic and exactly-once under retries (the key of an operation is the call's plus its "
        "ordinal): `incr`, compare-and-set by version, `update` with retry, `put_if_absent` with expiry, `push`, "
        "FIFO `claim` with lease"
    ),
    "SHR-7": (
        "File tools write atomically under a lock; appends do not interleave; a write is refused if the file "
        "changed since this session read it"
    ),
    "SHR-8": "A credential is refreshed by one caller at a time, the others wait and reuse it",
    "SHR-9": 'Journal and state hold under 8 worker processes, with no "database is locked", on both stores',
    "SHR-10": "`ctx.state` is the session's, `ctx.shared` the tenant's; neither leaks",
    # Living through faults
    "SUR-1": "SIGKILL of a worker at any named point loses nothing, repeats no keyed effect, breaks no order",
    "SUR-2": (
        "SIGTERM drains: running steps finish or hand back within the grace time, then go on elsewhere; a tool "
        "resumes from its last `ctx.checkpoint`"
    ),
    "SUR-3": (
        "A poison event is parked with its error after its retries, and leaves nothing in the transcript; the next"
        " event starts; `redrive` and `discard` work"
    ),
    "SUR-4": (
        "429, 529, 5xx, cut streams, stalls are retried with the server's retry-after; 4xx are not; the SDK's own "
        "retries are off"
    ),
    "SUR-5": (
        "Server restart, database restart, network cut, an hour's outage of the model heal without action and park"
        " nothing"
    ),
    "SUR-6": "Continue-as-new loses nothing: queue, held events, dedup window, running turn, approvals, counts",
    "SUR-7": "Every history recorded by any release replays on the current code",
    "SUR-8": "A worker is bounded in memory and slots at 10,000 open sessions",
    "SUR-9": "A scheduled event fires once: its id comes from schedule and time",
    "SUR-10": (
        "The SDK works in scripts, servers and notebooks: async first, and `inturn.sync` that works under a "
        "running loop"
    ),
    "SUR-11": (
        "An operator's reset or terminate leaves a consistent session: recorded steps are not repeated, a closed "
        "session stays closed"
    ),
    "SUR-12": (
        "`status` answers without a worker, and says what is wrong (`no_worker`, `task_failing`, `account`, "
        "`journal_behind`, `ended`), what to do, and what the turn waits for"
    ),
    "SUR-13": (
        "A machine that vanishes or freezes, closing nothing, is taken over in bounded time (12 s in mid-turn on a "
        "server with our settings); what it commits afterwards counts for nothing"
    ),
    "SUR-14": "A database failover keeps what its stated replication keeps, and the audit says what it did not",
    "SUR-15": (
        "Whatever is accepted fits: no session is ended by the server for the size of what it took, carries or records"
    ),
    "SUR-16": "A worker that lacks an agent, a tool or the right journal costs no event its turn",
    "SUR-17": "One user's code (hung, blocking, endless, raising) never stops another session of its worker",
    # The model
    "MOD-1": (
        "System, tools and earlier messages sent to the model never change within a session (a changed agent and "
        "compaction are explicit entries)"
    ),
    "MOD-2": (
        "Every tool_use has exactly one tool_result before the next model call, also after interrupt, crash, denial"
    ),
    "MOD-3": "A stream without `message_stop` is a failure, never a truncated answer or tool call",
    "MOD-4": (
        "Budgets (steps, tokens, USD) are checked before every call; reaching one ends the turn with `budget_reached`"
    ),
    "MOD-5": "Prompt caching keeps the prefix warm; the hit rate is reported per turn",
    "MOD-6": "A long session is compacted with headroom before the window overflows, and goes on",
    "MOD-7": "Tokens stream to any number of readers at no history cost; a retried attempt never shows twice",
    "MOD-8": (
        "Whatever a model answered or an event brought, the next request is one the API accepts; a committed part that "
        "it refuses later is doubted, named and left out"
    ),
    "MOD-9": (
        "A mistake of the model's (bad name, bad arguments, repeated ids) is an error result it sees; an account's "
        "trouble (key, bill, quota) is nobody's event's fault"
    ),
    # Agents together
    "AGT-1": (
        "A sub-agent is a session of its own; its result comes back exactly once, however long it takes and "
        "whoever dies"
    ),
    "AGT-2": "Interrupting or closing the parent reaches its children",
    "AGT-3": "A circular delegation is refused or broken with the chain in the error",
    "AGT-4": "Long-lived memory is a versioned document: frozen per session, written with compare-and-set",
    # In and out, by channels
    "ING-1": (
        "A delivery is verified before it is read, by raw bytes, in constant time; any bytes get 2xx, 4xx or 503, "
        "never 5xx by fault"
    ),
    "ING-2": "The same message, however often and under whatever ids it is delivered, is one event",
    "ING-3": "Messages of a place are answered in its order, also shuffled, doubled, late",
    "ING-4": "An ack means durable; a gateway that dies at any point loses nothing and doubles nothing",
    "ING-6": "Deliveries and clicks count with no worker running",
    "OUT-1": (
        "An answer goes out once, in order, in parts, through kills, as far as the platform allows; where it does not, "
        "the journal says so"
    ),
    "OUT-2": "Limits of platforms are kept; a failing delivery is parked and redriven alone",
    "OUT-3": "Text of a model pings nobody, unfurls nothing, breaks no format",
    "OUT-4": ("A person's click is bound to person, call and arguments; the first answer wins and every card tells it"),
    # Safety
    "SEC-1": "Tenant and session come from verified credentials; forged, stale, replayed webhook calls are refused",
    "SEC-2": (
        "Payloads can be encrypted end to end (AES-256-GCM, key ring, bound to the workflow); plaintext is refused then"
    ),
    "SEC-3": "Secrets never enter histories, the journal or logs (planted canaries are not found)",
    "SEC-4": (
        "Only the agent's own tools run, with arguments that validate; unknown tools and bad arguments become "
        "error results"
    ),
    "SEC-5": "Any bytes sent to any public input cause no crash and no 5xx",
}

# No code serves these yet. An id leaves this set together with the tests that prove it.
OPEN: frozenset[str] = frozenset(
    {
        "AGT-1",
        "AGT-2",
        "AGT-3",
    }
)

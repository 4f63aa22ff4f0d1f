"""How long, how often and how much: every number of the steps, each with its reason.

Invariant: no step sets one inline.
"""

from __future__ import annotations

from dataclasses import dataclass

from inturn.tools.checks import CHECKED_WITHIN
from inturn.turns.fallbacks import AFTER


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one worker allows. Times in seconds, sizes in bytes.

    Attributes:
        beat: Between two heartbeats, each a request to the server. A step that is known to be stopped does not wait
            for the next one.
        lease: A claim lives this long without renewal: longer than Temporal waits for a heartbeat, so that a worker
            that was merely slow still has what its next attempt would take.
        leased_wait: An attempt waits in place for another one's lease, then comes back later and frees its slot.
        claim_wait: A call's attempt waits in place for a lock, a permit or a thread so long, and the workflow's timeout
            leaves 30 s for it.
        claim_patience: A claim that surely failed is tried again so long, then the attempt comes back later. One whose
            answer was lost goes on for `claim_wait`, under its own token; then the next attempt is told of it.
        poll: Between two looks at what it waits for: how fast a lock goes from hand to hand.
        commit_patience: A result that cannot be recorded is held so long; it must fit into what the workflow's timeouts
            leave for transactions (15 s).
        outage_patience: An outage may last this long before it costs the event its turn.
        fallback_after: And this long before other models of the agent's are asked.
        losses: So many attempts of a step may crash; then it is taken for what kills its workers.
        account_believed: An event's word that the account is in trouble is taken so long; then something else is asked
            beside it.
        overtimes: So many of them may take all the time that a step has; each is paid.
        summary: A model may take so long for a summary of a conversation; then it is summarised in another way.
        inline: The answer's text that travels through Temporal when somebody waits who cannot read the journal.
        threads: Calls of one tool without `async` that run at once for one tenant.
        all_threads: Such calls of all tools and tenants; the deliveries have as many of their own, and so have the
            small functions around calls (checks of arguments, lookups).
        hung_threads: So many threads whose calls were given up may hang beside those; then they take their places.
        check: A call's arguments are checked in so many seconds, with the approval's predicate and the names of locks.
        thread_wait: A call waits in place for a free thread, then comes back later.
        lacking: A step waits so long for a worker that has what the session has frozen, or that another worker says it
            has: a deploy's length.
        lacking_named: The same for an agent that only an event names.
        sessions: Transcripts kept in memory.
        transcripts: Their size together.
    """

    beat: float = 2.0
    lease: float = 7.0
    leased_wait: float = 12.0
    claim_wait: float = 28.0
    claim_patience: float = 3.0
    poll: float = 0.03
    commit_patience: float = 10.0
    outage_patience: float = 3600.0
    fallback_after: float = AFTER
    losses: int = 10
    account_believed: float = 600.0
    overtimes: int = 2
    summary: float = 600.0
    inline: int = 4 * 1024
    threads: int = 16
    all_threads: int = 64
    hung_threads: int = 64
    check: float = CHECKED_WITHIN
    thread_wait: float = 20.0
    lacking: float = 900.0
    lacking_named: float = 30.0
    sessions: int = 1_000
    transcripts: int = 256 * 1024 * 1024

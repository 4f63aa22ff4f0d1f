"""The gateway's numbers: times in seconds, sizes in bytes.

Invariant: whatever comes in is bounded here, before anything looks at it.
"""

from __future__ import annotations

from typing import Final

# One request.
BODY: Final = 1024 * 1024
HEADERS: Final = 16 * 1024
RECEIVE_WITHIN: Final = 10.0
"""For the whole of a request to arrive, from its first byte on."""
KEEP_ALIVE: Final = 15
EVENTS: Final = 50
"""Events in one request."""
PAGE: Final = 100
LONGEST_PAGE: Final = 1_000
PAGE_NAME: Final = 4 * 1024
LOOKED: Final = 10_000
"""Entries that are looked at for one page."""
PARTS: Final = 2_000
"""Parts of one message: as many as an event may have."""
LONGEST_WAIT: Final = 60.0
SHORTEST_WAIT: Final = 1.0
"""A look at a turn that runs: less may not suffice to find one that has ended."""
PATIENCE: Final = 8.0
"""For an event to be durable: clients that wait longer are told to repeat it."""

CHAT_WITHIN: Final = 300.0
"""For an answer in one piece; asking again finds it."""

# One stream.
PING: Final = 15.0
RETRY_MILLIS: Final = 1_000
STREAM: Final = 15 * 60.0
"""After which a stream ends, to be resumed: its credential may have ended meanwhile."""
WRITE_WITHIN: Final = 30.0
"""For a reader that takes nothing of what it is sent."""
FIRST_WITHIN: Final = 0.5
"""For a stream that has ended already to say so before it begins."""
STREAMS: Final = 50
"""Streams and waits of one credential at once, in one process."""
AGENTS: Final = 10_000
"""Sessions whose agent is remembered, for credentials that are bound to one."""

# What one may ask for.
CALLER_RATE: Final = 20.0
CALLER_BURST: Final = 100.0
SESSION_RATE: Final = 10.0
SESSION_BURST: Final = 50.0
"""Below the core's flood mark of 200 events in 10 s."""
FAILED_RATE: Final = 10 / 60
FAILED_BURST: Final = 10.0
"""Failed proofs of one address."""
BUCKETS: Final = 10_000
"""Buckets that are remembered; the one that was asked longest ago is forgotten, and so is full again."""

# One delivery of a channel.
HOOK_BODY: Final = 25 * 1024 * 1024
BATCH: Final = 200
"""Messages in it."""
ACK_MARGIN: Final = 0.5
"""What is left of the platform's time when the answer must be on its way."""
SHORTEST_ACK: Final = 0.2
CANCEL_WITHIN: Final = 0.1
"""For what came too late to stop."""
TELL_WITHIN: Final = 10.0
OUTCOME_WITHIN: Final = 4.0
"""For a session to say which answer to an approval was first; then its card tells what the click said."""
OUTCOME_POLL: Final = 0.2
RECONNECT: Final = 1.0
"""Between two attempts to hold a channel's own connection."""
TENANT_RATE: Final = 100.0
TENANT_BURST: Final = 1_000.0
"""Messages of a tenant, from all of its channels."""
SHOWN: Final = 300
"""Characters of a reason that a sender may be shown."""

# Credentials.
KEY_FILE: Final = 16 * 1024 * 1024
TOKEN: Final = 8 * 1024
JWKS: Final = 256 * 1024
JWKS_FRESH: Final = 600.0
JWKS_AGAIN: Final = 30.0
"""Between two looks for a key id that is not known."""
JWKS_WITHIN: Final = 5.0
CLOCKS_APART: Final = 30.0

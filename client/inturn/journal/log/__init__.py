"""The log of a session: append-only, hash-chained, numbered inside the transaction."""

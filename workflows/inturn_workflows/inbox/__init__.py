"""The inbox of a session, pure: dedup, order, limits. No Temporal, no I/O, no clock, no randomness."""

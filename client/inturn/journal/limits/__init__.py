"""Locks, permits and token buckets as rows: all of a call's at once, without a lock server."""

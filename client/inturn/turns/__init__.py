"""The rules of a turn, pure: one set for the worker and for `inturn.testing.run`."""

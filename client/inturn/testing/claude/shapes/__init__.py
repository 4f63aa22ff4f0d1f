"""The shape of a request: every field that the API takes, and its type.

Invariant: a field that is not written here is refused. The real API checks with the same library, so the places and
messages of its errors are the same as well.
"""

from inturn.testing.claude.shapes.request import check_shape, explain

__all__ = ["check_shape", "explain"]

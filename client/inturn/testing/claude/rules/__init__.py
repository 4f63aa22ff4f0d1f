"""What the API refuses in a request whose shape is right.

Invariant: a request that passes could be sent to the real API. Each rule is a function of its own.
"""

from inturn.testing.claude.rules.checking import betas_of, check, check_headers
from inturn.testing.claude.rules.thinking import thinks

__all__ = ["betas_of", "check", "check_headers", "thinks"]

"""A strict stand-in for the Messages API, to which the real SDK talks over HTTP.

Invariant: what the real API would refuse is refused here, so a transcript that passes is a valid one. It answers by
script or by rule (`inturn.models.scripted_answers`) and fails on demand (`inturn.testing.claude.faults`).

    python -m inturn.testing.claude --port 8099
"""

from inturn.testing.claude.faults import Fault
from inturn.testing.claude.log import Exchange, overlaps
from inturn.testing.claude.script import Reply
from inturn.testing.claude.server import ClaudeProcess, StrictClaude

__all__ = ["ClaudeProcess", "Exchange", "Fault", "Reply", "StrictClaude", "overlaps"]

"""A platform's API in the running loop.

Invariant: what it refused is told by what it kept, not by a crash.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from inturn.testing.loopback import Loopback, Server


class Local(Loopback):
    """Serves routes: `async with platform:`."""

    def __init__(self, routes: Sequence[BaseRoute], *, port: int = 0) -> None:
        """Make it; entering it starts it. Port 0 takes a free one."""
        super().__init__(lambda: Server(Starlette(routes=list(routes))), port=port)

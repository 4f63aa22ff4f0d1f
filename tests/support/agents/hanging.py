"""An agent with a tool that blocks its thread for good."""

from __future__ import annotations

import threading

from inturn import Agent, tool
from tests.support.agents.agents import add

_FOREVER = threading.Event()


@tool(timeout=0.2, retries=0)
def hang() -> str:
    """Never come back."""
    _FOREVER.wait()
    return "back"


agents = [Agent("support", model="m", instructions="Be brief.", tools=[add, hang])]

"""An agent with file tools on the directory that `INTURN_TEST_WORKSPACE` names."""

from __future__ import annotations

import os

from inturn import Agent
from inturn.tools import files

agents = [
    Agent(
        "writer",
        model="claude-sonnet-5-5",
        instructions="Be brief.",
        tools=files(os.environ.get("INTURN_TEST_WORKSPACE", "workspace")),
    )
]

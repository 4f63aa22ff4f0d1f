"""An agent that keeps notes in a directory: many sessions may write, and none overwrites what it has not read.

    python worker.py examples.workspace:agents
    inturn ask notes-1 'Add "call Ann" to todo.txt' --agent clerk

Its files are in ./workspace, or where WORKSPACE says; nothing that the model asks for leads out of there.
"""

from __future__ import annotations

import asyncio
import os

from inturn import Agent
from inturn.testing import ToolCall, run
from inturn.tools import files

agents = [
    Agent(
        "clerk",
        model="claude-sonnet-5-5",
        instructions="Keep the user's notes. Read a file before you write it as a whole.",
        tools=[*files(os.environ.get("WORKSPACE", "workspace"))],
    )
]


async def main() -> None:
    """Show the tools at work, without a server."""
    turn = await run(
        agents[0],
        "Remind me to call Ann.",
        script=[
            ToolCall("append_file", path="todo.txt", content="call Ann\n"),
            [ToolCall("read_file", path="todo.txt"), ToolCall("read_file", path="../secrets.txt")],
            "Noted.",
        ],
    )
    for call in turn.tool_calls:
        print(call.tool, call.status, call.result)
    print(turn.text)


if __name__ == "__main__":
    asyncio.run(main())

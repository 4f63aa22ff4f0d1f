"""Tools: functions that the model may call, and ready ones.

    from inturn.tools import tool

Invariant: declaring a tool imports nothing but what declares it; what ready tools need is imported when they are named.
"""

from inturn.tools.declaration import (
    MAX_LOCK_NAME,
    MAX_TIMEOUT,
    Approve,
    Lookup,
    Tool,
    arguments_hash,
    as_tool,
    call_async,
    is_async,
    tool,
)

__all__ = [
    "MAX_LOCK_NAME",
    "MAX_TIMEOUT",
    "Approve",
    "Lookup",
    "Tool",
    "arguments_hash",
    "as_tool",
    "call_async",
    "is_async",
    "tool",
]

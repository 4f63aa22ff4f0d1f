"""The contexts that tools get in a test.

Invariant: a context with the same key, and the state of another, is the next attempt of the same call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inturn.events import Event
from inturn.journal.state.changes import Scope
from inturn.keys import SessionKey
from inturn.testing.memory import Memory
from inturn.tools.call_operations import CallOperations
from inturn.tools.context import ToolContext
from inturn.tools.shared_state import State


def context(key: str = "test/session/event/0/0", **overrides: Any) -> ToolContext:
    """Return the context that a tool gets, for calling a tool directly.

    Its shared state is in memory. Contexts share it where one is given the other's, and one with the same key is then
    the next attempt of the same call:

    ```python
    first = context("k")
    await my_tool("1001", first)
    await my_tool("1001", context("k", state=first.state, shared=first.shared))  # changes nothing more
    ```

    Args:
        key: The call's idempotency key.
        **overrides: Any other field of `ToolContext`.
    """
    return make_context({"key": key, **overrides}, Memory())


def make_context(fields: dict[str, Any], memory: Memory) -> ToolContext:
    """Return the context with these fields; its shared state, where none is given, is in `memory`."""
    values: dict[str, Any] = {
        "tenant": "test",
        "session_id": "session",
        "call_id": "call",
        "event": Event(event_id="event", content="test"),
        **fields,
    }
    session = SessionKey(values["tenant"], values["session_id"])
    values.setdefault("state", State(memory, Scope(session.tenant, session.session_id)))
    values.setdefault("shared", State(memory, Scope(session.tenant)))
    made = ToolContext(**values)
    operations = CallOperations(session.turn(made.key).step("test"), None, made._secrets)
    return replace(made, state=made.state.within(operations), shared=made.shared.within(operations))

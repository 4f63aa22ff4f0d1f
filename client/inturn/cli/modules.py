"""The doctor's look at tool modules: what they keep in the process.

Invariant: only names are shown, never values.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from inturn.agents import Agent
from inturn.cli.findings import Finding, failed, fine, warned
from inturn.errors import Misconfigured
from inturn.loading import add_to_import_path, load_agents
from inturn.tools import Tool

_MUTABLE: Final = (list, dict, set, bytearray, deque)


def examine_modules(spec: str) -> Finding:
    """Return what the modules of some agents' tools keep for themselves.

    Args:
        spec: `MODULE:ATTR` of an agent, or of a list of them.
    """
    add_to_import_path(Path.cwd())
    try:
        return judge_modules(load_agents([spec]))
    except Misconfigured as error:
        return failed("modules", str(error), "name agents as for the worker: MODULE:ATTR, from its working directory")


def judge_modules(agents: Sequence[Agent]) -> Finding:
    """Return the finding on mutable objects of the modules in which these agents' tools are."""
    names = {getattr(tool.fn, "__module__", "") for agent in agents for tool in agent.tools}
    modules = [sys.modules[name] for name in sorted(names) if name in sys.modules]
    found = [f"{module.__name__}.{name} ({kind})" for module in modules for name, kind in mutable(module)]
    if found:
        advice = (
            "each worker process has its own, and loses it when it ends: keep a session's in ctx.state, what all share "
            "in ctx.shared, pools and clients in the worker's --lifespan. CAPITALS are taken for constants"
        )
        return warned("modules", f"tools share objects that can change: {', '.join(found)}", advice)
    return fine("modules", f"nothing that can change in {', '.join(m.__name__ for m in modules) or 'no module'}")


def mutable(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Yield a module's objects that can change, but for constants by their name, and lists of agents and tools."""
    for name, value in vars(module).items():
        if not isinstance(value, _MUTABLE) or name.startswith("__") or name.lstrip("_").isupper():
            continue
        if not (value and all(isinstance(member, (Agent, Tool)) for member in _members(value))):
            yield name, type(value).__name__


def _members(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value

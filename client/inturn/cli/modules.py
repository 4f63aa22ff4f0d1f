"""The doctor's look at tool modules: what they keep in the process.

Invariant: only names are shown, never values.
"""

from __future__ import annotations

import importlib
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from inturn.agents import Agent
from inturn.cli.findings import Finding, failed, fine, warned
from inturn.tools import Tool

_MUTABLE: Final = (list, dict, set, bytearray, deque)


def examine_modules(spec: str) -> Finding:
    """Look for what the modules of some agents' tools keep for themselves.

    Args:
        spec: `MODULE:ATTR` of an agent, or of a list of them.
    """
    try:
        agents = _load(spec)
    except Exception as error:  # the user's module may raise anything
        said = f"{spec} cannot be loaded: {type(error).__name__}: {error}"
        return failed("modules", said, "name agents as for the worker: MODULE:ATTR, from its working directory")
    return judge_modules(agents)


def judge_modules(agents: Sequence[Agent]) -> Finding:
    """Name the mutable objects of the modules in which these agents' tools are."""
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
    """Give a module's objects that can change, but for constants by their name, and lists of agents and tools."""
    for name, value in vars(module).items():
        if not isinstance(value, _MUTABLE) or name.startswith("__") or name.lstrip("_").isupper():
            continue
        if not (value and all(isinstance(member, (Agent, Tool)) for member in _members(value))):
            yield name, type(value).__name__


def _members(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _load(spec: str) -> list[Agent]:
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    name, _, path = spec.partition(":")
    value: Any = importlib.import_module(name)
    for attribute in path.split("."):
        value = getattr(value, attribute)
    agents = list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(agent, Agent) for agent in agents):
        raise TypeError("it is neither an Agent nor a list of them")
    return agents

"""Loading what a user names by MODULE:ATTR: agents and the lifespan.

Invariant: every wrong name ends in one line that says what is wrong and where; nothing of the user's raises through.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, cast

from inturn.agents import Agent
from inturn.errors import Misconfigured

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]


def add_to_import_path(directory: Path) -> None:
    """Put a directory first on the import path, so that the user's modules are found there."""
    found = str(directory.resolve())
    if found in sys.path:
        sys.path.remove(found)
    sys.path.insert(0, found)


def load_attribute(spec: str) -> Any:
    """Return ATTR of MODULE (dots go deeper), which is imported.

    Raises:
        Misconfigured: There is no such thing, or importing it fails.
    """
    module_name, colon, path = spec.partition(":")
    if not (colon and module_name and path):
        raise Misconfigured(f"{spec!r} is not MODULE:ATTR. For example: app:agents")
    value: Any = _import(module_name, spec)
    for attribute in path.split("."):
        if not hasattr(value, attribute):
            members: dict[str, object] = getattr(value, "__dict__", {})
            there = ", ".join(name for name, member in members.items() if _is_agents(member))
            hint = f"Agents in it: {there}" if there else "It has no agents at all"
            raise Misconfigured(f"{spec}: module {module_name} has no {attribute!r}. {hint}")
        value = getattr(value, attribute)
    return value


def load_agents(specs: Sequence[str]) -> list[Agent]:
    """Return the agents of all these names, each once.

    Raises:
        Misconfigured: A name leads nowhere or to something else, or two agents share a name.
    """
    agents: list[Agent] = []
    origin: dict[str, str] = {}
    for spec in specs:
        value = load_attribute(spec)
        if not _is_agents(value):
            raise Misconfigured(f"{spec} is {_kind(value)}; it must be an Agent, or a list of them that is not empty")
        for agent in cast("Sequence[Agent]", _members(value)):
            if any(agent is known for known in agents):
                continue
            if agent.name in origin:
                raise Misconfigured(
                    f"two agents are named {agent.name!r} (in {origin[agent.name]} and {spec}). Sessions find their "
                    f"agent by its name: rename one"
                )
            origin[agent.name] = spec
            agents.append(agent)
    return agents


def load_lifespan(spec: str) -> Lifespan:
    """Return the async context manager that yields `ctx.resources`.

    Raises:
        Misconfigured: It leads nowhere, or cannot be called.
    """
    value = load_attribute(spec)
    if not callable(value):
        raise Misconfigured(
            f"--lifespan {spec} is {_kind(value)}; it must be a function without arguments that returns an async "
            f"context manager (decorate an async generator with @contextlib.asynccontextmanager)"
        )
    return value  # type: ignore[no-any-return]


def _import(name: str, spec: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            why = f"no module named {missing!r} on the import path. It starts with the working directory {Path.cwd()}"
            raise Misconfigured(f"{spec}: {why}") from error
        raise Misconfigured(f"{spec}: {name} imports {missing!r}, which is not installed ({_where(error)})") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the user's module may raise anything, and may be a script
        reason = " ".join(str(error).split())[:300]
        raise Misconfigured(
            f"{spec}: importing {name} failed with {type(error).__name__}: {reason} ({_where(error)})"
        ) from error


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown place"


def _is_agents(value: object) -> bool:
    members = _members(value)
    return bool(members) and all(isinstance(member, Agent) for member in members)


def _members(value: object) -> Sequence[object]:
    """Return what is in a list; anything else counts as a list of it alone."""
    return cast("Sequence[object]", value) if isinstance(value, (list, tuple)) else [value]


def _kind(value: object) -> str:
    if not isinstance(value, (list, tuple)):
        return f"of type {type(value).__name__}"
    name = type(cast("object", value)).__name__
    odd = [type(member).__name__ for member in _members(cast("object", value)) if not isinstance(member, Agent)]
    return f"a {name} with a {odd[0]} in it" if odd else f"an empty {name}"

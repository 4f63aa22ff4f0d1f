"""Which agents `inturn dev` serves: the arguments', `[tool.inturn]`'s, or those of the one module that has some.

Invariant: looking for them reads files and runs none; the worker imports them, in a process of its own.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from inturn.errors import Misconfigured

_SKIPPED: Final = frozenset({"tests", "test", "node_modules", "site-packages", "build", "dist", "venv", "env"})
_EXAMPLE: Final = """\
from inturn import Agent

agents = [Agent("support", model="claude-sonnet-5-5", instructions="Be brief.")]"""


class Unreadable(Misconfigured):
    """A module that may hold the agents cannot be read as Python; saving it again may mend that."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The agents to serve.

    Attributes:
        specs: MODULE:ATTR of each agent or list of them.
        reason: Why these.
    """

    specs: tuple[str, ...]
    reason: str


def choose_agents(directory: Path, named: Sequence[str]) -> Choice:
    """Return what to serve.

    Raises:
        Unreadable: Nothing was found, and a module that mentions inturn cannot be parsed.
        Misconfigured: There is nothing to choose, or too much.
    """
    if named:
        return Choice(tuple(named), "named on the command line")
    if configured := _configured(directory / "pyproject.toml"):
        return Choice(configured, "from [tool.inturn] in pyproject.toml")
    return _found(directory)


def _configured(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    try:
        table: Any = tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise Unreadable(f"{path} cannot be read: {error}. Correct it") from error
    for name in ("tool", "inturn"):
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise Misconfigured(f"{name} in {path} must be a table: [tool.inturn]")
    agents = cast("dict[str, Any]", table).get("agents", [])
    if not isinstance(agents, list) or not all(isinstance(spec, str) for spec in agents):
        raise Misconfigured(f'agents of [tool.inturn] in {path} must be a list: agents = ["app:agents"]')
    return tuple(cast("list[str]", agents))


def _found(directory: Path) -> Choice:
    found: dict[str, list[str]] = {}
    broken: list[str] = []
    for path in _modules(directory):
        module = ".".join(path.relative_to(directory).with_suffix("").parts).removesuffix(".__init__")
        try:
            source = path.read_bytes()
            names = agent_names(source) if b"inturn" in source else []
        except SyntaxError as error:
            broken.append(f"{path.relative_to(directory)}:{error.lineno}: {error.msg}")
            continue
        except (ValueError, OSError, RecursionError, MemoryError):  # nothing that people write, or not ours to read
            continue
        if names:
            found[module] = names
    if not found and broken:
        raise Unreadable(f"{'; '.join(broken)} (no other module here has agents)")
    if not found:
        raise Misconfigured(
            f"no module in {directory} has agents. Name some (inturn dev MODULE:ATTR), or write app.py:\n\n{_EXAMPLE}\n"
        )
    if len(found) > 1:
        raise Misconfigured(_too_many(found))
    [(module, names)] = found.items()
    return Choice(tuple(f"{module}:{name}" for name in names), f"{module} is the one module here that has agents")


def _too_many(found: dict[str, list[str]]) -> str:
    specs = [f"{module}:{name}" for module, names in found.items() for name in names]
    return (
        f"{len(found)} modules here have agents: {', '.join(sorted(found))}. Name those to serve: "
        f"`inturn dev {specs[0]}`, or in pyproject.toml:\n\n[tool.inturn]\nagents = {specs!r}\n".replace("'", '"')
    )


def _modules(directory: Path) -> Iterator[Path]:
    """Yield the modules of a directory, and of the packages in it; not those that a link leads to once more."""
    try:
        paths = sorted(directory.iterdir())
    except OSError:
        return
    for path in paths:
        if path.name.startswith(".") or path.name in _SKIPPED:
            continue
        if _is_file(path / "__init__.py"):
            if not path.is_symlink():
                yield from _modules(path)
        elif path.suffix == ".py" and _is_file(path):
            yield path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a directory that is not ours to read
        return False


def agent_names(source: str | bytes) -> list[str]:
    """Return the names under which a module keeps its agents: `agents` alone where it has that, else each agent's.

    Raises:
        SyntaxError: It is no Python.
    """
    tree = ast.parse(source)
    makers = _makers(tree)
    if not makers:
        return []
    names = {name: value for statement in tree.body for name, value in _assigned(statement)}
    if "agents" in names:
        return ["agents"]
    return [name for name, value in names.items() if not name.startswith("_") and _makes_agents(value, makers)]


def _makers(tree: ast.Module) -> set[str]:
    """Return what calls of `Agent` look like in a module: `Agent`, `inturn.Agent`, or as it was imported."""
    makers: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module in ("inturn", "inturn.agents"):
            makers |= {alias.asname or alias.name for alias in statement.names if alias.name == "Agent"}
        elif isinstance(statement, ast.Import):
            makers |= {f"{alias.asname or alias.name}.Agent" for alias in statement.names if alias.name == "inturn"}
    return makers


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    match statement:
        case ast.Assign(targets=targets, value=value):
            yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value
        case _:
            pass


def _makes_agents(value: ast.expr, makers: set[str]) -> bool:
    match value:
        case ast.Call(func=function):
            return ast.unparse(function) in makers
        case ast.List(elts=members) | ast.Tuple(elts=members):
            return bool(members) and all(_makes_agents(member, makers) for member in members)
        case ast.ListComp(elt=member):
            return _makes_agents(member, makers)
        case _:
            return False

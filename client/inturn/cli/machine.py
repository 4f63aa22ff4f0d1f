"""The doctor's look at this machine: versions, colliding packages, the journal.

Invariant: a journal that is not there is not made.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from inturn.cli.findings import Finding, failed, fine, warned
from inturn.client.settings import DEFAULT_JOURNAL
from inturn.errors import InturnError
from inturn.keys import SessionKey

_SHOWN: Final = ("inturn", "temporalio", "pydantic")
_WORKERS_OWN: Final = ("activities", "workflows")
"""Top-level packages of the worker's checkout, which no distribution should bring."""
_SQLITE: Final = "sqlite:///"


def examine_machine() -> list[Finding]:
    """Check what is installed here."""
    return [_versions(), judge_packages(metadata.packages_distributions(), Path.cwd())]


async def examine_journal(url: str | None, tenant: str) -> Finding:
    """Check that the journal can be read and written, without leaving an entry.

    Args:
        url: The journal; `None`: the default one.
        tenant: Whose sessions.
    """
    url = url or DEFAULT_JOURNAL
    where = _shown(url)
    advice = "name the workers' journal with --journal or INTURN_JOURNAL"
    if is_missing(url):
        return warned("journal", f"{where} is not there yet; the first worker makes it", f"start a worker, or {advice}")
    try:
        version = await _tried(url, tenant)
    except InturnError as error:
        return failed("journal", f"{where}: {error}", advice)
    return fine("journal", f"{where}, schema version {version}, can be read and written")


def judge_packages(brought_by: Mapping[str, Sequence[str]], directory: Path) -> Finding:
    """Look for packages that take the place of ours.

    Args:
        brought_by: Installed distributions by the top-level packages they bring.
        directory: The working directory, which comes first on a worker's import path.
    """
    twice = sorted(set(brought_by.get("inturn", ())))
    if len(twice) > 1:
        advice = "uninstall all but one of them"
        return failed("packages", f"several distributions bring a package inturn: {', '.join(twice)}", advice)
    found = [f"{', '.join(sorted(set(brought_by[p])))} brings {p}" for p in _WORKERS_OWN if p in brought_by]
    if not (directory / "worker.py").is_file():  # the checkout itself
        found += [f"{directory / p} is one, too" for p in _WORKERS_OWN if _is_package(directory / p)]
    if found:
        advice = "keep them out of the worker's environment: a worker imports its own packages of these names"
        return warned("packages", "; ".join(found), advice)
    return fine("packages", "none collides with inturn's")


def _is_package(path: Path) -> bool:
    return path.with_suffix(".py").is_file() or (path.is_dir() and any(path.glob("*.py")))


def _versions() -> Finding:
    found = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in _SHOWN)]
    return fine("versions", ", ".join(found))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def is_missing(url: str) -> bool:
    """Tell whether a journal's file is not there yet."""
    return url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists()


async def _tried(url: str, tenant: str) -> int:
    from inturn.journal import open_journal
    from inturn.journal.store.schema import VERSION

    journal = open_journal(url)
    await journal.open()
    try:
        await journal.head(SessionKey(tenant, "doctor"))
        # A cursor that nobody reads: the one thing that can be written without leaving an entry or a step.
        await journal.move_cursor(tenant, "~doctor", "doctor", 0)
    finally:
        await journal.close()
    return VERSION


def _shown(url: str) -> str:
    """Name a journal without its password."""
    if url.startswith(_SQLITE):
        return str(Path(url.removeprefix(_SQLITE)).absolute())
    return url.rpartition("@")[2] or url

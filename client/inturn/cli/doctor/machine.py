"""The doctor's look at this machine: versions, packages, the journal.

Invariant: a journal that is not there is not made.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from inturn.cli.doctor.findings import Finding, failed, fine, warned
from inturn.client.settings import DEFAULT_JOURNAL
from inturn.errors import InturnError
from inturn.keys import SessionKey

_SHOWN: Final = ("inturn", "inturn-worker", "temporalio", "pydantic")
_SQLITE: Final = "sqlite:///"


def examine_machine() -> list[Finding]:
    """Return what is installed here."""
    return [_versions(), judge_packages(metadata.packages_distributions())]


async def examine_journal(url: str | None, tenant: str) -> Finding:
    """Return whether the journal can be read and written, without leaving an entry.

    Args:
        url: The journal; `None`: the default one.
        tenant: Whose sessions.
    """
    url = url or DEFAULT_JOURNAL
    advice = "name the workers' journal with --journal or INTURN_JOURNAL"
    try:
        where = _shown(url)
    except InturnError as error:
        return failed("journal", str(error), advice)
    if is_missing(url):
        return warned("journal", f"{where} is not there yet; the first worker makes it", f"start a worker, or {advice}")
    try:
        version = await _tried(url, tenant)
    except InturnError as error:
        return failed("journal", f"{where}: {error}", advice)
    return fine("journal", f"{where}, schema version {version}, can be read and written")


def judge_packages(brought_by: Mapping[str, Sequence[str]]) -> Finding:
    """Return the finding on who brings the package `inturn`.

    Args:
        brought_by: Installed distributions by the top-level packages they bring.
    """
    twice = sorted(set(brought_by.get("inturn", ())))
    if len(twice) > 1:
        advice = "uninstall all but one of them"
        return failed("packages", f"several distributions bring a package inturn: {', '.join(twice)}", advice)
    return fine("packages", "one inturn")


def _versions() -> Finding:
    found = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in _SHOWN)]
    return fine("versions", ", ".join(found))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def is_missing(url: str) -> bool:
    """Return whether a journal's file is not there yet."""
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
    """Return a journal's address without its password."""
    if url.startswith(_SQLITE):
        return str(Path(url.removeprefix(_SQLITE)).absolute())
    from inturn.journal import shown

    return shown(url)

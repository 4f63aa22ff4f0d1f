"""doctor: is everything there that a session needs, and what to do where it is not.

Invariant: it looks and tries, and repairs nothing; each finding says what to do. Exit code 1 when one of them fails.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from inturn.cli.failures import FAILED
from inturn.cli.options import Options, options_of
from inturn.cli.output import console, document
from inturn.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from inturn.cli.doctor.findings import Finding
    from inturn.journal import Place

_MARKS: Final = {"ok": ("ok", "green"), "warn": ("warn", "bold yellow"), "fail": ("FAIL", "bold red")}


def doctor(
    ctx: typer.Context,
    agents: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODULE:ATTR...", help="Agents whose tools' modules to look at.", show_default=False),
    ] = None,
    dot: Annotated[bool, typer.Option("--dot", help="Only who waits for whom, as Graphviz reads it.")] = False,
) -> None:
    """Check the server, the workers, the journal, its locks, and this machine."""
    options = options_of(ctx)
    try:
        findings, places = asyncio.run(_limits(options) if dot else _examine(options))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    findings += _modules(agents or ())
    ok = all(finding.state != "fail" for finding in findings)
    if dot:
        _draw(places)
    elif options.json:
        checks = [finding.as_json() for finding in findings]
        document({"ok": ok, "checks": checks, "limits": [asdict(place) for place in places]})
    else:
        _print(findings)
        _list(places)
    if not ok:
        raise typer.Exit(FAILED)


async def _examine(options: Options) -> tuple[list[Finding], list[Place]]:
    from inturn.cli.doctor.database import examine_database
    from inturn.cli.doctor.findings import failed
    from inturn.cli.doctor.machine import examine_journal, examine_machine
    from inturn.cli.doctor.schedules import examine_schedules
    from inturn.cli.doctor.server import examine_server
    from inturn.cli.doctor.sessions import examine_sessions
    from inturn.client.temporal.connection import Connection
    from inturn.errors import InturnError

    findings = examine_machine()
    connection = Connection(options.address, namespace=options.namespace, journal=options.journal)
    try:
        task_queue = options.task_queue or connection.settings.task_queue
        findings += await examine_server(connection, task_queue)
        if all(finding.state != "fail" or finding.name == "workers" for finding in findings):
            findings += await examine_sessions(connection, options.tenant)
            findings += await examine_schedules(connection, options.tenant)
        url = options.journal or connection.settings.journal
        findings.append(await examine_journal(url, options.tenant))
        if findings[-1].state == "ok":
            findings += await examine_database(url)
    except InturnError as error:  # settings that cannot be read
        findings.append(failed("settings", str(error), "correct it in the environment, .env or the option"))
    finally:
        await connection.close()
    limits, places = await _limits(options)
    return findings + limits, places


async def _limits(options: Options) -> tuple[list[Finding], list[Place]]:
    """Return who serves what, and who holds and waits, where there is a journal."""
    from inturn.cli.doctor.agents import examine_agents
    from inturn.cli.doctor.encryption import examine_encryption
    from inturn.cli.doctor.graph import examine_limits
    from inturn.cli.doctor.machine import is_missing
    from inturn.cli.doctor.prices import examine_prices
    from inturn.client.settings import DEFAULT_JOURNAL, read_settings
    from inturn.errors import InturnError
    from inturn.journal import open_journal

    try:
        url = options.journal or read_settings().journal or DEFAULT_JOURNAL
        if is_missing(url):
            return [], []
        journal = open_journal(url)
        try:
            served = [*await examine_agents(journal), *await examine_encryption(journal)]
            served.append(await examine_prices(journal, options.tenant))
            finding, places = await examine_limits(journal, options.tenant)
        finally:
            await journal.close()
    except InturnError:  # the journal's own check says why
        return [], []
    return [*served, finding], places


def _modules(specs: Sequence[str]) -> list[Finding]:
    from inturn.cli.doctor.modules import examine_modules

    return [examine_modules(spec) for spec in specs]


def _draw(places: Sequence[Place]) -> None:
    from inturn.cli.doctor.graph import dot

    print(dot(places))


def _list(places: Sequence[Place]) -> None:
    from inturn.cli.doctor.graph import text

    for line in text(places):
        console().print(clean(line), markup=False, highlight=False, soft_wrap=True)


def _print(findings: Sequence[Finding]) -> None:
    from rich.table import Table

    shown = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        shown.add_row(*_row(finding))
    console().print(shown)


def _row(finding: Finding) -> tuple[Text, ...]:
    from rich.text import Text

    mark, style = _MARKS[finding.state]
    found = Text(clean(finding.found))
    if finding.to_do:
        found.append(f"\nto do: {clean(finding.to_do)}", "yellow")
    return Text(mark, style), Text(finding.name, no_wrap=True), found

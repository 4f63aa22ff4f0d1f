"""doctor: is everything there that a session needs, and what to do where it is not.

Invariant: it looks and tries, and repairs nothing; each finding says what to do. Exit code 1 when one of them fails.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import typer

from inturn.cli.failures import FAILED
from inturn.cli.options import Options, options_of
from inturn.cli.output import clean, console, document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from inturn.cli.findings import Finding

_MARKS: Final = {"ok": ("ok", "green"), "warn": ("warn", "bold yellow"), "fail": ("FAIL", "bold red")}


def doctor(ctx: typer.Context) -> None:
    """Check the server, the workers, the journal and this machine."""
    options = options_of(ctx)
    try:
        findings = asyncio.run(_examine(options))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    ok = all(finding.state != "fail" for finding in findings)
    if options.json:
        document({"ok": ok, "checks": [finding.as_json() for finding in findings]})
    else:
        _print(findings)
    if not ok:
        raise typer.Exit(FAILED)


async def _examine(options: Options) -> list[Finding]:
    from inturn.cli.findings import failed
    from inturn.cli.machine import examine_journal, examine_machine
    from inturn.cli.server import examine_server
    from inturn.connection import Connection
    from inturn.errors import InturnError

    findings = examine_machine()
    connection = Connection(options.address, namespace=options.namespace, journal=options.journal)
    try:
        task_queue = options.task_queue or connection.settings.task_queue
        findings += await examine_server(connection, task_queue)
        findings.append(await examine_journal(options.journal or connection.settings.journal, options.tenant))
    except InturnError as error:  # settings that cannot be read
        findings.append(failed("settings", str(error), "correct it in the environment, .env or the option"))
    finally:
        await connection.close()
    return findings


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

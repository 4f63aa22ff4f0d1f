"""The command `inturn`: its commands by what people want, and the options that all of them have.

Invariant: importing this does not load temporalio; a command loads what it needs when it runs, and so do those of other
distributions (`inturn worker`, `inturn dev`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import typer

from inturn.cli import (
    approvals,
    audit,
    blob,
    codec,
    controls,
    costs,
    deploy,
    journal,
    memory,
    options,
    parked,
    schedule,
    settle,
    show,
    talk,
)
from inturn.cli.doctor.command import doctor
from inturn.cli.extras import CommandGroup
from inturn.cli.live.chat import chat
from inturn.cli.live.tail import tail

_EPILOG: Final = (
    "Options of inturn itself (--json, --address …) may stand anywhere. Exit codes: 0 done, 1 it failed, 2 a mistake "
    "in the call, 3 refused for now, 4 nobody took it in time (the same --event-id again is safe)."
)

app: Final = typer.Typer(
    name="inturn",
    cls=CommandGroup,
    help="Talk to durable agent sessions, and see what they do.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: Final[dict[str, tuple[Callable[..., None], ...]]] = {
    "Talk": (talk.send, talk.ask, talk.wait, chat),
    "Look": (tail, show.ls, show.show, approvals.approvals, blob.blob, costs.costs, codec.codec),
    "Steer": (
        controls.interrupt,
        controls.cancel,
        controls.compact,
        controls.pause,
        controls.resume,
        controls.fork,
        controls.close,
        controls.approve,
        controls.deny,
    ),
    "Repair": (parked.parked, parked.redrive, parked.discard, settle.settle, audit.audit, doctor),
}

for _panel, _functions in _COMMANDS.items():
    for _function in _functions:
        app.command(rich_help_panel=_panel)(_function)
app.add_typer(journal.commands, name="journal", rich_help_panel="Repair")
app.add_typer(memory.commands, name="memory", rich_help_panel="Steer")
app.add_typer(deploy.commands, name="deploy", rich_help_panel="Run")
app.add_typer(schedule.commands, name="schedule", rich_help_panel="Talk")


@app.callback()
def _globals(
    ctx: typer.Context,
    address: options.Address = None,
    namespace: options.Namespace = None,
    tenant: options.Tenant = "default",
    task_queue: options.TaskQueue = None,
    journal: options.Journal = None,
    json: options.Json = False,
) -> None:
    ctx.obj = options.Options(address, namespace, tenant, task_queue, journal, json)

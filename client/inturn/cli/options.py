"""Options that every command has, and arguments that several share.

Invariant: a global option means the same before and behind the command's name, and one that is not given leaves the
choice to the SDK (`TEMPORAL_*`, `INTURN_*`, `.env`, defaults).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from inturn.cli.dev_environment import load_dev_environment
from inturn.dotenv_file import load_dotenv

_WITH_VALUE: Final = ("--address", "--namespace", "--tenant", "--task-queue", "--journal")
_FLAGS: Final = ("--json",)
_AGE: Final = re.compile(r"(\d{1,6})(d|h|min|s)")
_SECONDS: Final = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class Options:
    """The global options; `None` leaves the choice to the SDK."""

    address: str | None = None
    namespace: str | None = None
    tenant: str = "default"
    task_queue: str | None = None
    journal: str | None = None
    json: bool = False


Address = Annotated[str | None, typer.Option(envvar="TEMPORAL_ADDRESS", metavar="HOST:PORT", help="Temporal's server.")]
Namespace = Annotated[str | None, typer.Option(envvar="TEMPORAL_NAMESPACE", help="Temporal's namespace.")]
Tenant = Annotated[str, typer.Option(envvar="INTURN_TENANT", help="Whose sessions.")]
TaskQueue = Annotated[str | None, typer.Option(envvar="INTURN_TASK_QUEUE", help="The workers' task queue.")]
Journal = Annotated[
    str | None,
    typer.Option(
        envvar="INTURN_JOURNAL",
        metavar="URL",
        help="The workers' journal: sqlite:///FILE or postgresql://USER@HOST/DATABASE.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document, or one line of JSON for each item of a stream.")]

SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.", show_default=False)]
EventId = Annotated[str, typer.Argument(metavar="EVENT", help="The event's id.", show_default=False)]
Reason = Annotated[str | None, typer.Option(help="Why, for whoever reads the journal.")]
AgentName = Annotated[
    str | None, typer.Option("--agent", help="The agent that answers; not needed where the session has one.")
]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait; the turn goes on behind it.", min=0.0)]


def options_of(ctx: typer.Context) -> Options:
    """Return the global options of a command's call."""
    options = ctx.obj
    return options if isinstance(options, Options) else Options()


def hoisted(arguments: Sequence[str]) -> list[str]:
    """Move global options in front of the command, up to `--`: people write them where they come to mind."""
    front: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if argument == "--":
            return [*front, *rest, argument, *left]
        if argument in _WITH_VALUE and left:
            front += [argument, left.pop(0)]
        elif argument in _FLAGS or argument.startswith(tuple(f"{name}=" for name in _WITH_VALUE)):
            front.append(argument)
        else:
            rest.append(argument)
    return [*front, *rest]


def load_environment(arguments: Sequence[str]) -> None:
    """Put what an `inturn dev` in the directory says, then its `.env`, into the environment; what is set stays.

    Raises:
        Misconfigured: `.env` cannot be read, or holds what no variable can.
    """
    if not any(argument.partition("=")[0] == "--address" for argument in arguments):
        load_dev_environment()
    if os.path.isfile(".env"):
        load_dotenv()


def time_named(when: str, now: float) -> float:
    """Return the time that an age or a date names, in seconds since 1970.

    Raises:
        typer.BadParameter: It names none.
    """
    if (age := _AGE.fullmatch(when)) is not None:
        return now - int(age[1]) * _SECONDS[age[2]]
    try:
        named = datetime.fromisoformat(when)
    except ValueError:
        raise typer.BadParameter(f"{when!r} is neither an age (90d, 12h, 30min) nor a date (2026-08-31)") from None
    return (named if named.tzinfo else named.replace(tzinfo=UTC)).timestamp()


def journal_url(ctx: typer.Context, named: str | None) -> str:
    """Return the URL of the journal that a command is about."""
    from inturn.client.settings import DEFAULT_JOURNAL, read_settings

    return named or options_of(ctx).journal or read_settings().journal or DEFAULT_JOURNAL

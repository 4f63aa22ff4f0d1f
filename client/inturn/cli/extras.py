"""Commands that other distributions bring: `inturn worker`, `inturn dev`, `inturn gateway`, `inturn keys`.

Invariant: listing them imports none of them, and what is not installed says how to install it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from inturn.cli.failures import USAGE

if TYPE_CHECKING:
    from typer import Context

GROUP: Final = "inturn.commands"
"""The entry points' group; each names a function as typer takes it, and the command is named as its entry point."""
PANEL: Final = "Run"
KNOWN: Final = {
    "gateway": ("gateway", "Serve sessions over HTTP: programs, webhooks, event streams."),
    "keys": ("gateway", "API keys of the gateway: create, revoke, ls."),
    "dev": ("worker", "Server, worker and reload on save, for agents that are being written."),
    "worker": ("worker", "Run agents' sessions against TEMPORAL_ADDRESS."),
}
"""The extra of `inturn` that brings a command, and the command in one line."""


class CommandGroup(TyperGroup):
    """The commands of `inturn` and of what is installed beside it."""

    def list_commands(self, ctx: Context) -> list[str]:  # type: ignore[override]
        """Return the names of all commands, the installed ones' last."""
        return [*super().list_commands(ctx), *KNOWN, *(sorted(_installed().keys() - KNOWN.keys()))]

    def get_command(self, ctx: Context, cmd_name: str) -> Any:  # type: ignore[override]
        """Return a command; one from elsewhere is imported when it is invoked."""
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        entry_point = _installed().get(cmd_name)
        return LazyCommand(cmd_name, entry_point) if entry_point or cmd_name in KNOWN else None


class LazyCommand(TyperCommand):
    """A command that is known by its name until it is invoked."""

    def __init__(self, name: str, entry_point: EntryPoint | None) -> None:
        """Remember where it comes from; `None`: it is not installed."""
        extra, summary = KNOWN.get(name, (None, ""))
        super().__init__(name, help=summary, rich_help_panel=PANEL)
        self._extra = extra
        self._entry_point = entry_point

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Return the context of the real command."""
        return self._load().make_context(info_name, args, parent, **extra)

    def _load(self) -> Any:
        if self._entry_point is None:
            missing = f"inturn[{self._extra}]"
            print(f"inturn: `inturn {self.name}` is not installed. Run: pip install '{missing}'", file=sys.stderr)
            raise typer.Exit(USAGE)
        return _command(self.name or "", self._entry_point.load())


def _command(name: str, function: Callable[..., None] | typer.Typer) -> Any:
    if isinstance(function, typer.Typer):  # a command with commands of its own
        return typer.main.get_command(function)
    app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
    app.command(name, epilog=_EPILOG)(function)
    return typer.main.get_command(app)


_EPILOG: Final = (
    "Options of inturn itself may stand here, too: --address --namespace --task-queue --journal --json (inturn --help)."
)


def _installed() -> dict[str, EntryPoint]:
    return {found.name: found for found in entry_points(group=GROUP)}

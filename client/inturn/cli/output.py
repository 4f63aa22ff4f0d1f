"""What commands print: results on standard output, all else on standard error.

Invariant: with `--json`, standard output holds JSON and nothing else; without it, no text of a user, a model or a tool
can move the cursor or change the terminal.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from inturn.cli.options import Options
from inturn.terminal import as_json, clean

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_FILE_WIDTH: Final = 160
"""Columns of a table in a file or a pipe."""
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def take_any_text() -> None:
    """Let standard output and error take any text: what their encoding lacks is written as an escape.

    A text that cannot be shown must not end a command whose work is done, and paid.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@cache
def _console(stderr: bool) -> Console:
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the reader has seen enough: no failure, where rich would make it one

    made = Plain(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _FILE_WIDTH
    return made


def console() -> Console:
    """Return the console for results."""
    return _console(False)


def say(text: str) -> None:
    """Print a result."""
    print(clean(text))


def note(text: str, *, style: str = "dim") -> None:
    """Print something that is no result, on standard error."""
    _console(True).print(clean(text), style=style, soft_wrap=True)


def sentence(text: str | Text, *, style: str = "dim") -> None:
    """Print what is no table, in one line however narrow the terminal is: what reads it finds it whole."""
    console().print(text, style=style, soft_wrap=True)


def document(value: Any) -> None:
    """Print the one JSON document of a command."""
    print(as_json(plain(value), encoding=sys.stdout.encoding, indent=2))


def line(value: Any) -> None:
    """Print one line of a JSON stream, at once."""
    print(as_json(plain(value), encoding=sys.stdout.encoding, separators=(",", ":")), flush=True)


def plain(value: Any) -> Any:
    """Return values as what JSON has."""
    if hasattr(value, "model_dump"):
        model: BaseModel = value
        return model.model_dump(mode="json")
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def report(options: Options, what: dict[str, Any], to_do: str | None = None, notes: Sequence[str] = ()) -> None:
    """Print an error on standard error: as one JSON line with `--json`, else in words."""
    if options.json:
        print(as_json(what, encoding=sys.stderr.encoding, default=str), file=sys.stderr)
        return
    note(f"inturn: {what['message']}", style="red")
    for text in notes:
        note(f"  {text}")
    if to_do:
        note(f"  to do: {to_do}", style="yellow")


def table(title: str, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return a table; cells are shown as they are, never as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(clean(title)) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(clean(str(cell))) for cell in row))
    return made


def percent(part: float | None) -> str:
    """Return a part in percent, rounded down: 100 % is all of it."""
    return "" if part is None else f"{int(part * 100)} %"


def compact(value: Any) -> str:
    """Return JSON on one line; nothing for nothing."""
    return as_json(plain(value), separators=(",", ":")) if value else ""


def ago(at: datetime | None, *, now: datetime | None = None) -> str:
    """Return how long ago a time was: `12 s`, `3 min`, `5 h`, `2 d`."""
    return "" if at is None else _span(((now or datetime.now(UTC)) - at).total_seconds())


def until(at: datetime | None, *, now: datetime | None = None) -> str:
    """Return how far ahead a time is, as `ago` does."""
    return "" if at is None else _span((at - (now or datetime.now(UTC))).total_seconds())


def _span(length: float) -> str:
    seconds = max(0, int(length))
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), (1, "s"))
    return f"{seconds // size} {unit}"

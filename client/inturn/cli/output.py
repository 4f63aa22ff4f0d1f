"""What commands print: results on standard output, all else on standard error.

Invariant: with `--json`, standard output holds JSON and nothing else; without it, no text of a user, a model or a tool
can move the cursor or change the terminal.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from inturn.cli.options import Options

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table

# Everything that a terminal acts on, but line feed and tab; and what makes text run backwards.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_FILE_WIDTH: Final = 160
"""Columns of a table in a file or a pipe."""
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


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


def clean(text: str) -> str:
    """Return a text without what a terminal would act on."""
    return _CONTROLS.sub("�", text)


def one_line(text: str) -> str:
    """Return a text on one line, clean."""
    return clean(" ".join(text.split()))


def say(text: str) -> None:
    """Print a result."""
    print(clean(text))


def note(text: str, *, style: str = "dim") -> None:
    """Print something that is no result, on standard error."""
    _console(True).print(clean(text), style=style, soft_wrap=True)


def document(value: Any) -> None:
    """Print the one JSON document of a command."""
    print(json.dumps(plain(value), ensure_ascii=False, indent=2))


def line(value: Any) -> None:
    """Print one line of a JSON stream, at once."""
    print(json.dumps(plain(value), ensure_ascii=False, separators=(",", ":")), flush=True)


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
        print(json.dumps(what, ensure_ascii=False, default=str), file=sys.stderr)
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


def compact(value: Any) -> str:
    """Return JSON on one line; nothing for nothing."""
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":")) if value else ""


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

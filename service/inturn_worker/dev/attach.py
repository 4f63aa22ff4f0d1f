"""A second `inturn dev` in one directory: it shows what the first one shows, and ends without it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final, TextIO

from inturn.cli.dev_environment import is_running
from inturn_worker.dev.output import LINE, Output
from inturn_worker.dev.state import StateDirectory

_EVERY: Final = 0.2


async def attach(state: StateDirectory, output: Output) -> None:
    """Show what happened since the running one started, then all that it prints until it ends."""
    output.say("`inturn dev` runs here already: attached to it (Ctrl-C leaves it running)", event="attached")
    with _opened(state.log) as record:
        _show(record, output, everything=False)
        while is_running(state.path):
            await asyncio.sleep(_EVERY)
            _show(record, output, everything=True)
    output.say("it ended", event="detached")


def _opened(path: Path) -> TextIO:
    return path.open()


def _show(record: TextIO, output: Output, *, everything: bool) -> None:
    for raw in record:
        event = json.loads(raw)
        if everything or event["event"] != LINE:
            output.show(event)

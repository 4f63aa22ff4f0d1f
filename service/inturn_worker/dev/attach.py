"""A second `inturn dev` in one directory: it shows what the first one shows, and ends without it."""

from __future__ import annotations

import asyncio
import json
import os
from typing import BinaryIO, Final

from inturn.cli.dev_environment import is_running
from inturn_worker.dev.output import LINE, Output
from inturn_worker.dev.state import StateDirectory

_EVERY: Final = 0.2


async def attach(state: StateDirectory, output: Output) -> None:
    """Show what happened since the running one started, then all that it prints until it ends."""
    output.say("`inturn dev` runs here already: attached to it (Ctrl-C leaves it running)", event="attached")
    with state.log.open("rb") as record:
        show_new(record, output, everything=False)
        while is_running(state.path):
            await asyncio.sleep(_EVERY)
            show_new(record, output, everything=True)
    output.say("it ended", event="detached")


def show_new(record: BinaryIO, output: Output, *, everything: bool) -> None:
    """Show the lines that came; one that is being written comes when it is whole."""
    if record.tell() > os.fstat(record.fileno()).st_size:  # the next one began it anew
        record.seek(0)
    while (raw := record.readline()).endswith(b"\n"):
        event = json.loads(raw)
        if everything or event["event"] != LINE:
            output.show(event)
    record.seek(-len(raw), os.SEEK_CUR)

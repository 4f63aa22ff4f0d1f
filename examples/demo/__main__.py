"""The demo: `python -m examples.demo [--svg FILE]`, or `make demo`.

A real Temporal server, two workers, four producers that race events into five sessions and deliver some twice, a worker
killed with SIGKILL in the middle of a refund, a person who approves a large one, and somebody who watches the answers'
words as they come. Then it checks itself; exit code 0 only if everything held. `KEEP=1` leaves server and worker
running. With `ANTHROPIC_API_KEY` it uses Claude.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console, Group
from rich.text import Text
from temporalio.client import Client as Temporal
from temporalio.contrib.pydantic import pydantic_data_converter

from examples.demo.checks import Check, judge
from examples.demo.incidents import Kill, approve_when_asked, kill_in_mid_refund
from examples.demo.measures import plain_turns
from examples.demo.producers import Producers
from examples.demo.stage import TASK_QUEUE, NotReady, Stage
from examples.demo.table import Board, verdicts
from examples.demo.words import Words
from inturn import Client, InturnError

LIMIT: Final = {"scripted": 90.0, "anthropic": 240.0}
"""Seconds that the events may take in all."""
WIDTH: Final = 110
"""Columns of the picture, and of the summary where no terminal has its own."""


def main() -> int:
    """Set the stage, play, judge, clean up."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="The whole of it in half a minute.")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the summary as a picture, too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    stage = Stage(keep=os.environ.get("KEEP", "") not in ("", "0"))
    done = False
    try:
        began = time.monotonic()
        stage.start()
        console.print(f"server and 2 workers are up after {time.monotonic() - began:.1f} s\n{_model(stage)}")
        checks = asyncio.run(play(stage, console, options.svg))
        done = True
    except (NotReady, TimeoutError, InturnError, ExceptionGroup) as error:
        print(f"demo: {_first(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    finally:
        if stage.keep and done:
            console.print(_kept(stage), soft_wrap=True)
        else:
            stage.end()
    return 0 if all(check.ok for check in checks) else 1


async def play(stage: Stage, console: Console, svg: Path | None) -> list[Check]:
    """Make everything happen, then check it."""
    temporal = await Temporal.connect(stage.address, data_converter=pydantic_data_converter)
    async with Client(temporal=temporal, task_queue=TASK_QUEUE, journal=stage.journal) as client:
        producers = Producers(client, scripted=stage.model == "scripted")
        words = Words(client)
        board = Board(client, producers, words, console)
        kill, approved = Kill(), list[str]()
        show = asyncio.create_task(board.show())
        try:
            async with asyncio.timeout(LIMIT.get(stage.model, LIMIT["anthropic"])), asyncio.TaskGroup() as group:
                group.create_task(producers.run())
                group.create_task(kill_in_mid_refund(stage, client, kill, board))
                group.create_task(approve_when_asked(client, approved, board))
            for session_id, event_id in producers.sent.events:
                await client.session(session_id).wait(event_id, timeout=30)
            board.tell("all events are answered; now the evidence is read")
            costs = await plain_turns(client, temporal, producers.sent, "order-1001")
        finally:
            show.cancel()
            await asyncio.wait([show])
        checks = await judge(client, temporal, producers.sent, stage.shop, kill=kill, approved=approved, costs=costs)
        checks.append(words.check())
    _summary(board, checks, stage, svg)
    return checks


def _summary(board: Board, checks: list[Check], stage: Stage, svg: Path | None) -> None:
    held = sum(check.ok for check in checks)
    last = f"{held} of {len(checks)} promises held in {time.monotonic() - board.began:.0f} s\n{_model(stage)}"
    style = "bold green" if held == len(checks) else "bold red"
    shown = Group(board.frame or board.sessions(), board.story(), "", verdicts(checks), Text(last, style=style))
    board.console.print(shown)
    if svg is not None:
        picture = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), highlight=False)
        picture.print(shown)
        drawn = picture.export_svg(title="make demo")
        # Fonts from elsewhere do not load inside a page's image; every machine has a monospaced one.
        svg.write_text(re.sub(r"@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL))


def _first(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, (NotReady, InturnError)):
        return str(error)
    return "not everything was answered in time" if isinstance(error, TimeoutError) else repr(error)


def _model(stage: Stage) -> str:
    if stage.model == "scripted":
        return "no ANTHROPIC_API_KEY: the scripted model answers, nothing goes to Claude"
    return f"answers come from Claude ({stage.model})"


def _kept(stage: Stage) -> str:
    pids = " ".join(
        str(process.popen.pid) for process in (*stage.workers, stage.server) if process and not process.killed
    )
    inturn = Path(sys.executable).with_name("inturn")
    inturn = Path(os.path.relpath(inturn)) if inturn.is_relative_to(Path.cwd()) else inturn
    return f"""
Server and worker keep running: {stage.address}, files in {stage.directory}.
  Temporal UI   {stage.ui}
  export TEMPORAL_ADDRESS={stage.address} INTURN_TASK_QUEUE={TASK_QUEUE} INTURN_JOURNAL={stage.journal}
  {inturn} ls
  {inturn} show order-1002
  {inturn} tail order-1002
  {inturn} ask order-1002 "Where is my order?"
  {inturn} audit order-1002 --deep
  kill {pids}; rm -r {stage.directory}      # the end"""


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # not through the interpreter's own end: Temporal's Core may crash in it

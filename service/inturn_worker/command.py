"""`inturn worker MODULE:ATTR…`: runs agents' sessions until it is told to stop.

Invariant: a mistake in its set-up ends it with one line and exit code 2, before it said that it is ready.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from inturn.cli.options import options_of
from inturn.encryption.keys import read_keys
from inturn.errors import Misconfigured
from inturn.loading import add_to_import_path, load_agents, load_lifespan
from inturn_worker.hiding import log_uncaught
from inturn_worker.logs import configure_logs
from inturn_worker.processes import Supervisor
from inturn_worker.server import connect
from inturn_worker.settings import LogFormat, Settings, read_settings
from inturn_worker.shutdown import SUPERVISED
from inturn_worker.telemetry import configure_telemetry

logger = logging.getLogger("inturn.worker")


def worker(
    ctx: typer.Context,
    agents: Annotated[list[str], typer.Argument(metavar="MODULE:ATTR...", help="Agents, or lists of them.")],
    lifespan: Annotated[
        str | None, typer.Option(metavar="MODULE:ATTR", help="Async context manager that yields ctx.resources.")
    ] = None,
    processes: Annotated[int | None, typer.Option(help="Worker processes, restarted when they crash.")] = None,
    health_port: Annotated[int | None, typer.Option(help="Port of /livez and /readyz.")] = None,
    beat: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Between a running step's signs of life (2). Longer: a dead worker's step is taken up later, after "
            "2.5 times as long. Shorter: each is a request to the server, and on a hosted cluster a billed action.",
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="DEPLOYMENT:BUILD", help="Take the sessions of this build alone.")
    ] = None,
    pin: Annotated[bool | None, typer.Option("--pin", help="Sessions stay on it until they continue as new.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="auto: JSON unless on a terminal.")] = None,
) -> None:
    """Run the sessions of these agents. Settings come from flags, the environment, and .env, in this order."""
    options = options_of(ctx)
    run(
        agents,
        address=options.address,
        namespace=options.namespace,
        task_queue=options.task_queue,
        journal=options.journal,
        lifespan=lifespan,
        processes=processes,
        health_port=health_port,
        beat=beat,
        version=version,
        pin=pin,
        log_format=log_format or ("json" if options.json else None),
    )


def run(agents: Sequence[str], **flags: Any) -> NoReturn:
    """Run a worker, and end the process.

    Args:
        agents: MODULE:ATTR of each agent or list of them.
        flags: Settings that go before the environment; those that are `None` do not count.
    """
    try:
        code = _run(agents, read_settings(**flags))
    except Misconfigured as error:
        print(f"worker: {error}", file=sys.stderr, flush=True)
        code = 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = 0  # told to stop while it started
    except BaseException:  # also what is no `Exception`: users' code is called on the way
        logger.exception("the worker ended")
        code = 1
    _end(code)


def _run(specs: Sequence[str], settings: Settings) -> int:
    hidden = read_keys() is not None
    configure_logs(settings.log_format, settings.log_level, hide=hidden)
    if hidden:
        log_uncaught()
    here = Path.cwd()  # a module of the user's may change it
    add_to_import_path(here)
    agents = load_agents(specs)
    lifespan = load_lifespan(settings.lifespan) if settings.lifespan else None
    if settings.processes > 1 and SUPERVISED not in os.environ:
        asyncio.run(connect(settings))  # what every process would find wrong is said once
        command = [sys.executable, *sys.orig_argv[1:]]
        return asyncio.run(Supervisor(command, settings.processes, grace=settings.grace, cwd=here).run())
    from inturn_worker.app import serve
    from inturn_worker.loop import WorkerLoop  # half a second: not for --help, nor for a mistake

    end_telemetry = configure_telemetry()
    try:
        with asyncio.Runner(loop_factory=WorkerLoop) as runner:
            runner.run(serve(settings, agents, lifespan))
    finally:
        end_telemetry()
    return 0


def _end(code: int) -> NoReturn:
    # Not through the interpreter's own end: it waits for threads of tools that hang, and Temporal's Core may crash in
    # it.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

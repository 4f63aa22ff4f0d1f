"""A Temporal dev server for work and tests: `python -m inturn_worker.dev_server [--port N] [--db FILE] [--ui]`.

Tuned (with the defaults each dispatch waits for a 50 ms tick) and with inturn's search attributes registered. Prints
one line, `ready 127.0.0.1:PORT`, once the frontend answers. SIGTERM or SIGINT ends server and program, exit code 0.

Invariant: the server never outlives this program, a temporary database never outlives the server, and a database has
one server at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Final

from temporalio.service import RPCError

from inturn.client.temporal.search_attributes import SEARCH_ATTRIBUTES
from inturn.client.temporal.server_checks import check_attributes, connect
from inturn_worker import temporal_cli
from inturn_worker.parent import die_with_parent

HOST: Final = "127.0.0.1"
PORT: Final = 7233
START_SECONDS: Final = 30
STOP_SECONDS: Final = 10

# Without WAL readers block the writer. NORMAL may lose the last commits on power loss, never on a kill.
PRAGMAS: Final = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000")

DYNAMIC_CONFIG: Final = {
    # 20 polls a second by default: on the one shard of a dev server every dispatch would wait for a 50 ms tick.
    "history.transferProcessorMaxPollRPS": 2000,
    "history.timerProcessorMaxPollRPS": 2000,
    # With more partitions and the old matcher a task sits for 2 s now and then.
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
    "matching.useNewMatcher": True,
    "matching.enableFairness": True,
    "matching.enableMigration": True,
    "history.shardIOConcurrency": 16,
    "history.enableHostLevelEventsCache": True,
    # With 100, a flood of signals fails each task of a session that takes as long as 100 of them: it is replayed anew.
    "history.maximumBufferedEventsBatch": 2000,
    # A machine that freezes or is cut off closes nothing: the server goes on giving steps to its open polls until it
    # finds out, by default in 65 s.
    "frontend.keepAliveTime": "3s",
    "frontend.keepAliveTimeout": "2s",
    # The defaults refuse a load that one machine can make.
    "frontend.rps": 6000,
    "frontend.namespaceRPS": 6000,
    "history.rps": 8000,
    "matching.rps": 6000,
}


class NotReady(Exception):
    """The server cannot be used; the message says why."""


def main() -> int:
    """Run a server until a signal comes or it ends by itself."""
    options = _parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        temporal, _ = temporal_cli.find()
        return asyncio.run(_run(str(temporal.absolute()), options))
    except temporal_cli.NotFound as error:
        print(f"temporal: {error}", file=sys.stderr)
        return error.code
    except NotReady as error:
        print(f"dev-server: {error}", file=sys.stderr)
        return 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 0  # a signal


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Return whether somebody listens on `port`."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _parse() -> argparse.Namespace:
    """Return the command line's options, with every port settled."""
    parser = argparse.ArgumentParser(prog="dev-server", description="A tuned Temporal dev server.")
    parser.add_argument("--port", type=int, default=PORT, help=f"of the frontend; 0: any free one (default: {PORT})")
    parser.add_argument("--db", metavar="FILE", help="keeps the server's state in FILE (default: a temporary file)")
    parser.add_argument("--ui", action="store_true", help="serves the web UI too")
    parser.add_argument("--ui-port", type=int, help="of the UI (default: the frontend's + 1000)")
    parser.add_argument("--metrics-port", type=int, help="serves Prometheus' metrics at /metrics there")
    parser.add_argument("--log-level", default="error", help="debug, info, warn, error or never (default: error)")
    parser.add_argument(
        "--dynamic-config-value",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a server setting, VALUE as JSON",
    )
    options = parser.parse_args()
    if options.port and answers(options.port):
        parser.exit(1, f"dev-server: port {options.port} is in use already. Name another with --port (0: any).\n")
    free = options.port == 0
    options.port = options.port or free_port()
    options.ui_port = options.ui_port or (free_port() if free else options.port + 1000)
    return options


async def _run(temporal: str, options: argparse.Namespace) -> int:
    temporary: str | None = None
    process: asyncio.subprocess.Process | None = None
    _cancelled_by_signals()
    try:
        if options.db is None:
            temporary = tempfile.mkdtemp(prefix="inturn-dev-server-")
        database = Path(options.db or f"{temporary}/temporal.db")
        with await acquire(database) as lock:
            process = await _start(temporal, options, database, lock)
        await _until_ready(process, options.port, database)
        ui = f" ui http://{HOST}:{options.ui_port}" if options.ui else ""
        print(f"ready {HOST}:{options.port}{ui}", flush=True)
        return await process.wait()
    finally:
        if process is not None:
            await _end(process)
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _cancelled_by_signals() -> None:
    """Have the first SIGTERM or SIGINT cancel the current task; later ones change nothing."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    cancels = [task.cancel] if task is not None else []

    def cancel_once() -> None:
        while cancels:
            cancels.pop()()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, cancel_once)


async def acquire(database: Path) -> IO[str]:
    """Return the database's lock: it has one server at a time. One that was told to end is waited for.

    Raises:
        NotReady: Another server keeps it, or it cannot be there.
    """
    lock = _opened(Path(f"{database}.lock"))
    until = time.monotonic() + STOP_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > until:
                lock.close()
                raise NotReady(f"another server has {database}. End it, or name another file with --db") from None
        await asyncio.sleep(0.05)


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("w")
    except OSError as error:
        raise NotReady(f"{path} cannot be opened: {error.strerror}") from error


async def _start(
    temporal: str, options: argparse.Namespace, database: Path, lock: IO[str]
) -> asyncio.subprocess.Process:
    command = [temporal, "server", "start-dev", "--ip", HOST, "--port", str(options.port)]
    # Its name alone: the server reads a path as a URI, where `#`, `?` and `%` mean something else.
    command += ["--db-filename", database.name, "--log-level", options.log_level]
    command += ["--ui-port", str(options.ui_port)] if options.ui else ["--headless"]
    command += ["--metrics-port", str(options.metrics_port)] if options.metrics_port else []
    for pragma in PRAGMAS:
        command += ["--sqlite-pragma", pragma]
    for name, kind in SEARCH_ATTRIBUTES.items():
        command += ["--search-attribute", f"{name}={kind}"]
    for value in [f"{key}={json.dumps(value)}" for key, value in DYNAMIC_CONFIG.items()] + options.dynamic_config_value:
        command += ["--dynamic-config-value", value]
    # Its banner says less than the ready line does, and a group of its own keeps a terminal's Ctrl-C for this program.
    devnull = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=devnull,
        stdout=devnull,
        preexec_fn=die_with_parent,
        process_group=0,
        cwd=database.parent,
        pass_fds=(lock.fileno(),),  # it has the lock for as long as it lives
    )


async def _until_ready(process: asyncio.subprocess.Process, port: int, database: Path) -> None:
    """Wait until the frontend answers and lists inturn's search attributes.

    Raises:
        NotReady: It does not, or ignores the pragmas.
    """
    ended = asyncio.ensure_future(process.wait())
    usable = asyncio.ensure_future(_usable(port))
    try:
        await asyncio.wait([ended, usable], timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise NotReady(f"the server ended with exit code {process.returncode} before it was ready")
        if not usable.done():
            raise NotReady(f"the server was not ready after {START_SECONDS} s")
        usable.result()
    finally:
        ended.cancel()
        usable.cancel()
    if not _in_wal_mode(database):
        raise NotReady(f"{database} is not in WAL mode: this CLI ignores --sqlite-pragma. Use >= 1.5.1.")


def _in_wal_mode(database: Path) -> bool:
    return Path(f"{database}-wal").exists()


async def _usable(port: int) -> None:
    # No configuration but this: the user's TLS or key would not fit this server.
    config = {"target_host": f"{HOST}:{port}", "namespace": "default"}
    temporal = await connect(config, timeout=START_SECONDS, advice="It is this program's own")
    while True:
        with contextlib.suppress(RPCError):  # its namespace comes a moment later
            if not (await check_attributes(temporal)).missing:
                return
        await asyncio.sleep(0.05)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the server, kindly first."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # not through the interpreter's own end: Temporal's Core may crash in it

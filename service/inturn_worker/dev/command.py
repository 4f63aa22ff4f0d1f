"""`inturn dev [MODULE:ATTR…]`: everything that an agent needs while it is being written, in one terminal.

Invariant: whatever way it ends, no process of it is left; sessions and journal are, until `--fresh`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from inturn.cli.dev_environment import DIRECTORY, is_running
from inturn.cli.options import Options, options_of
from inturn.dotenv_file import read_dotenv
from inturn.errors import Misconfigured
from inturn_worker.dev.agents import Choice, Unreadable, choose_agents
from inturn_worker.dev.attach import attach
from inturn_worker.dev.child import Child
from inturn_worker.dev.deployments import Deployments, saves
from inturn_worker.dev.narrative import Narrative
from inturn_worker.dev.output import Output
from inturn_worker.dev.server import Server, find_server, start_server, without_temporal
from inturn_worker.dev.state import StateDirectory
from inturn_worker.parent import die_with_parent
from inturn_worker.shutdown import SAME_REQUEST, SUPERVISED

MISCONFIGURED: Final = 2


def dev(
    ctx: typer.Context,
    agents: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODULE:ATTR...", help="Agents, or lists of them; else found.", show_default=False),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget all sessions of this directory first.")] = False,
) -> None:
    """Start a Temporal server and a worker that follows what you save, and say what to try.

    Without names: the agents that pyproject.toml names (tool.inturn), or those of the one module here that has some.

    State is kept in .inturn/. A second one in the same directory attaches to the first.
    """
    options = options_of(ctx)
    try:
        code = asyncio.run(_dev(options, agents or (), fresh))
    except Misconfigured as error:
        Output(as_json=options.json).say(str(error), event="failed")
        code = MISCONFIGURED
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = 0
    raise typer.Exit(code)


async def _dev(options: Options, named: Sequence[str], fresh: bool) -> int:
    directory = Path.cwd()
    if not is_running(directory / DIRECTORY):
        with contextlib.suppress(Unreadable):  # a save may mend it
            choose_agents(directory, named)  # before anything is made here
    state = StateDirectory(directory)
    if not state.acquire():
        if fresh:
            raise Misconfigured("`inturn dev` runs here: end it (Ctrl-C) before --fresh forgets what it works on")
        await attach(state, Output(as_json=options.json))
        return 0
    try:
        return await Dev(options, directory, named, state, fresh=fresh).run()
    finally:
        state.close()


class Dev:
    """One run in one directory, from its start to its end."""

    def __init__(
        self, options: Options, directory: Path, named: Sequence[str], state: StateDirectory, *, fresh: bool
    ) -> None:
        self._fresh = fresh
        self._options = options
        self._directory = directory
        self._named = named
        self._state = state
        self._output = Output(as_json=options.json, record=state.log)
        self._choice: Choice | None = None
        self._server: Server | None = None
        self._journal = options.journal or state.journal
        self._narrative = Narrative(self._output, self._journal)
        self._deployments = Deployments(self._choose, self._start_worker, self._narrative.worker_ready, self._output)
        self._dotenv = read_dotenv()

    async def run(self) -> int:
        """Run until a signal comes, or the server ends; returns the exit code."""
        work = asyncio.create_task(self._work())
        end_by_signals(work, self._kill)
        try:
            await work
        except asyncio.CancelledError:
            return 0
        finally:
            await self._end()
        return 1

    async def _work(self) -> None:
        self._server = self._narrative.server = await self._find_server()
        self._state.publish({**self._server.environment, "INTURN_JOURNAL": self._journal})
        following = asyncio.create_task(self._deployments.follow(saves(self._directory)))
        await asyncio.sleep(0)  # from now on it watches: a save during the first start counts
        try:
            self._deployments.begin()
            if self._server.child is None:
                await asyncio.Event().wait()  # until a signal comes
            else:
                code = await self._server.child.ended()
                self._output.say(f"the Temporal server ended (exit code {code})", event="server_ended", code=code)
        finally:
            following.cancel()

    async def _find_server(self) -> Server:
        address = self._options.address
        if found := await find_server(address, self._options.namespace):
            if self._fresh:  # its sessions would go on with a journal that knows nothing of them
                raise Misconfigured(f"--fresh forgets what is kept here, and not the sessions at {address}: unset that")
            self._output.say(f"Temporal at {address}, which was named", event="server_ready", address=address)
            return found
        if address:
            self._output.say(f"no Temporal server answers at {address}: starting one here", event="server_missing")
        if self._fresh:
            self._state.forget()
        server = await start_server(self._state.temporal, self._output)
        self._output.say(f"Temporal at {server.address}", event="server_ready", address=server.address, ui=server.ui)
        return server

    async def _start_worker(self, specs: Sequence[str]) -> Child:
        command = [sys.executable, "-P", "-m", "inturn", "worker", *specs, "--journal", self._journal]
        if self._options.task_queue:
            command += ["--task-queue", self._options.task_queue]
        return await Child.start(
            "worker",
            command,
            self._worker_environment(),
            self._output,
            ready_prefix="inturn worker ready",
            with_parent=die_with_parent,
        )

    def _worker_environment(self) -> dict[str, str]:
        """Return the worker's environment: this one's, but for what came from .env, which the worker reads anew."""
        assert self._server is not None
        env = {name: value for name, value in os.environ.items() if self._dotenv.get(name) != value}
        if self._server.child is not None:
            env = without_temporal(env)
        log_format = "json" if self._options.json else "console"
        # Of no build: nobody makes each save the current one, and the worker that starts serves all sessions.
        unversioned = {"INTURN_VERSION": "none", "INTURN_PIN": "false"}
        env = {"INTURN_LOG_FORMAT": log_format, **env, **self._server.environment, SUPERVISED: "dev"}
        return env | unversioned

    def _choose(self) -> Choice:
        choice = choose_agents(self._directory, self._named)
        if choice != self._choice:
            self._choice = choice
            text = f"agents: {' '.join(choice.specs)} ({choice.reason})"
            self._output.say(text, event="agents", agents=choice.specs, why=choice.reason)
        return choice

    async def _end(self) -> None:
        self._output.say("ending: running steps finish first; Ctrl-C again ends at once", event="ending")
        await self._deployments.stop()
        if self._server is not None and self._server.child is not None:
            await self._server.child.stop()
        self._output.say("ended", event="ended")
        self._output.close()

    def _kill(self) -> None:
        self._deployments.kill()
        if self._server is not None and self._server.child is not None:
            self._server.child.send(signal.SIGKILL)


def end_by_signals(work: asyncio.Task[Any], kill: Callable[[], None]) -> None:
    """Have the first signal end the work, and one that comes later all processes at once."""
    loop = asyncio.get_running_loop()
    since: list[float] = []

    def asked(number: int) -> None:
        if not since:
            since.append(loop.time())
            work.cancel()
        elif loop.time() - since[0] >= SAME_REQUEST:
            kill()
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # such as by `nohup`
            loop.add_signal_handler(number, asked, number)

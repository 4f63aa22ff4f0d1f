"""Running the server: in a test's own loop, or as a process of its own.

Invariant: both forms offer a test the same calls, and both are gone when their block ends, whatever still streams.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from inturn.models.scripted_answers import Answer, ToolCall
from inturn.testing.claude.answering import CONTEXT_WINDOW
from inturn.testing.claude.app import Claude
from inturn.testing.claude.faults import Fault
from inturn.testing.claude.log import Exchange
from inturn.testing.claude.script import Reply, reply
from inturn.testing.loopback import Loopback, Server

Entry = str | ToolCall | Answer | Reply | Sequence[str | ToolCall]


class StrictClaude(Loopback):
    """The server in the running loop, on a free port of the loopback: `async with StrictClaude() as server`.

    Attributes:
        url: What the SDK's `base_url` takes.
    """

    def __init__(self, *, port: int = 0, context_window: int = CONTEXT_WINDOW, min_cache_tokens: int = 0) -> None:
        """Make a server; entering it starts it.

        Args:
            port: The port to listen on; 0 takes a free one.
            context_window: Tokens that a request may have.
            min_cache_tokens: Tokens below which a prefix is not cached (the real API: 512 to 4,096).
        """
        self._claude = Claude(context_window=context_window, min_cache_tokens=min_cache_tokens)
        super().__init__(lambda: _Server(self._claude), port=port)

    @property
    def requests(self) -> list[Exchange]:
        """Every request since the start or the last reset, in order of arrival."""
        return list(self._claude.log.exchanges)

    def script(self, *entries: Entry, **match: Any) -> None:
        """Queue answers. `match` says for which requests: `when`, `session`, `times`."""
        self._claude.api.replies.extend([reply(entry, **match) for entry in entries])

    def faults(self, *faults: Fault | str, **match: Any) -> None:
        """Queue faults, as objects or in their short form. `match` says for which requests."""
        self._claude.faults.extend([_fault(fault, match) for fault in faults])

    def gone(self, *urls: str) -> None:
        """Let there be nothing behind these addresses any more; also takes the ids of containers."""
        self._claude.api.memory.lose(urls)

    def withdraw(self, *betas: str) -> None:
        """Let these betas be no more: who asks for one is refused."""
        self._claude.api.memory.withdrawn.update(betas)

    def reset(self) -> None:
        """Forget script, faults, log and cache."""
        self._claude.reset()


class ClaudeProcess:
    """The server as a process of its own: `with ClaudeProcess() as server`, with the calls of `StrictClaude`.

    Attributes:
        url: What the SDK's `base_url` takes.
    """

    def __init__(self, *, port: int = 0) -> None:
        """Make a server; entering it starts it. Port 0 takes a free one."""
        self._port = port
        self.url = ""

    @property
    def requests(self) -> list[Exchange]:
        """Every request since the start or the last reset, in order of arrival."""
        return [Exchange.model_validate(each) for each in self._call("/_test/requests?bodies=1")["requests"]]

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def script(self, *entries: Entry, **match: Any) -> None:
        """Queue answers. `match` says for which requests: `when`, `session`, `times`."""
        self._call("/_test/script", [reply(entry, **match).model_dump() for entry in entries])

    def faults(self, *faults: Fault | str, **match: Any) -> None:
        """Queue faults, as objects or in their short form. `match` says for which requests."""
        self._call("/_test/faults", [_fault(fault, match).model_dump(exclude_unset=True) for fault in faults])

    def gone(self, *urls: str) -> None:
        """Let there be nothing behind these addresses any more."""
        self._call("/_test/gone", list(urls))

    def withdraw(self, *betas: str) -> None:
        """Let these betas be no more: who asks for one is refused."""
        self._call("/_test/withdrawn", list(betas))

    def reset(self) -> None:
        """Forget script, faults, log and cache."""
        self._call("/_test/reset", {})

    def __enter__(self) -> Self:
        """Start it, and wait until it listens.

        Raises:
            RuntimeError: It did not start.
        """
        command = [sys.executable, "-m", "inturn.testing.claude", "--port", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip().rpartition(" ")[2]
        if not self.url.startswith("http://"):
            self._stop()
            raise RuntimeError(f"the strict server did not start (exit code {self._process.returncode})")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


class _Server(Server):
    """One that ends streams when it stops."""

    def __init__(self, claude: Claude) -> None:
        super().__init__(claude.app(), ws="none")
        self._claude = claude

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._claude.closing.set()
        await super().shutdown(sockets)


def serve(host: str, port: int, **options: int) -> None:
    """Serve until SIGINT or SIGTERM; tells the address on standard output once it listens."""
    asyncio.run(_serve(host, port, **options))


async def _serve(host: str, port: int, **options: int) -> None:
    claude = Claude(**options)
    listener = socket.create_server((host, port))
    server = _Server(claude)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.handle_exit, number, None)
    sys.stdout.write(f"strict Claude listens on http://{host}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve(sockets=[listener])


def _fault(fault: Fault | str, match: dict[str, Any]) -> Fault:
    made = Fault.model_validate(fault) if isinstance(fault, str) else fault
    return Fault.model_validate({**made.model_dump(exclude_unset=True), **match})

"""The server of `inturn dev`: the one that TEMPORAL_ADDRESS names, where it answers, else one of its own.

Invariant: a server that was not named is never used.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inturn.errors import InturnError, Misconfigured
from inturn_worker.dev.child import Child
from inturn_worker.dev.output import Output
from inturn_worker.dev_server import HOST, PORT, answers, free_port
from inturn_worker.parent import stop_with_parent

_ANSWERS_WITHIN: Final = 2.0
_UI_PORT: Final = 8233


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers.

    Attributes:
        address: Its frontend.
        namespace: The namespace, where it was named.
        ui: Its web page, where it is known.
        child: Its process, where it is ours.
    """

    address: str
    namespace: str | None = None
    ui: str | None = None
    child: Child | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What leads a Temporal client to it, whatever else is set on this machine."""
        named = {"TEMPORAL_ADDRESS": self.address}
        if self.namespace is not None:
            named["TEMPORAL_NAMESPACE"] = self.namespace
        if self.child is None:
            return named
        return {**named, "TEMPORAL_TLS": "false", "TEMPORAL_PROFILE": "", "TEMPORAL_CONFIG_FILE": os.devnull}


async def find_server(address: str | None, namespace: str | None) -> Server | None:
    """Return the server that was named, if it answers."""
    from inturn.client.settings import temporal_config
    from inturn.client.temporal.server_checks import connect

    if address is None:
        return None
    try:
        await connect(temporal_config(address, namespace), timeout=_ANSWERS_WITHIN, advice="")
    except InturnError:
        return None
    return Server(address, namespace)


async def start_server(database: Path, output: Output) -> Server:
    """Return a server of our own, once it answers.

    Raises:
        Misconfigured: It cannot start.
    """
    port, ui_port = (port if not answers(port) else free_port() for port in (PORT, _UI_PORT))
    child = await _start(port, ui_port, database, output)
    if await _ready(child) is None and answers(port):  # somebody took the port in between: another `inturn dev`
        port, ui_port = free_port(), free_port()
        child = await _start(port, ui_port, database, output)
    if await _ready(child) is None:
        raise Misconfigured(f"the Temporal server did not start: {child.last_line}")
    return Server(f"{HOST}:{port}", "default", f"http://{HOST}:{ui_port}", child)


async def _start(port: int, ui_port: int, database: Path, output: Output) -> Child:
    command = [sys.executable, "-P", "-m", "inturn_worker.dev_server", "--db", str(database)]
    command += ["--port", str(port), "--ui", "--ui-port", str(ui_port)]
    ready = f"ready {HOST}:"
    return await Child.start(
        "server", command, without_temporal(os.environ), output, ready_prefix=ready, with_parent=stop_with_parent
    )


async def _ready(child: Child) -> str | None:
    try:
        return await asyncio.shield(child.ready)
    except asyncio.CancelledError:
        await child.stop()
        raise


def without_temporal(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the user's Temporal settings: they are for other servers."""
    return {name: value for name, value in environment.items() if not name.startswith("TEMPORAL_")}

"""What a round is played on: a dev server beside a file on a small disk or a database, or a cluster with two databases.

Invariant: the lanes, the producers and the checker do not know which: what must hold is the same.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.campaign.disk import SmallDisk, small_disk
from tests.support.processes.cluster import DATABASE_SETTINGS, Cluster
from tests.support.processes.postgres import PostgresServer
from tests.support.processes.proxy import Proxy
from tests.support.processes.server import DevServer, fixed_port


@dataclass(frozen=True)
class Way:
    """How somebody reaches the server and the journal."""

    address: str
    """Of Temporal."""
    journal: str
    """Its URL."""
    proxies: Sequence[Proxy] = ()
    """In between, if any: with all of them silent, this is a machine that vanished."""


@dataclass(frozen=True)
class Ground:
    """A server, and where the journals are."""

    server: DevServer | Cluster
    journal: Callable[[str, int | None], str]
    """The URL of a lane's journal, through a port other than its database's own where one is given."""
    journal_port: int | None = None
    """Of the journals' database: `None` for a file."""
    disk: SmallDisk | None = None
    databases: Mapping[str, PostgresServer] = field(default_factory=dict)
    """By whose they are."""

    @property
    def port(self) -> int:
        """Of Temporal."""
        return int(self.server.address.rpartition(":")[2])

    def direct(self, lane: str) -> Way:
        """Return the way with nothing in between."""
        return Way(self.server.address, self.journal(lane, None))

    @asynccontextmanager
    async def through_proxies(self, lane: str) -> AsyncGenerator[Way]:
        """Yield a way whose every connection goes through proxies of its own."""
        async with AsyncExitStack() as stack:
            proxies = [await stack.enter_async_context(Proxy(self.port))]
            port = None
            if self.journal_port is not None:
                proxies.append(await stack.enter_async_context(Proxy(self.journal_port)))
                port = int(proxies[1].address.rpartition(":")[2])
            yield Way(proxies[0].address, self.journal(lane, port), proxies)


MakeGround = Callable[[Path], AbstractAsyncContextManager[Ground]]


@asynccontextmanager
async def one_machine(directory: Path) -> AsyncGenerator[Ground]:
    """A dev server, and a file for each lane's journal."""
    async with AsyncExitStack() as stack:
        server = await _dev_server(stack, directory)
        disk = stack.enter_context(small_disk(directory / "disk"))
        yield Ground(server, lambda lane, port: f"sqlite:///{directory / 'disk' / lane}.db", disk=disk)


@asynccontextmanager
async def with_database(directory: Path) -> AsyncGenerator[Ground]:
    """A dev server, and one journal of all lanes on PostgreSQL."""
    async with AsyncExitStack() as stack:
        server = await _dev_server(stack, directory)
        journals = PostgresServer(settings=DATABASE_SETTINGS)
        await asyncio.to_thread(stack.enter_context, journals)
        url = functools.partial(_url, journals.url(journals.create()), journals.port)
        yield Ground(server, url, journals.port, databases={"journal": journals})


@asynccontextmanager
async def cluster(directory: Path) -> AsyncGenerator[Ground]:
    """A cluster on one PostgreSQL, and one journal of all lanes on another."""
    async with AsyncExitStack() as stack:
        below, journals = PostgresServer(settings=DATABASE_SETTINGS), PostgresServer(settings=DATABASE_SETTINGS)
        for database in (below, journals):
            await asyncio.to_thread(stack.enter_context, database)
        server = Cluster(directory, below)
        await asyncio.to_thread(server.start)
        stack.callback(server.stop)
        url = functools.partial(_url, journals.url(journals.create()), journals.port)
        yield Ground(server, url, journals.port, databases={"temporal": below, "journal": journals})


async def _dev_server(stack: AsyncExitStack, directory: Path) -> DevServer:
    server = DevServer(port=fixed_port(), db=directory / "temporal.db", log=directory / "server.log")
    await asyncio.to_thread(server.start)
    stack.callback(server.stop)
    return server


def _url(url: str, own: int, lane: str, port: int | None) -> str:
    return url.replace(f":{own}/", f":{port or own}/")

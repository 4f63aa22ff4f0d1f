"""The connection to Temporal and to the journal, shared by every handle of a client.

Invariant: made at most once, at first use, and closed only by who made it.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import time
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from temporalio.client import Client as Temporal
from temporalio.service import RetryConfig

from inturn.client.hub import Hub
from inturn.client.settings import DEFAULT_JOURNAL, ClientSettings, read_settings, temporal_config
from inturn.client.temporal.server_checks import connect
from inturn.encryption.converter import check_converter
from inturn.errors import JournalUnavailable, Misconfigured
from inturn.journal import open_journal
from inturn.per_loop import PerLoop

if TYPE_CHECKING:
    from inturn.journal import SessionJournal

UPDATES_AT_ONCE: Final = 2
"""Of a run's 10 slots; 4 are for `ask`s that wait in the session, and controls need some."""
RETRIES: Final = RetryConfig(initial_interval_millis=1_000)
"""Of calls that the server cannot take now. An update that it aborts or refuses because a run is about to end should
not be back before the next one: a refusal makes the server forget that the run ends (`inturn_workflows.policies`)."""


class Connection:
    """What a client and all that came of it by `with_options` share."""

    def __init__(
        self,
        address: str | None = None,
        *,
        namespace: str | None = None,
        journal: str | SessionJournal | None = None,
        temporal: Temporal | None = None,
    ) -> None:
        """Remember how to connect; nothing is opened yet."""
        self._address = address
        self._namespace = namespace
        self._given = journal
        self._temporal = temporal
        self._unchecked = temporal is not None
        self._journal: SessionJournal | None = None
        self._default: SessionJournal | None = None
        self._hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()
        self.unlooked: dict[str, int] = {}
        """Bytes that were sent to sessions since somebody here looked at what their runs have."""
        self._locks = PerLoop(asyncio.Lock)
        self._slots = PerLoop(WeakValueDictionary[str, asyncio.Semaphore])
        self._process = os.getpid()

    @cached_property
    def settings(self) -> ClientSettings:
        """The settings, read at first use."""
        return read_settings()

    def update_slots(self, workflow_id: str) -> asyncio.Semaphore:
        """Return what bounds the updates that a session is accepting from this client at once.

        A run has 10 slots. Measured on server 1.29: an update beyond them is not only refused, its refusal loses the
        workflow task that runs for the others, the run is replayed from its start, and a busy session all but stops.
        """
        here = self._slots.get()
        slots = here.get(workflow_id)
        if slots is None:
            slots = here[workflow_id] = asyncio.Semaphore(UPDATES_AT_ONCE)
        return slots

    async def temporal(self) -> Temporal:
        """Return the connected Temporal client.

        Raises:
            Unavailable: No server answered in time.
            Misconfigured: It was connected by a process that this one was forked from; or it was given, and does not
                encrypt where the environment has keys.
        """
        if self._process != os.getpid() and self._temporal is not None:
            raise Misconfigured("this client was connected before a fork, and its threads stayed behind: make one anew")
        if self._unchecked and self._temporal is not None:
            check_converter(self._temporal.data_converter)
            self._unchecked = False
        if self._temporal is None:
            async with self._locks.get():
                if self._temporal is None:
                    self._temporal = await connect(
                        temporal_config(self._address, self._namespace),
                        timeout=self.settings.connect_timeout,
                        advice="Name another with Client(address) or TEMPORAL_ADDRESS",
                        retry_config=RETRIES,
                    )
                    _end_after_core()
        return self._temporal

    async def journal(self) -> SessionJournal | None:
        """Return the journal that the user named, opened; `None` where none was named.

        Raises:
            JournalUnavailable: It cannot be opened.
        """
        if self._journal is None:
            named = self._given or self.settings.journal
            if named is None:
                return None
            async with self._locks.get():
                if self._journal is None:
                    self._journal = await self._open(named)
        return self._journal

    async def any_journal(self) -> SessionJournal:
        """Return a journal to read: the one that the user named, else the default one where its file is there.

        Raises:
            JournalUnavailable: There is none, or it cannot be opened.
        """
        if (journal := await self.journal()) is not None:
            return journal
        if not _default_exists():
            raise JournalUnavailable(
                "this client does not know where the journal is: Client(journal=…) or INTURN_JOURNAL, as for the worker"
            )
        async with self._locks.get():
            if self._default is None:
                self._default = await self._open(DEFAULT_JOURNAL)
        return self._default

    async def hub(self) -> Hub:
        """Return what follows the journal, for everybody in this event loop, whatever client they use.

        Raises:
            JournalUnavailable: There is none, or it cannot be opened.
        """
        hub = Hub.of(await self.any_journal())
        self._hubs[asyncio.get_running_loop()] = hub
        return hub

    async def close(self) -> None:
        """Close what was opened here. Temporal's client has nothing to close; one that was handed in stays as it is."""
        opened = [j for j in (self._journal, self._default) if j is not None and j is not self._given]
        self._journal = self._default = None
        for journal in opened:
            await journal.close()

    async def _open(self, named: str | SessionJournal) -> SessionJournal:
        if not isinstance(named, str):
            return named
        journal = open_journal(named)
        try:
            await journal.open()
        except JournalUnavailable:
            raise
        except OSError as error:
            raise JournalUnavailable(f"the journal cannot be opened: {error}") from error
        return journal


@cache
def _end_after_core() -> None:
    """Have the interpreter end a moment after Temporal's Core put down its last call.

    A thread of Core that comes back from it later finds no interpreter, and one script in ten died of that at its end.
    """
    atexit.register(time.sleep, 0.02)


def _default_exists() -> bool:
    """Return whether the default journal's file is there; opening it would make one."""
    return Path(DEFAULT_JOURNAL.removeprefix("sqlite:///")).exists()

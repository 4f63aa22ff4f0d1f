"""A store whose transactions encrypt: whatever database it is, and whatever the rules do.

Invariant: it changes nothing else; what encrypts, and where, is `inturn.encryption.columns`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from inturn.encryption.columns import Sealing
from inturn.journal.store.store import Store, Transaction

T = TypeVar("T")


class SealedStore:
    """A store with keys."""

    def __init__(self, store: Store, sealing: Sealing) -> None:
        """Encrypt what a store keeps."""
        self._store = store
        self._sealing = sealing

    @property
    def name(self) -> str:
        """The store's, and which keys there are: who has others is to read nothing through this one."""
        return f"{self._store.name} (encrypted: {self._sealing.names})"

    async def open(self) -> None:
        """Open the store."""
        await self._store.open()

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True, urgent: bool = False) -> T:
        """Run `work` in a transaction that encrypts."""
        return await self._store.write(self._sealed(work), durable=durable, urgent=urgent)

    async def version(self) -> int | None:
        """Return the store's number of commits."""
        return await self._store.version()

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on a snapshot that is decrypted."""
        return await self._store.read(self._sealed(work))

    def _sealed(self, work: Callable[[Transaction], T]) -> Callable[[Transaction], T]:
        def sealed(tx: Transaction) -> T:
            tx.sealing = self._sealing
            return work(tx)

        return sealed

"""What a tenant's agents remember, for people and programs: `client.documents`.

Invariant: whoever gives the version that they have read overwrites nothing that they have not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from inturn.client.temporal.connection import Connection
from inturn.errors import InvalidEvent
from inturn.journal.retries import retry_while_unavailable
from inturn.journal.values import new_token
from inturn.keys import ID_PATTERN, is_id
from inturn.tools.shared_state import PATIENCE
from inturn.values import Document, DocumentInfo


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of one tenant. They need the journal, and no worker.

    An agent with `memory=["rules", "customer:*"]` is shown those; its open sessions are told of changes at their next
    turn. Every method may raise `JournalUnavailable`, and `InvalidEvent` for a name that is no id.
    """

    connection: Connection
    tenant: str

    async def get(self, name: str) -> Document | None:
        """Return a document; `None` where there is none."""
        journal = await self.connection.any_journal()
        found = await journal.documents(self.tenant, [_checked(name)])
        return found[0] if found else None

    async def put(self, name: str, text: str, *, version: int | None = None) -> Document:
        """Write a document and return it with its new version.

        Args:
            name: Its name, an id.
            text: Its whole text, at most 64 KiB.
            version: Only where it is at this version; 0: only where there is none.

        Raises:
            VersionConflict: It is at another version.
            InvalidEvent: It cannot be kept, or the tenant has 1,000 documents.
        """
        journal, writer = await self.connection.any_journal(), new_token()
        write = partial(journal.put_document, self.tenant, name, text, version=version, writer=writer)
        try:
            return await retry_while_unavailable(write, patience=PATIENCE)
        except ValueError as error:
            raise InvalidEvent(str(error)) from None

    async def delete(self, name: str, *, version: int | None = None) -> bool:
        """Remove a document; return whether there was one.

        Raises:
            VersionConflict: It is at another version than the one given.
        """
        journal, writer = await self.connection.any_journal(), new_token()
        remove = partial(journal.delete_document, self.tenant, _checked(name), version=version, writer=writer)
        return await retry_while_unavailable(remove, patience=PATIENCE)

    async def list(self, prefix: str = "") -> AsyncIterator[DocumentInfo]:
        """Yield the documents whose names begin so, in order, without what they say."""
        journal = await self.connection.any_journal()
        for each in await journal.listed_documents(self.tenant, [f"{_checked(prefix) if prefix else ''}*"]):
            yield each


def _checked(name: str) -> str:
    if not is_id(name):
        raise InvalidEvent(f"document {name!r:.200} does not match {ID_PATTERN}")
    return name

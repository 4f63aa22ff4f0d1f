"""The journal as clients see it: the half of it that claims nothing.

Invariant: each method is one transaction of one rule, on every backend. Nothing here decides, and callers never see
SQL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from inturn.journal.ledger import serving, stops, unknown_calls
from inturn.journal.limits import places
from inturn.journal.limits.requests import Place
from inturn.journal.live import deltas, watches
from inturn.journal.log import blobs, codec, contents, cursors, forks, log, notes, position, uploads
from inturn.journal.money import costs as costs_of
from inturn.journal.money.costs import By, Cost
from inturn.journal.state import apply, documents, values
from inturn.journal.state.changes import Change, Done, Operation, Scope
from inturn.journal.store.store import Statement, Store, Transaction
from inturn.journal.values import (
    DeltaPlace,
    Ending,
    NewEntry,
    News,
    Outcome,
    Position,
    Resolution,
    Serving,
    Superseded,
)
from inturn.journal.views import aliases, outcomes, overview
from inturn.keys import SessionKey, StepKey
from inturn.sizes import written
from inturn.values import Disposition, Document, DocumentInfo, Entry, SessionGlance, UnknownOutcome

P = ParamSpec("P")
T = TypeVar("T")
Rule = Callable[Concatenate[Transaction, P], T]

FIRST_PAGE: Final = 32
"""Entries that are read at first: how large they are is not known yet."""
PAGE: Final = 500
"""Entries that are read at once, at most."""
PAGE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of entries that are read at once, about."""


class SessionJournal:
    """The append-only log of sessions: what clients, the gateway and the command line need of it.

    Every method may raise `inturn.errors.JournalUnavailable`: the same call again is then safe.
    """

    def __init__(self, store: Store) -> None:
        """Put the rules over a store."""
        self._store = store

    @property
    def name(self) -> str:
        """What tells its database from others, for this process."""
        return self._store.name

    async def open(self) -> None:
        """Connect, and create the tables where there are none. Calling it twice does nothing."""
        await self._store.open()

    async def close(self) -> None:
        """Finish what is queued and disconnect."""
        await self._store.close()

    # The log.

    async def read(
        self,
        session: SessionKey,
        *,
        after: int = 0,
        limit: int = PAGE,
        event_id: str | None = None,
        types: Sequence[str] = (),
    ) -> list[Entry]:
        """Return at most `limit` entries behind `after`, in order; only of one event and some types where given."""
        return await self._read(log.read, session, after=after, limit=limit, event_id=event_id, types=types)

    async def entries(
        self, session: SessionKey, *, after: int = 0, event_id: str | None = None, types: Sequence[str] = ()
    ) -> AsyncIterator[Entry]:
        """Yield all entries behind `after`, in order of seq; only of one event and of some types where given."""
        async for entry in self._paged(partial(self.read, session, event_id=event_id, types=types), after):
            yield entry

    async def conversation(
        self, session: SessionKey, *, after: int = 0, types: Sequence[str] = ()
    ) -> AsyncIterator[Entry]:
        """Yield entries as `entries` does; of a fork also those that it shares with its parents, before its own."""
        async for entry in self._paged(partial(self._read, forks.read, session, types=types), after):
            yield entry

    @staticmethod
    async def _paged(read: Callable[..., Awaitable[list[Entry]]], after: int) -> AsyncIterator[Entry]:
        limit, full = FIRST_PAGE, True
        while full:
            page = await read(after=after, limit=limit)
            full = len(page) == limit
            if full:  # what comes next is read in pieces of about so many bytes, whatever its entries hold
                each = 1 + sum(written(entry.body) for entry in page) // limit
                limit = max(1, min(PAGE, PAGE_BYTES // each))
            for entry in page:
                after = entry.seq
                yield entry

    async def entry(self, session: SessionKey, key: str) -> Entry | None:
        """Return the entry under a key, where there is one."""
        return await self._read(log.keyed, session, key)

    async def head(self, session: SessionKey) -> int:
        """Return the session's last seq, 0 where it has none."""
        return await self._read(log.head, session)

    async def look(
        self,
        after: Mapping[SessionKey, int],
        stopped_since: float | None = None,
        previews: Mapping[SessionKey, DeltaPlace] | None = None,
    ) -> News:
        """Return what is new: heads behind the seqs given, steps stopped since a time, deltas behind places given."""
        places = previews or {}

        def look(tx: Transaction) -> News:
            reads: list[Statement] = [log.heads_of(after)] if after else []
            reads += [] if stopped_since is None else [stops.stopped_since(stopped_since)]
            tx.ahead([*reads, deltas.behind(places)] if places else reads)
            noticed = [] if stopped_since is None else stops.since(tx, stopped_since)
            return News(log.heads(tx, after), noticed, deltas.read(tx, places))

        return await self._store.read(look)

    async def watch(self, sessions: Collection[SessionKey], *, seconds: float) -> None:
        """Have workers publish what the models of these sessions say, as it comes, for so long."""
        await self._store.write(lambda tx: watches.watch(tx, sessions, seconds=seconds), durable=False)

    async def version(self) -> int | None:
        """Return a number that changes with every commit of any process, where looking at it is cheap; else `None`."""
        return await self._store.version()

    async def position(self, session: SessionKey) -> Position:
        """Return where the session's log stands."""
        return await self._read(position.position, session)

    async def seal(self, session: SessionKey, seq: int) -> str | None:
        """Return the seal of the log as it was up to `seq`; `None` where it has no such entry."""
        return await self._read(position.seal, session, seq)

    async def sealed(self, session: SessionKey, identity: str, seq: int) -> str | None:
        """Return the seal up to `seq` of the log that is known by an identity: this one, or this encrypted anew."""
        return await self._read(position.sealed, session, identity, seq)

    async def known(self, session: SessionKey, identity: str) -> bool:
        """Return whether the session's log is the one of this identity, or that one encrypted anew."""
        return await self._read(position.known, session, identity)

    async def accept(
        self, session: SessionKey, identity: str, head: int, *, by: str | None = None, reason: str | None = None
    ) -> bool:
        """Have a session that knows another log, or this one up to `head`, go on with this one.

        A `session.gap` entry says what is missing.

        Returns:
            Whether that was needed: `False` where the log is the session's own and has all that it has seen.
        """
        return await self._write(position.accept, session, identity, head, by=by, reason=reason)

    async def latest_event(self, session: SessionKey) -> str | None:
        """Return the event whose turn began last."""
        return await self._read(log.latest_event, session)

    async def parked(self, session: SessionKey, *, limit: int = 100) -> list[Entry]:
        """Return the latest `event.parked` entries whose events are still parked."""
        return await self._read(log.parked, session, limit)

    async def sealed_bytes(self, session: SessionKey) -> int:
        """Return the bytes of entries on signals that are parked for want of their key."""
        return await self._read(log.sealed_bytes, session)

    async def verify(self, session: SessionKey) -> list[str]:
        """Check the hash chain; return a line for each seq that does not fit."""
        return await self._read(log.verify, session)

    async def pruned(self, session: SessionKey) -> Entry | None:
        """Return the entry that says what of the session was pruned; `None`: nothing was."""
        return await self._read(position.pruned_by, session)

    async def blob(self, session: SessionKey, ref: str) -> bytes | None:
        """Return the bytes of a reference; `None` where this session has no such reference."""
        return await self._read(blobs.get, session, ref)

    async def result(self, session: SessionKey, ref: str) -> bytes | None:
        """Return the whole of a result of this session that was cut; `None` where none was under this reference."""
        return await self._read(blobs.of_result, session, ref)

    async def put_upload(self, tenant: str, data: bytes, media_type: str) -> str:
        """Keep bytes for the sessions of a tenant to refer to; return their reference. The same bytes have the same."""
        upload = await self._read(uploads.prepared, tenant, data, media_type)
        return await self._write(uploads.put, tenant, upload)

    async def fork(self, session: SessionKey, new_id: str, *, upto: str | None = None) -> Entry:
        """Make a session that goes on from where an event's turn ended; see `forks.fork`. The same again is fine.

        Raises:
            SessionNotFound: There is nothing of the session here.
            InvalidEvent: It cannot be forked there, or the new id is in use.
        """
        return await self._write(forks.fork, session, SessionKey(session.tenant, new_id), upto)

    async def put_content(self, session: SessionKey, event_id: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what a large event says, before it is sent; return the reference that travels instead (`claim`).

        The same again is fine. Nothing is kept where the journal has said the event, or its end, already.
        """
        data = codec.dumps(content).encode()

        def put(tx: Transaction) -> dict[str, Any]:
            with log.locked(tx, session) as journal:
                return contents.put(journal, event_id, data)

        return await self._store.write(put)

    async def contents(self, session: SessionKey) -> dict[str, int]:
        """Return the bytes that are kept for each event that no entry has said yet."""
        return await self._read(contents.kept, session)

    # How events ended.

    async def outcome(self, session: SessionKey, event_id: str) -> Outcome | None:
        """Return how an event ended, where it did."""
        return await self._read(outcomes.get, session, event_id)

    async def outcome_by(self, session: SessionKey, *ids: str) -> Outcome | None:
        """Return how the event ended that is known by one of these ids, its own or other ones."""
        return await self._read(outcomes.known, session, ids)

    async def aliases(self, session: SessionKey) -> dict[str, str]:
        """Return the session's events by their other ids."""
        return await self._read(aliases.of, session)

    async def outcomes(self, session: SessionKey) -> dict[str, int]:
        """Count the session's ended events by disposition."""
        return await self._read(outcomes.counts, session)

    async def standing(self, session: SessionKey, decided: Mapping[str, tuple[str, int]]) -> dict[str, Outcome]:
        """Return how those events ended that have another end than this one, or had it under another number."""
        return await self._read(outcomes.standing, session, decided)

    async def endings(self, session: SessionKey) -> dict[str, Ending]:
        """Return how each event ended, by its outcome and by the entries; those that did in either."""
        return await self._read(outcomes.endings, session)

    async def ended_by(self, session: SessionKey, upto: int) -> dict[str, Disposition]:
        """Return how each event had ended when the log ended at `upto`, by its entries."""
        return await self._read(outcomes.ended_by, session, upto)

    async def spent(self, session: SessionKey) -> int:
        """Return what the session's ended turns cost, in nanodollars."""
        return await self._read(costs_of.spent, session.tenant, session.session_id)

    async def costs(self, by: By, *, tenant: str | None = None, since: float = 0.0) -> list[Cost]:
        """Return what the turns cost that ended since a time (seconds since 1970), the dearest first.

        `tenant`: only its own.
        """
        return await self._read(costs_of.costs, by, tenant=tenant, since=log.micros(since))

    # A tenant's sessions, and what was done beside them.

    async def overview(self, tenant: str, *, limit: int = 1_000) -> list[SessionGlance]:
        """Return where a tenant's sessions stand, those with the latest entries first."""
        return await self._read(overview.overview, tenant, limit)

    async def active(self, tenant: str, session_ids: Collection[str]) -> dict[str, datetime]:
        """Return when sessions wrote their last entries."""
        return await self._read(overview.active, tenant, session_ids)

    async def note(self, tenant: str, entry: NewEntry) -> int:
        """Note what was done beside the tenant's sessions, and by whom; return the seq of the last note.

        Notes are read as a session's entries are, under `inturn.keys.audit_log(tenant)`. One whose key is known is
        not written again: who may have to note the same again gives it one. Without a key each call is one note more.

        Raises:
            InvalidEvent: It is too large, or its type is none.
        """
        notes.check(tenant, entry)
        return await self._write(notes.note, tenant, entry)

    # Calls whose outcome is unknown.

    async def unknown_calls(self, session: SessionKey) -> list[UnknownOutcome]:
        """Return the calls whose outcome is unknown and that nobody resolved, in order of their results."""
        return await self._read(unknown_calls.unknown, session)

    async def resolve_call(self, call: StepKey, resolution: Resolution) -> Resolution | None:
        """Resolve a call whose outcome is unknown, with a `system.message`.

        Returns:
            The resolution on record: an earlier one, where there is one. `None`: the outcome is not unknown.
        """
        return await self._write(unknown_calls.resolve, call, resolution)

    # What a tenant's agents remember.

    async def listed_documents(self, tenant: str, patterns: Sequence[str]) -> list[DocumentInfo]:
        """Return the documents of these names, and of prefixes with a `*` behind, without what they say."""
        return await self._read(documents.listed, tenant, patterns)

    async def documents(self, tenant: str, names: Sequence[str]) -> list[Document]:
        """Return those of these documents that are there."""
        return await self._read(documents.read, tenant, names)

    async def put_document(
        self, tenant: str, name: str, text: str, *, version: int | None = None, writer: str = ""
    ) -> Document:
        """Write a document, only at a version where one is given (0: where there is none).

        `writer` names the change, made once by who may have to try it again.

        Raises:
            Changed: It is at another one.
            ValueError: It cannot be kept.
        """
        documents.check(name, text)
        return await self._write(documents.put, tenant, name, text, version, writer)

    async def delete_document(self, tenant: str, name: str, *, version: int | None = None, writer: str = "") -> bool:
        """Remove a document; return whether there was one. Raises as `put_document`."""
        documents.check(name)
        return await self._write(documents.delete, tenant, name, version, writer)

    # Cursors, shared state, limits.

    async def cursor(self, tenant: str, name: str, session_id: str) -> int:
        """Return a stored cursor's seq, 0 where it has none."""
        return await self._read(cursors.get, tenant, name, session_id)

    async def move_cursor(self, tenant: str, name: str, session_id: str, seq: int) -> int:
        """Move a stored cursor forward (never back); return where it is."""
        return await self._write(cursors.move, tenant, name, session_id, seq)

    async def value(self, scope: Scope, name: str) -> tuple[Any, int] | None:
        """Return a named value with its version, where there is one."""
        return await self._read(values.get, scope, name)

    async def change(self, scope: Scope, change: Change, operation: Operation) -> Done:
        """Change shared state, or return what came of this operation before.

        Raises:
            Superseded: The operation's attempt does not hold its call any more.
            ToolError, ValueError: The operation was another before, or the value is not one to change so.
        """
        return self._held(operation.step, await self._write(apply.change, scope, change, operation))

    async def recall(self, scope: Scope, operation: Operation, what: str) -> Done | None:
        """Return what came of an operation before, where it is not to be done anew. `what`: see `changes.describe`."""
        return await self._read(apply.recall, scope, operation, what)

    async def serving(self, agent: str | None = None) -> list[Serving]:
        """Return what live workers serve, or only one agent; the newest worker first."""
        return await self._read(serving.serving, agent)

    async def places(self, tenant: str | None = None) -> list[Place]:
        """Return who holds what and who waits for it, of one tenant or of all."""
        return await self._read(places.listed, tenant)

    async def look_within(self, work: Callable[[Transaction], T]) -> T:
        """Return what a look at the tables finds, on one snapshot."""
        return await self._store.read(work)

    async def _write(self, rule: Rule[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._store.write(lambda tx: rule(tx, *args, **kwargs))

    async def _read(self, rule: Rule[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._store.read(lambda tx: rule(tx, *args, **kwargs))

    @staticmethod
    def _held(step: StepKey | None, result: T | None) -> T:
        """Return what a rule gave the attempt that holds the step; others it gives `None`, or `False`."""
        if result is None or result is False:
            raise Superseded(f"{step}: this attempt's claim was settled, finished or taken over; nothing was written")
        return result

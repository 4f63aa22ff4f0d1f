"""A session whose books are to be tampered with: it lived without a server, by the steps of a real worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from inturn.client.audit.accepted import Accepted, HistoryReader
from inturn.client.audit.audit import Auditor
from inturn.events import Event
from inturn.journal import NewEntry, open_journal
from inturn.journal.log import codec, log
from inturn.policy import InboxPolicy
from inturn.signals import Signal, run_name
from inturn.values import Audit
from inturn_activities.messages import Decision, ModelInput, RecordInput
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import ParkedEvent, Refusal
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionState
from tests.support import outside
from tests.support.arrivals import arrival
from tests.support.steps import SESSION, StepRunner, environment
from tests.support.transport import FakeTransport

POLICY = InboxPolicy()


@dataclass
class Life:
    """A session without a server: its inbox and state, the steps of a real worker, and what its history would say."""

    steps: StepRunner
    state: SessionState = field(default_factory=lambda: SessionState(inbox=Inbox(dedup=DedupWindow(salt="s"))))
    accepted: Accepted = field(default_factory=lambda: Accepted(chains={"chain"}))
    records: int = 0

    @property
    def inbox(self) -> Inbox:
        return self.state.inbox

    def sent(self, event_id: str, **fields: Any) -> None:
        event = Event(event_id=event_id, content=f"say {event_id}", **fields)
        self.inbox.admit(arrival(event, 10), 0.0, POLICY)
        self.accepted.events[event_id] = "run"

    def refused(self, event_id: str, refusal: Refusal, number: int) -> None:
        """Reject an event that one of the run's signals brings."""
        signal = Signal(run_name("chain", 1), number + 1)
        self.inbox.reject(Event(event_id=event_id, content="hi"), refusal, 2.0, signal)
        self.accepted.take(event_id, "run", datetime.fromtimestamp(1.0, UTC), signal)

    async def ran(self, now: float = 0.1) -> None:
        """Take the next turn and answer it."""
        host, *joined = self.inbox.take(now, POLICY)
        await self.recorded()
        fields: dict[str, Any] = {"event": host.event, "joined": [q.event for q in joined]} if host.event else {}
        chain = None if self.state.journal else "chain"
        step = SESSION.turn(host.event_id, int(host.turn.partition("~")[2] or 0)).step(0)
        message = ModelInput(**fields, n=host.n, chain=chain, journal=self.state.journal, head=self.state.head)
        self.state.locate(await environment(step).run(self.steps.steps.call_model, message))
        self.inbox.endings.finish(host.event_id, "applied")
        for queued in joined:
            known = {"source": queued.source, "n": str(queued.n)}
            self.inbox.endings.merge(queued.event_id, host.event_id, 1.0, known)
        await self.recorded()

    async def ended(self, type_: str, disposition: str) -> None:
        """Take the next turn, and end it without an answer."""
        (host,) = self.inbox.take(0.1, POLICY)
        body = {"turn": host.turn, "event": host.event}
        end = Decision(type=type_, turn=host.turn, key=f"{host.turn}/end", disposition=disposition, body=body)
        parked = end.model_copy(update={"type": "event.parked", "key": f"{host.turn}/parked"})
        if disposition == "parked":
            self.inbox.endings.park(ParkedEvent(turn=host.turn, n=host.n, error="400"))
        else:
            self.inbox.endings.finish(host.event_id, disposition)
        await self.recorded(end, *[parked] * (disposition == "parked"), settle=[host.turn])

    async def recorded(self, *ends: Decision, settle: Any = ()) -> None:
        decisions = [*self.inbox.books.drain_decisions(2.0), *ends]
        if not decisions:
            return
        self.records += 1
        message = RecordInput(
            decisions=decisions, settle=list(settle), journal=self.state.journal, head=self.state.head
        )
        step = SESSION.turn("~record").step(self.records)
        self.state.locate(await environment(step).run(self.steps.steps.record, message))
        self.inbox.books.note_written(decisions)

    def status(self) -> dict[str, Any]:
        waiting = [{"event_id": queued.event_id} for queued in self.inbox.queue.events]
        where = {"journal": self.state.journal, "head": self.state.head, "seal": self.state.seal}
        counts = {"counts": self.inbox.balance(running=0), "unrecorded": self.inbox.books.unrecorded}
        return {"queue": waiting, "chain": "chain", **counts, **where}


@dataclass
class Scene:
    """The books of a session, to be tampered with."""

    url: str
    status: dict[str, Any]
    accepted: Accepted

    @contextmanager
    def rows(self) -> Iterator[Callable[..., list[Any]]]:
        with outside.opened(self.url) as tx:
            yield lambda sql, *values: tx.execute(sql, values)

    def sql(self, statement: str, *values: Any) -> None:
        with self.rows() as run:
            run(statement, *values)

    def body(self, key: str, **changes: Any) -> None:
        """Change the body of an entry; `None` takes a field out."""
        with self.rows() as run:
            [(body,)] = run("SELECT body FROM entries WHERE key = ?", key)
            changed = {k: v for k, v in (codec.loads(body) | changes).items() if v is not None}
            run("UPDATE entries SET body = ? WHERE key = ?", codec.dumps(changed), key)

    def rehash(self) -> None:
        """Chain all entries anew, without gaps: as somebody would who knows how."""
        with self.rows() as run:
            rows = run("SELECT seq, key, type, event_id, step, at, body FROM entries ORDER BY seq")
            run("UPDATE entries SET seq = seq + 100000")
            prev = ""
            for seq, (old, key, type_, event_id, step, at, body) in enumerate(rows, 1):
                hash_ = log.entry_hash(SESSION, prev, seq, key, type_, event_id, step, at, body)
                run("UPDATE entries SET seq = ?, prev = ?, hash = ? WHERE seq = ?", seq, prev, hash_, old + 100_000)
                prev = hash_
            run("UPDATE sessions SET head = ?, hash = ?", len(rows), prev)

    async def append(self, *entries: NewEntry) -> None:
        """Append entries by the journal's own rules."""
        journal = open_journal(self.url)
        await journal._store.write(lambda tx: _appended(tx, entries))
        await journal.close()

    async def audit(self, monkeypatch: pytest.MonkeyPatch, *, deep: bool) -> Audit:
        journal = open_journal(self.url)
        transport: Any = FakeTransport(journal=journal)
        transport.key, transport.state = SESSION, self.status

        async def accepted(_: HistoryReader) -> Accepted:
            return self.accepted

        monkeypatch.setattr(HistoryReader, "accepted", accepted)
        try:
            return await Auditor(transport).audit(deep=deep)
        finally:
            await journal.close()


def _appended(tx: Any, entries: Any) -> None:
    with log.locked(tx, SESSION) as journal:
        journal.append(entries)

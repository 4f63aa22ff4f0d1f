"""A session that goes on while its books are read raises no false alarm, and hides nothing that is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

import inturn.client.audit.audit
from inturn import names
from inturn.client.audit.accepted import HistoryReader
from inturn.client.audit.audit import Auditor
from inturn.journal import open_journal
from inturn.values import Audit
from inturn_workflows.inbox.books import MAX_DECISIONS
from inturn_workflows.inbox.events import Refusal
from tests.support.audited import POLICY, Life
from tests.support.steps import SESSION, rig
from tests.support.stores import journal_url
from tests.support.transport import FakeTransport

pytestmark = pytest.mark.promise("ACC-8")

FULL = Refusal(names.BACKPRESSURE, "the inbox is full")
WAITING = 40
"""Events that wait when the audit begins; it takes one or so for each look."""


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inturn.client.audit.audit, "_SETTLE_WITHIN", 0.3)


@dataclass
class Busy:
    """A session that does something before each look at it, or between that and the look at its journal."""

    life: Life
    url: str
    goes_on: Callable[[Life], Awaitable[None]]
    tamper: Callable[[dict[str, Any]], None] = lambda status: None
    before: Callable[[Life], Awaitable[None]] | None = None
    looks: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def audit(self, monkeypatch: pytest.MonkeyPatch, *, deep: bool) -> Audit:
        journal = open_journal(self.url)
        transport: Any = FakeTransport(journal=journal)
        transport.key = SESSION

        async def status(timeout: float) -> dict[str, Any]:
            if self.before is not None:
                await self.before(self.life)
            shown = self.life.status()
            self.tamper(shown)
            self.looks.append(shown)
            await self.goes_on(self.life)
            return shown

        async def accepted(_: HistoryReader) -> Any:
            return self.life.accepted

        monkeypatch.setattr(transport, "status", status)
        monkeypatch.setattr(HistoryReader, "accepted", accepted)
        try:
            return await Auditor(transport).audit(deep=deep)
        finally:
            await journal.close()


@pytest.fixture
async def life(tmp_path: Path) -> AsyncIterator[Life]:
    async with rig(tmp_path) as steps:
        made = Life(steps)
        made.sent("first")
        await made.ran()
        for n in range(WAITING):
            made.sent(f"e{n}")
        yield made


async def _turn(life: Life) -> None:
    await life.ran()


@pytest.mark.parametrize("deep", [False, True])
async def test_a_journal_that_is_ahead_at_every_look_is_no_difference(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep: bool
) -> None:
    busy = Busy(life, journal_url(tmp_path), _turn)
    audit = await busy.audit(monkeypatch, deep=deep)
    assert audit.ok, audit.differences
    assert len(busy.looks) == 1, "one look is enough"
    assert audit.counts["applied"] == 1, "what the session had seen then"


async def test_a_session_that_does_not_answer_at_once_is_asked_for_as_long_as_a_worker_is_waited_for(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Life] = []

    async def late(life: Life) -> None:
        asked.append(life)
        if len(asked) == 1:
            raise TimeoutError

    async def described(_: FakeTransport) -> Any:
        return SimpleNamespace(status=WorkflowExecutionStatus.RUNNING, run_id="run")

    monkeypatch.setattr(FakeTransport, "describe", described)
    audit = await Busy(life, journal_url(tmp_path), _turn, before=late).audit(monkeypatch, deep=False)
    assert audit.ok, audit.differences
    assert len(asked) == 2


async def test_a_count_that_is_wrong_is_told_of_a_busy_session(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(status: dict[str, Any]) -> None:
        status["counts"]["applied"] += 1
        status["counts"]["accepted"] += 1

    audit = await Busy(life, journal_url(tmp_path), _turn, doubled).audit(monkeypatch, deep=False)
    assert not audit.ok, "though the journal, read later, has as many"
    assert "applied: the session counts" in audit.differences[0]


async def _decisions_of_every_kind(life: Life) -> None:
    """Record what was decided before, and decide more: at each look some of it is on its way to the journal."""
    await life.recorded()
    inbox, n = life.inbox, life.records
    (taken,) = inbox.take(0.1, POLICY)
    inbox.cancel(inbox.queue.events[0].event_id, 1.0, None, POLICY)
    inbox.endings.merge(taken.event_id, "first", 1.0, {"source": "client", "n": str(taken.n)})
    inbox.park_invalid(f"invalid-{n}", "no JSON", 1.0)
    inbox.endings.reject(f"refused-{n}", FULL, 1.0, {"source": "client"})
    for event_id in (f"invalid-{n}", f"refused-{n}"):
        life.accepted.named.add(event_id)
    if n > 1:
        assert inbox.discard(f"invalid-{n - 1}", 1.0) is None


@pytest.mark.parametrize("in_flight", [False, True])
async def test_decisions_that_the_journal_must_still_learn_are_no_difference(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_flight: bool
) -> None:
    for _ in range(3):
        await _decisions_of_every_kind(life)
    drained = life.inbox.books.drain_decisions(2.0) if in_flight else []
    busy = Busy(life, journal_url(tmp_path), _nothing)
    audit = await busy.audit(monkeypatch, deep=False)
    assert audit.ok, audit.differences
    assert len(busy.looks) == 1, "one look is enough"
    life.inbox.books.decisions[:0] = drained
    await _decisions_of_every_kind(life)
    await life.recorded()
    assert life.inbox.books.unrecorded == {}
    audit = await busy.audit(monkeypatch, deep=True)
    assert audit.ok, audit.differences


async def _nothing(life: Life) -> None:
    pass


async def test_what_is_only_counted_is_no_difference_while_the_journal_must_still_learn_of_it(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(MAX_DECISIONS + 5):
        life.inbox.endings.reject(f"r{n}", FULL, 2.0, {"source": "client"})
    busy = Busy(life, journal_url(tmp_path), _nothing)
    for _ in range(2):
        audit = await busy.audit(monkeypatch, deep=False)
        assert audit.ok, audit.differences
        await life.recorded()
    assert life.inbox.books.unrecorded == {}
    assert len(busy.looks) == 2, "one look is enough"


async def _decided(life: Life) -> None:
    """Record what was decided before, and decide on two more."""
    await life.recorded()
    for _ in range(2):
        life.inbox.cancel(life.inbox.queue.events[0].event_id, 1.0, None, POLICY)


@pytest.mark.parametrize("lost", [False, True])
async def test_of_events_whose_ends_are_on_their_way_at_every_look_only_a_lost_one_is_missing(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    busy = Busy(life, journal_url(tmp_path), _nothing, before=_decided)
    if lost:
        life.accepted.events["gone"] = "run"
    audit = await busy.audit(monkeypatch, deep=True)
    assert audit.differences == (("event gone, accepted in run run, has no outcome",) if lost else ())
    assert len(busy.looks) > 1

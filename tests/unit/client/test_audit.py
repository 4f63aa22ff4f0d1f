"""The audit names each event that differs, and finds nothing in the books of an honest session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import inturn.client.audit.audit
from inturn.client.audit.accepted import Accepted, HistoryReader
from inturn.client.audit.audit import Auditor
from inturn.events import Event
from inturn.journal import Journal, NewEntry
from inturn.keys import SessionKey
from inturn.policy import InboxPolicy
from inturn.values import Audit
from inturn_activities.messages import Decision
from inturn_activities.record import recorded
from inturn_workflows.inbox.books import MAX_DECISIONS
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import ParkedEvent, Queued, Refusal
from inturn_workflows.inbox.inbox import Inbox
from tests.support import outside
from tests.support.arrivals import arrival
from tests.support.journal import answer, applied
from tests.support.stores import journal_url
from tests.support.transport import FakeTransport

KEY = SessionKey("t", "s")
POLICY = InboxPolicy()


class Life:
    """An honest session: the inbox decides, and what the journal must learn is written as the session's steps do."""

    def __init__(self, journal: Journal) -> None:
        self.inbox = Inbox(dedup=DedupWindow(salt="s"))
        self.accepted: list[str] = []
        self._journal = journal

    async def sent(self, event_id: str, **fields: Any) -> None:
        self.inbox.admit(arrival(Event(event_id=event_id, content="hi", **fields), 10), 0.0, POLICY)
        self.accepted.append(event_id)

    async def taken(self, now: float = 1.0) -> list[Queued]:
        taken = self.inbox.take(now, POLICY)
        await self.written()
        return taken

    async def answered(self, turn: str, *merged: str) -> None:
        step, n = KEY.turn(turn).step(0), self.accepted.index(turn.partition("~")[0]) + 1
        began = NewEntry("turn.started", {"n": n, "turn": turn}, step.turn.event_id, key=f"{turn}/started")
        claim = await self._journal.claim_model(step, [began])
        await self._journal.finish(step, claim.token, {"stop": "end_turn"}, answer(turn), applied(turn))
        self.inbox.endings.finish(step.turn.event_id, "applied")
        for event_id in merged:
            self.inbox.endings.merge(event_id, step.turn.event_id, 1.0, {})
        await self.written()

    async def failed(self, turn: str) -> None:
        self.inbox.endings.park(ParkedEvent(turn=turn, error="400"))
        await self.ended(turn, "turn.failed", "parked")

    async def interrupted(self, turn: str) -> None:
        self.inbox.endings.finish(turn, "cancelled")
        await self.ended(turn, "turn.interrupted", "cancelled")

    async def ended(self, turn: str, type_: str, disposition: str) -> None:
        body = {"turn": turn, "event": {"content": "hi"}}
        end = Decision(type=type_, turn=turn, key=f"{turn}/end", disposition=disposition, body=body)
        parked = end.model_copy(update={"type": "event.parked", "key": f"{turn}/parked"})
        await self.written(end, *[parked] * (disposition == "parked"))

    async def written(self, *decisions: Decision) -> None:
        drained = [*self.inbox.books.drain_decisions(2.0), *decisions]
        await self._journal.record(KEY, [recorded(KEY, decision) for decision in drained])


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inturn.client.audit.audit, "_SETTLE_WITHIN", 0.0)


@pytest.fixture
async def life(journal: Journal) -> Life:
    """A session in which events have ended in every way there is."""
    life = Life(journal)
    await life.sent("applied")
    await life.sent("host", when_busy="merge")
    await life.sent("merged", when_busy="merge")
    for event_id in ("interrupted", "failed", "redriven", "given-up", "discarded"):
        await life.sent(event_id)
    await life.sent("expired", expires_after=0.5)
    await life.sent("cancelled")
    life.inbox.cancel("cancelled", 0.0, None, POLICY)
    await life.taken(0.1)
    await life.answered("applied")
    await life.taken(0.1)
    await life.answered("host", "merged")
    await life.taken(0.1)
    await life.interrupted("interrupted")
    for event_id in ("failed", "redriven", "given-up", "discarded"):
        await life.taken(0.1)
        await life.failed(event_id)
    assert await life.taken() == [], "expired"
    for event_id in ("redriven", "given-up"):
        life.inbox.redrive(event_id, 2.0)
    await life.taken()
    await life.answered("redriven~1")
    life.inbox.cancel("given-up", 2.0, None, POLICY)
    life.inbox.discard("discarded", 2.0)
    life.inbox.park_invalid("invalid", "not JSON", 2.0)
    life.inbox.reject(Event(event_id="rejected", content="hi"), Refusal("Backpressure", "full"), 2.0)
    life.inbox.endings.park_delivery(ParkedEvent(turn="applied", delivery="deliver", error="no such channel"), 2.0)
    await life.ended("applied", "turn.failed", "parked")  # of an attempt that an answer had overtaken
    await life.sent("closed-over")
    life.inbox.clear("parked", 2.0, "the session was closed")
    await life.written()
    return life


async def _audit(life: Life, journal: Journal, *, deep: bool = False) -> Audit:
    transport: Any = FakeTransport(journal=journal)
    transport.state = {"counts": life.inbox.balance(running=0), "head": await journal.head(transport.key)}
    return await Auditor(transport).audit(deep=deep)


def _tamper(tmp_path: Path, *statements: str) -> None:
    outside.change(journal_url(tmp_path), *statements)


@pytest.mark.promise("ACC-8")
async def test_events_that_ended_in_every_way_there_is_are_no_difference(life: Life, journal: Journal) -> None:
    audit = await _audit(life, journal)
    assert audit.ok, audit.differences
    ends = {"applied": 3, "merged": 1, "cancelled": 3, "expired": 1, "parked": 3, "discarded": 1, "rejected": 1}
    assert audit.counts == ends


LOST = {
    "applied": "applied",
    "redriven": "applied",
    "merged": "merged",
    "interrupted": "cancelled",
    "cancelled": "cancelled",
    "given-up": "cancelled",
    "expired": "expired",
    "failed": "parked",
    "invalid": "parked",
    "closed-over": "parked",
    "discarded": "discarded",
}


@pytest.mark.promise("ACC-8")
@pytest.mark.parametrize(("event_id", "ending"), LOST.items())
async def test_an_event_whose_outcome_is_lost_is_named_with_the_end_that_its_entries_tell(
    life: Life, journal: Journal, tmp_path: Path, event_id: str, ending: str
) -> None:
    _tamper(tmp_path, f"DELETE FROM outcomes WHERE event_id = '{event_id}'")
    found = (await _audit(life, journal)).differences
    assert [text for text in found if text.startswith("event ")] == [
        f"event {event_id} ended {ending} by its entries, and has no outcome"
    ]


@pytest.mark.promise("ACC-8")
@pytest.mark.parametrize(("event_id", "ending"), LOST.items())
async def test_an_event_whose_outcome_was_changed_is_named(
    life: Life, journal: Journal, tmp_path: Path, event_id: str, ending: str
) -> None:
    other = "expired" if ending != "expired" else "applied"
    _tamper(tmp_path, f"UPDATE outcomes SET disposition = '{other}' WHERE event_id = '{event_id}'")
    audit = await _audit(life, journal)
    assert not audit.ok
    assert f"event {event_id} ended {ending} by its entries, and its outcome says {other}" in audit.differences


@pytest.mark.promise("ACC-8")
async def test_two_outcomes_that_changed_places_are_named_though_the_counts_agree(
    life: Life, journal: Journal, tmp_path: Path
) -> None:
    change = "UPDATE outcomes SET disposition = '{}' WHERE event_id = '{}'"
    _tamper(tmp_path, change.format("cancelled", "applied"), change.format("applied", "cancelled"))
    assert (await _audit(life, journal)).differences == (
        "event applied ended applied by its entries, and its outcome says cancelled",
        "event cancelled ended cancelled by its entries, and its outcome says applied",
    )


@pytest.mark.promise("ACC-8")
async def test_an_outcome_that_no_entry_tells_of_is_named(life: Life, journal: Journal, tmp_path: Path) -> None:
    _tamper(tmp_path, "UPDATE outcomes SET event_id = 'phantom' WHERE event_id = 'merged'")
    assert (await _audit(life, journal)).differences == (
        "event merged ended merged by its entries, and has no outcome",
        "event phantom has the outcome merged, and no entry of its end",
    )


@pytest.mark.promise("ACC-8")
async def test_a_turn_that_neither_ended_nor_runs_is_named(life: Life, journal: Journal, tmp_path: Path) -> None:
    gone = "event_id = 'host'"
    _tamper(tmp_path, f"DELETE FROM outcomes WHERE {gone}", f"DELETE FROM entries WHERE key = 'host/end' AND {gone}")
    found = (await _audit(life, journal)).differences
    assert [text for text in found if text.startswith("event ")] == ["event host began a turn that has no end"]


@pytest.mark.promise("ACC-8")
async def test_events_that_were_only_counted_in_a_flood_are_no_difference_in_a_deep_audit(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(journal)
    for n in range(MAX_DECISIONS + 20):
        await life.sent(f"e{n}", expires_after=0.5)
    assert await life.taken() == [], "expired, and so many that the last were only counted"

    async def accepted(_: HistoryReader) -> Accepted:
        return Accepted(dict.fromkeys(life.accepted, "run"))

    monkeypatch.setattr(HistoryReader, "accepted", accepted)
    audit = await _audit(life, journal, deep=True)
    assert audit.ok, audit.differences
    assert audit.counts == {"expired": MAX_DECISIONS + 20}

"""The checks: what happened, read from the journal, the server's histories and the shop.

Invariant: nothing here is remembered from the run but what producers were told (`Sent`) and what the kill hit. A check
that cannot find its evidence fails.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from temporalio.client import Client as Temporal

from examples.demo.incidents import Kill
from examples.demo.measures import Seen, look
from examples.demo.producers import Sent
from examples.shop import Shop
from inturn import Audit, Client, Entry
from inturn.keys import SessionKey, StepKey

KEYED = {"refund": "refunds", "add_note": "notes"}
"""Tools with effects, and the shop's table of each."""


@dataclass(frozen=True)
class Check:
    """A promise, whether it held, and what was found."""

    name: str
    ok: bool
    found: str


@dataclass
class Evidence:
    """What one session left behind."""

    session_id: str
    entries: list[Entry]
    audit: Audit
    transcript: list[dict[str, Any]]
    seen: Seen

    def ids(self, kind: str) -> list[str]:
        """Return the event ids of entries of a type, in order."""
        return [entry.event_id or "" for entry in self.entries if entry.type == kind]

    @property
    def turns_at_once(self) -> int:
        """Count the most turns that were open at once, by the journal."""
        open_, most = 0, 0
        for entry in self.entries:
            open_ += {"turn.started": 1, "turn.completed": -1, "turn.failed": -1}.get(entry.type, 0)
            most = max(most, open_)
        return most


@dataclass
class Verdict:
    """All of the evidence, and what follows from it."""

    sent: Sent
    evidence: list[Evidence]
    shop: Shop
    kill: Kill
    approved: list[str]
    costs: dict[str, int]
    expected_costs: dict[str, int] = field(default_factory=lambda: {"send": 10, "ask": 11})

    def checks(self) -> list[Check]:
        """Check every promise."""
        return [
            self._answered(),
            self._duplicates(),
            self._order(),
            self._one_at_a_time(),
            self._effects(),
            self._killed(),
            self._approval(),
            self._transcripts(),
            self._audits(),
            self._cost(),
        ]

    def _answered(self) -> Check:
        sent = set(self.sent.events)
        accepted = {(e.session_id, event_id) for e in self.evidence for event_id in e.ids("user.message")}
        answered = {(e.session_id, event_id) for e in self.evidence for event_id in e.ids("turn.completed")}
        found = f"{len(sent)} events sent, {len(accepted)} accepted, {len(answered)} answered"
        return Check("accepted means answered", bool(sent) and sent == accepted == answered, found)

    def _duplicates(self) -> Check:
        turns = Counter((e.session_id, event_id) for e in self.evidence for event_id in e.ids("turn.started"))
        twice = sum(1 for count in turns.values() if count > 1)
        found = f"{self.sent.delivered} deliveries, {self.sent.repeated} of them repeated: {turns.total()} turns"
        ok = self.sent.repeated > 0 and not twice and turns.total() == self.sent.delivered - self.sent.repeated
        return Check("the same event twice is one turn", ok, found)

    def _order(self) -> Check:
        began = {
            (e.session_id, event_id): n for e in self.evidence for n, event_id in enumerate(e.ids("turn.started"), 1)
        }
        broken = [
            (source, before, after)
            for (source, session), ids in self.sent.lanes.items()
            for before, after in pairwise(ids)
            if not began.get((session, before), 0) < began.get((session, after), 0)
        ]
        found = f"{len(self.sent.lanes)} lanes (producer × session), {len(broken)} out of order"
        return Check("order of every producer", bool(self.sent.lanes) and not broken, found)

    def _one_at_a_time(self) -> Check:
        turns = sum(len(e.ids("turn.started")) for e in self.evidence)
        calls = sum(e.seen.model_calls for e in self.evidence)
        over = sum(1 for e in self.evidence if e.turns_at_once != 1 or e.seen.at_once != 1)
        found = f"{turns} turns with {calls} model calls: {over} sessions with two at once"
        return Check("one turn at a time per session", not over, found)

    def _effects(self) -> Check:
        """Compare the journal's calls with the shop's rows, both by key."""
        called = {
            tool: sorted(done.key for e in self.evidence for done in _done(e) if done.tool == tool) for tool in KEYED
        }
        booked = {tool: sorted(r["key"] for r in self.shop.rows(f"SELECT key FROM {t}")) for tool, t in KEYED.items()}
        refunds = self.shop.rows("SELECT order_id FROM refunds GROUP BY order_id HAVING count(*) > 1")
        asked = len(self.shop.rows("SELECT 1 FROM requests"))
        total = sum(len(keys) for keys in booked.values())
        made = ", ".join(f"{len(keys)} {KEYED[tool]}" for tool, keys in booked.items())
        found = f"{made} in the shop for {sum(map(len, called.values()))} calls; the shop was asked {asked} times"
        return Check("every effect exactly once", bool(total) and called == booked and not refunds, found)

    def _killed(self) -> Check:
        if self.kill.step is None or self.kill.recovered is None:
            return Check("a kill in mid-turn loses nothing", False, "nothing was killed, or nobody took over")
        key = str(self.kill.step)
        asked = {r["pid"] for r in self.shop.rows("SELECT pid FROM requests WHERE key = ?", key)}
        booked = len(self.shop.rows("SELECT 1 FROM refunds WHERE key = ?", key))
        found = (
            f"refund asked for by {len(asked)} workers, booked {booked} time; done {self.kill.recovered:.1f} s later"
        )
        return Check("a kill in mid-turn loses nothing", len(asked) == 2 and booked == 1, found)

    def _approval(self) -> Check:
        """Compare where a control stands in the session's history with where the approved call was scheduled."""
        late = [
            call.key
            for e in self.evidence
            for call in _done(e)
            if call.call_id in self.approved and e.seen.controls and e.seen.scheduled[call.key] > e.seen.controls[0]
        ]
        found = f"{len(self.approved)} approved by the manager, {len(late)} of them scheduled only after that"
        return Check("a large refund waits for a person", len(late) == len(self.approved) > 0, found)

    def _transcripts(self) -> Check:
        open_ = [call for e in self.evidence for call in _unanswered(e.transcript)]
        messages = sum(len(e.transcript) for e in self.evidence)
        found = f"{messages} messages, {len(open_)} tool calls without a result"
        return Check("transcripts the API accepts", bool(messages) and not open_, found)

    def _audits(self) -> Check:
        wrong = [f"{e.session_id}: {d}" for e in self.evidence for d in e.audit.differences]
        fine = sum(e.audit.ok for e in self.evidence)
        found = f"{fine} of {len(self.evidence)} sessions ok" + "".join(f"; {text}" for text in wrong[:3])
        return Check("audit: nothing lost or repeated", fine == len(self.evidence) > 0, found)

    def _cost(self) -> Check:
        found = ", ".join(f"{count} by {how}" for how, count in self.costs.items())
        return Check("history events of a plain turn", self.costs == self.expected_costs, found)


async def gather(client: Client, temporal: Temporal, session_ids: tuple[str, ...]) -> list[Evidence]:
    """Collect what the sessions left behind."""
    found: list[Evidence] = []
    for session_id in session_ids:
        session = client.session(session_id)
        entries = [entry async for entry in session.entries()]
        seen = await look(temporal, str(SessionKey(client.tenant, session_id)))
        audit, transcript = await session.audit(deep=True), await session.transcript()
        found.append(Evidence(session_id, entries, audit, transcript, seen))
    return found


async def judge(
    client: Client,
    temporal: Temporal,
    sent: Sent,
    shop: Path,
    *,
    kill: Kill,
    approved: list[str],
    costs: dict[str, int],
) -> list[Check]:
    """Gather the evidence and check every promise."""
    session_ids = tuple(sorted({session for _, session in sent.lanes}))
    evidence = await gather(client, temporal, session_ids)
    return await asyncio.to_thread(Verdict(sent, evidence, Shop(shop), kill, approved, costs).checks)


@dataclass(frozen=True)
class Done:
    """A call that succeeded."""

    tool: str
    call_id: str
    key: str


def _done(evidence: Evidence) -> list[Done]:
    calls: list[Done] = []
    for entry in evidence.entries:
        if _is_ok(entry) and entry.step and entry.event_id:
            step, _, index = entry.step.partition("/")
            turn = SessionKey("default", evidence.session_id).turn(entry.event_id)
            calls.append(Done(entry.body["tool"], entry.body["call_id"], str(StepKey(turn, step, int(index)))))
    return calls


def _is_ok(entry: Entry) -> bool:
    return entry.type == "agent.tool_result" and entry.body.get("status") == "ok"


def _unanswered(transcript: list[dict[str, Any]]) -> list[str]:
    """Return the tool calls whose next message does not hold their results."""
    missing: list[str] = []
    for message, after in zip(transcript, [*transcript[1:], {"content": []}], strict=True):
        calls = _blocks(message, "tool_use", "id")
        missing += [call for call in calls if call not in _blocks(after, "tool_result", "tool_use_id")]
    return missing


def _blocks(message: dict[str, Any], kind: str, field_: str) -> list[str]:
    content = message["content"]
    return [block[field_] for block in content if isinstance(block, dict) and block.get("type") == kind]

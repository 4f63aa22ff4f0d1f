"""What large events say, from before they are sent until an entry says it: each interleaving that could lose it."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from inturn import names
from inturn.journal import Claim, Journal, NewEntry, Outcome, Recorded, Want, open_journal
from inturn.journal.ledger import decisions, steps
from inturn.journal.log import contents, log
from inturn.journal.store.sqlite_connection import SqliteTransaction
from inturn.keys import SessionKey
from inturn.values import Entry
from tests.support.journal import OTHER, SESSION, answer, applied, memory
from tests.support.stores import journal_url

pytestmark = pytest.mark.usefixtures("store")

TEXT = "a long text " * 500
SAID = {"content": TEXT}


def put(tx: SqliteTransaction, event_id: str, said: dict[str, Any] = SAID, session: SessionKey = SESSION) -> Any:
    with log.locked(tx, session) as journal:
        return contents.put(journal, event_id, json.dumps(said).encode())


def event(event_id: str, claim: dict[str, Any]) -> dict[str, Any]:
    return {"event_id": event_id, "source": "slack", "claim": claim, "preview": "a long text"}


def opening(turn: str, claim: dict[str, Any], **joined: dict[str, Any]) -> list[NewEntry]:
    host = turn.partition("~")[0]
    return [
        NewEntry("user.message", {"claim": claim, "source": "slack", "n": 1}, host, key=f"{turn}/user"),
        *(NewEntry("user.message", {"claim": c, "joined": e}, host, key=f"{turn}/user/{e}") for e, c in joined.items()),
        NewEntry("turn.started", {"n": 1, "turn": turn}, host, key=f"{turn}/started"),
    ]


def claim(tx: SqliteTransaction, turn: str, reference: dict[str, Any], **joined: dict[str, Any]) -> Claim:
    event_id, _, number = turn.partition("~")
    step = SESSION.turn(event_id, int(number or 0)).step(0)
    return steps.claim_model(tx, step, opening(turn, reference, **joined))


def decide(tx: SqliteTransaction, type_: str, event_id: str, disposition: str | None, **body: Any) -> None:
    key = {"parked": f"{event_id}/parked", None: f"{event_id}/rejected/{body.pop('n', 1)}"}.get(
        disposition, f"{event_id}/disposition"
    )
    outcome = disposition and Outcome(event_id, event_id, disposition, into=body.get("into"))  # type: ignore[arg-type]
    entry = NewEntry(type_, {"turn": event_id, **body}, event_id=event_id, key=key)
    decisions.record(tx, SESSION, [Recorded(entry, outcome or None)], [], close=False)


def said(tx: SqliteTransaction, *types: str) -> list[Any]:
    return [entry.body.get("content") for entry in log.read(tx, SESSION, types=types or ("user.message",))]


def last(tx: SqliteTransaction, type_: str = "event.parked") -> Entry:
    return log.read(tx, SESSION, types=(type_,))[-1]


@pytest.mark.promise("ACC-1", "SUR-15")
def test_the_claim_moves_the_content_into_the_users_message_and_the_chain_holds() -> None:
    with memory() as tx:
        reference = put(tx, "e1", {"content": TEXT, "metadata": {"a": 1}, "newer": True})
        assert claim(tx, "e1", reference).status == "claimed"
        message = last(tx, "user.message")
        assert message.body == {"content": TEXT, "source": "slack", "n": 1, "metadata": {"a": 1}}
        assert contents.kept(tx, SESSION) == {}
        assert log.verify(tx, SESSION) == []


@pytest.mark.promise("ACC-1")
def test_the_end_of_one_event_takes_nothing_from_another_that_says_the_same() -> None:
    with memory() as tx:
        one, two = put(tx, "e1"), put(tx, "e2")
        assert one["hash"] == two["hash"]
        first = claim(tx, "e1", one)
        steps.finish(tx, SESSION.turn("e1").step(0), first.token, {"stop": "end_turn"}, answer("e1"), applied("e1"))
        put(tx, "e3")
        decide(tx, "event.expired", "e3", "expired")
        assert claim(tx, "e2", two).status == "claimed"
        assert said(tx) == [TEXT, TEXT]


@pytest.mark.promise("ACC-1", "ISO-1")
def test_the_content_of_one_session_is_not_anothers() -> None:
    with memory() as tx:
        reference = put(tx, "e1", session=OTHER)
        answered = claim(tx, "e1", reference)
        assert (answered.status, answered.missing) == ("missing", "lost")
        assert list(contents.kept(tx, OTHER)) == ["e1"]


@pytest.mark.promise("ACC-1")
def test_a_rejection_that_is_recorded_late_leaves_what_was_put_since() -> None:
    with memory() as tx:
        first = put(tx, "e1")
        again = put(tx, "e1")  # sent again, and accepted, while the rejection is not recorded yet
        assert again["gen"] > first["gen"]
        decide(tx, "event.rejected", "e1", None, claim=first)
        assert claim(tx, "e1", again).status == "claimed"
        assert said(tx) == [TEXT]


@pytest.mark.promise("ACC-1")
def test_a_rejection_takes_the_content_that_was_rejected_and_none_that_came_after() -> None:
    with memory() as tx:
        first = put(tx, "e1")
        decide(tx, "event.rejected", "e1", None, claim=first, n=1)
        assert contents.kept(tx, SESSION) == {}
        tx.now += 1
        again = put(tx, "e1")
        decide(tx, "event.rejected", "e1", None, claim=first, n=2)  # the first signal, delivered twice
        assert claim(tx, "e1", again).status == "claimed"


@pytest.mark.promise("ACC-1")
def test_nobody_replaces_what_an_acknowledged_event_says() -> None:
    with memory() as tx:
        reference = put(tx, "e1")
        put(tx, "e1", {"content": "something else " * 400})
        assert claim(tx, "e1", reference).status == "claimed"
        assert said(tx) == [TEXT]
        assert contents.kept(tx, SESSION) == {}, "the event has been said: the other content is nobody's"


@pytest.mark.promise("ACC-1", "EFF-3")
def test_a_second_attempt_of_the_first_step_finds_the_entry() -> None:
    with memory() as tx:
        reference = put(tx, "e1")
        dead, alive = claim(tx, "e1", reference), claim(tx, "e1", reference)
        assert (dead.status, alive.status) == ("claimed", "claimed")
        assert said(tx) == [TEXT]


@pytest.mark.promise("ACC-1")
def test_a_claim_that_waits_for_a_permit_moves_nothing() -> None:
    with memory() as tx:
        want = Want("acme", "m", "permit", 1)
        steps.claim_model(tx, OTHER.turn("x").step(0), [], wants=[want], lease=10)
        reference = put(tx, "e1")
        waiting = steps.claim_model(tx, SESSION.turn("e1").step(0), opening("e1", reference), wants=[want], lease=10)
        assert waiting.status == "waiting"
        assert list(contents.kept(tx, SESSION)) == ["e1"]


@pytest.mark.promise("ACC-2")
def test_what_the_journal_has_said_or_ended_is_not_kept_again() -> None:
    with memory() as tx:
        claim(tx, "e1", put(tx, "e1"))
        assert put(tx, "e1")["gen"] == 0
        put(tx, "e2")
        decide(tx, "event.cancelled", "e2", "cancelled")
        assert put(tx, "e2")["gen"] == 0
        assert contents.kept(tx, SESSION) == {}


@pytest.mark.parametrize("disposition", ["expired", "cancelled"])
def test_an_end_without_a_turn_takes_the_content_along(disposition: str) -> None:
    with memory() as tx:
        put(tx, "e1")
        decide(tx, f"event.{disposition}", "e1", disposition)
        assert contents.kept(tx, SESSION) == {}


@pytest.mark.promise("SUR-3", "ORD-8")
def test_a_parked_events_entry_holds_what_it_said_and_its_chain_is_true() -> None:
    with memory() as tx:
        reference = put(tx, "e1", {"content": TEXT, "metadata": {"a": 1}})
        decide(tx, "event.parked", "e1", "parked", error="late", event=event("e1", reference))
        assert last(tx).body["event"] == {
            "event_id": "e1",
            "source": "slack",
            "content": TEXT,
            "metadata": {"a": 1},
        }
        assert contents.kept(tx, SESSION) == {}
        assert log.verify(tx, SESSION) == []
        decide(tx, "event.parked", "e1", "parked", error="late", event=event("e1", reference))  # a second attempt
        assert log.head(tx, SESSION) == 1


@pytest.mark.promise("SUR-3", "ORD-10")
def test_a_parked_hosts_entry_holds_what_joined_it_and_was_not_said_yet() -> None:
    with memory() as tx:
        host, early, late = put(tx, "e1"), put(tx, "e2", {"content": "two"}), put(tx, "e3", {"content": "three"})
        claim(tx, "e1", host, e2=early)
        joined = [event("e2", early), event("e3", late)]
        decide(tx, "event.parked", "e1", "parked", error="400", event=event("e1", host), joined=joined)
        body = last(tx).body
        assert "event" not in body, "its message holds it"
        assert [(e["event_id"], e["content"]) for e in body["joined"]] == [("e3", "three")]
        assert contents.kept(tx, SESSION) == {}


@pytest.mark.promise("ORD-10")
def test_a_merged_events_content_goes_only_once_its_hosts_turn_has_said_it() -> None:
    with memory() as tx:
        said_, unsaid = put(tx, "e2"), put(tx, "e3")
        claim(tx, "e1", put(tx, "e1"), e2=said_)
        with log.locked(tx, SESSION) as journal:  # put while its turn runs: its own id has no message
            contents.put(journal, "e2", json.dumps(SAID).encode())
        decide(tx, "event.merged", "e2", "merged", into="e1")
        decide(tx, "event.merged", "e3", "merged", into="e1")
        assert list(contents.kept(tx, SESSION)) == ["e3"]
        assert unsaid["gen"]


@pytest.mark.promise("ACC-1")
def test_lost_is_only_what_has_neither_row_nor_entry_and_it_writes_nothing() -> None:
    with memory() as tx:
        reference = put(tx, "e1")
        tx.execute("DELETE FROM contents")
        answered = claim(tx, "e1", reference)
        assert (answered.status, answered.missing, log.head(tx, SESSION)) == ("missing", "lost", 0)


@pytest.mark.promise("SUR-16")
def test_what_was_put_into_another_journal_is_not_lost() -> None:
    with memory() as theirs, memory() as ours:
        answered = claim(ours, "e1", put(theirs, "e1"))
        assert (answered.status, answered.missing) == ("missing", "elsewhere")


@pytest.mark.promise("SUR-15")
def test_a_false_size_is_found_where_the_content_is() -> None:
    with memory() as tx:
        reference = put(tx, "e1") | {"size": 10}
        assert claim(tx, "e1", reference).missing == "false"
        assert list(contents.kept(tx, SESSION)) == ["e1"]


@pytest.mark.promise("ORD-10", "SUR-15")
def test_what_joins_with_a_false_size_or_without_a_content_is_no_part_of_the_turn() -> None:
    with memory() as tx:
        false = put(tx, "e2") | {"size": 10}
        lost = put(tx, "e3")
        tx.execute("DELETE FROM contents WHERE event_id = 'e3'")
        answered = claim(tx, "e1", put(tx, "e1"), e2=false, e3=lost, e4=put(tx, "e4", {"content": "four"}))
        assert (answered.status, answered.apart) == ("claimed", ("e2", "e3"))
        assert said(tx) == [TEXT, "four"]
        assert list(contents.kept(tx, SESSION)) == ["e2"]


@pytest.mark.promise("ACC-1")
def test_after_a_terminated_run_an_event_says_what_the_entries_have() -> None:
    with memory() as tx:
        reference, joined = put(tx, "e1"), put(tx, "e_2", {"content": "two"})
        claim(tx, "e1", reference, e_2=joined)
        # Sent again in a new chain: the one that had joined is a host now, the host joins.
        turned = claim(tx, "e_2", joined, e1=reference)
        assert turned.status == "claimed"
        assert said(tx) == [TEXT, "two", "two", TEXT]


@pytest.mark.promise("SUR-3", "ACC-1")
def test_what_was_lost_is_parked_as_lost_and_the_same_content_put_again_makes_it_redrivable() -> None:
    with memory() as tx:
        reference = put(tx, "e1")
        tx.execute("DELETE FROM contents")
        decide(tx, "event.parked", "e1", "parked", error="lost", event=event("e1", reference))
        assert (last(tx).body["type"], last(tx).body["lost"]) == (names.CONTENT_LOST, ["e1"])
        assert put(tx, "e1", {"content": "another"})["gen"] == 0, "another content is not what was lost"
        again = put(tx, "e1")
        assert again["gen"] > 0
        assert claim(tx, "e1~1", reference).status == "claimed"
        assert said(tx) == [TEXT]


@pytest.mark.promise("ACC-7")
def test_an_event_whose_id_was_parked_as_no_event_is_kept_and_driven() -> None:
    with memory() as tx:
        decide(tx, "event.parked", "e1", "parked", error="no event", attempts=0)
        reference = put(tx, "e1")
        assert reference["gen"] > 0
        assert claim(tx, "e1~1", reference).status == "claimed"
        assert said(tx) == [TEXT]


@pytest.mark.promise("SUR-3")
def test_what_a_turn_said_before_it_was_parked_is_not_kept_again() -> None:
    with memory() as tx:
        decide(tx, "event.parked", "e1", "parked", error="no event", attempts=0)
        claim(tx, "e1~1", put(tx, "e1"))
        body = {"turn": "e1~1", "error": "400"}
        entry = NewEntry("event.parked", body, event_id="e1", key="e1~1/parked")
        decisions.record(tx, SESSION, [Recorded(entry, Outcome("e1", "e1~1", "parked"))], [], close=False)
        assert put(tx, "e1")["gen"] == 0


@pytest.mark.promise("ACC-2")
def test_what_is_parked_with_its_content_is_not_kept_again() -> None:
    with memory() as tx:
        reference = put(tx, "e1")
        decide(tx, "event.parked", "e1", "parked", error="late", event=event("e1", reference))
        assert put(tx, "e1")["gen"] == 0


@pytest.mark.promise("SUR-8")
def test_a_closed_session_keeps_nothing_more() -> None:
    with memory() as tx:
        decisions.record(tx, SESSION, [], [], close=True)
        assert put(tx, "e1")["gen"] == 0
        assert contents.kept(tx, SESSION) == {}


class _Senders:
    """Senders, a session and its records in any order: what was accepted can be said until it was, or has ended."""

    def __init__(self, tx: SqliteTransaction, seed: int) -> None:
        self.tx, self.chance = tx, random.Random(seed)
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.accepted: dict[str, tuple[str, dict[str, Any]]] = {}
        self.rejected: list[tuple[str, dict[str, Any]]] = []
        self.ended: set[str] = set()
        self.number = 0

    def step(self) -> None:
        self.tx.now += self.chance.choice((0.0, 0.000001, 1.0))
        self.chance.choice((self.put, self.put, self.arrive, self.arrive, self.record, self.run, self.expire))()

    def put(self) -> None:
        event_id, text = f"e{self.chance.randrange(4)}", self.chance.choice("ab") * 5_000
        self.sent.append((event_id, text, put(self.tx, event_id, {"content": text})))

    def arrive(self) -> None:
        """One of the signals, in any order, is accepted or finds no room; each is delivered once."""
        if self.sent:
            event_id, text, reference = self.sent.pop(self.chance.randrange(len(self.sent)))
            if event_id in self.accepted or event_id in self.ended:
                return
            if self.chance.random() < 0.5:
                self.rejected.append((event_id, reference))
            else:
                self.accepted[event_id] = (text, reference)

    def record(self) -> None:
        """A rejection is recorded, late, some of them twice."""
        if self.rejected:
            event_id, reference = self.chance.choice(self.rejected)
            self.number += 1
            decide(self.tx, "event.rejected", event_id, None, claim=reference, n=self.number)

    def run(self) -> None:
        if self.accepted:
            event_id = self.chance.choice(sorted(self.accepted))
            text, reference = self.accepted.pop(event_id)
            for _ in range(self.chance.choice((1, 2))):  # its first attempt dies
                claimed = claim(self.tx, event_id, reference)
                assert claimed.status == "claimed", (event_id, claimed)
            assert last(self.tx, "user.message").body["content"] == text
            step = SESSION.turn(event_id).step(0)
            steps.finish(self.tx, step, claimed.token, {"stop": "end_turn"}, answer(event_id), applied(event_id))
            self.ended.add(event_id)

    def expire(self) -> None:
        if self.accepted and self.chance.random() < 0.2:
            event_id = self.chance.choice(sorted(self.accepted))
            del self.accepted[event_id]
            decide(self.tx, "event.expired", event_id, "expired")
            self.ended.add(event_id)


@pytest.mark.promise("ACC-1", "SUR-15")
@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_to_others_what_was_accepted_can_be_said(seed: int) -> None:
    with memory() as tx:
        senders = _Senders(tx, seed)
        for _ in range(60):
            senders.step()
        while senders.accepted:
            senders.run()
        assert log.verify(tx, SESSION) == []
        assert not set(contents.kept(tx, SESSION)) & senders.ended


@pytest.mark.promise("ACC-1", "ORD-8")
async def test_two_connections_put_and_claim_at_once_and_nothing_is_lost(tmp_path: Any) -> None:
    url = journal_url(tmp_path)
    client, worker = open_journal(url), open_journal(url)
    await client.open()
    await worker.open()
    try:
        for number in range(20):
            await _raced(client, worker, f"e{number}")
        assert await worker.verify(SESSION) == []
    finally:
        await client.close()
        await worker.close()


async def _raced(client: Journal, worker: Journal, event_id: str) -> None:
    reference = await client.put_content(SESSION, event_id, SAID)
    step = SESSION.turn(event_id).step(0)
    begin = opening(event_id, reference)
    claimed, again, *claims = await asyncio.gather(
        worker.claim_model(step, begin),
        client.put_content(SESSION, event_id, SAID),
        client.put_content(SESSION, event_id, {"content": "another"}),
        worker.claim_model(step, begin),
    )
    assert claimed.status == "claimed"
    assert again["hash"] == reference["hash"]
    entries = await worker.read(SESSION, event_id=event_id, types=("user.message",))
    assert [entry.body["content"] for entry in entries] == [TEXT]
    assert await client.contents(SESSION) == {}
    assert claims

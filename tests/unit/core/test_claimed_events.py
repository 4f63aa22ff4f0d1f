"""Large events in the inbox: it carries little of each, and bounds what it refers to."""

from __future__ import annotations

from typing import Any

import pytest

from inturn import names, sizes
from inturn.decoding import Undecodable, read_event
from inturn.events import ClaimedEvent, make_event, split
from inturn.policy import InboxPolicy
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import Arrival, ParkedEvent, Receipt, Refusal
from inturn_workflows.inbox.inbox import Inbox
from tests.support.claims import referring

POLICY = InboxPolicy()
NOW = 1_763_677_084.5
KIB = 1024
CLAIM = {"hash": "0" * 64, "size": 10_000, "gen": 1, "journal": "j"}


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(dedup=DedupWindow(salt="salt"))


def send(inbox: Inbox, event_id: str, size: int, *, turn: str | None = None, **fields: Any) -> Receipt | Refusal:
    sent = referring(event_id, size, **fields)
    return inbox.check(sent, NOW, POLICY, busy=False) or inbox.admit(sent, NOW, POLICY, turn=turn).receipt


@pytest.mark.promise("SUR-15")
@pytest.mark.parametrize(
    "fields",
    [
        {"content": "x" * 250_000},
        {"content": "\x01" * 40_000},
        {"content": "hi", "metadata": {"a": "x" * 16_000}},
        {"content": "hi", "newer": "x" * 16_000, "metadata": {"a": "\x01" * 2_700}},
        {"content": [{"type": "text", "text": "x" * 200_000}], "sender": "\x01" * 256},
    ],
)
def test_of_a_large_event_hardly_anything_travels(fields: dict[str, Any]) -> None:
    ids: dict[str, Any] = {"event_id": "e" * 128, "source": "s" * 128, "agent": "a" * 128, "trace": "\x01" * 128}
    event = make_event(**fields, **ids, sequence=2**62, sent_at=NOW, when_busy="interrupt", expires_after=1e9)
    travels, kept = split(event)
    came = read_event(travels | {"claim": CLAIM})
    assert isinstance(came, ClaimedEvent)
    assert sizes.written(came.wire()) <= 2 * KIB + 256
    assert not {"content", "newer"} & travels.keys()
    assert travels | kept == event.wire() | {"preview": event.preview}


@pytest.mark.promise("SUR-15")
def test_a_small_sender_and_an_address_to_answer_to_travel_with_it() -> None:
    metadata = {"channel": "C1", "thread": "1763677084.5"}
    travels, kept = split(make_event(event_id="e1", content="x" * 9_000, sender="Ann", metadata=metadata))
    assert (travels["sender"], travels["metadata"], list(kept)) == ("Ann", metadata, ["content"])


@pytest.mark.promise("ACC-1")
def test_the_same_event_sent_again_by_another_process_keeps_the_same() -> None:
    fields: dict[str, Any] = {"event_id": "e1", "content": "x" * 9_000, "metadata": {"a": "b" * 300}}
    first = split(make_event(**fields, trace="00-1-1-01"))
    again = split(make_event(**fields, trace="00-2-2-01", source="other"))
    assert first[1] == again[1]


@pytest.mark.promise("ACC-7", "SEC-5")
@pytest.mark.parametrize(
    "changed",
    [
        {"claim": None},
        {"claim": CLAIM | {"hash": "x"}},
        {"claim": CLAIM | {"size": 0}},
        {"claim": CLAIM | {"size": 10**9}},
        {"claim": CLAIM | {"gen": -1}},
        {"claim": {**CLAIM, "journal": "a/b"}},
        {"claim": {"hash": "0" * 64}},
        {"event_id": None},
        {"preview": "x" * 81},
        {"metadata": {"a": "x" * 5_000}},
        {"newer": "x" * 5_000},
    ],
)
def test_what_names_a_content_in_another_way_is_no_event(changed: dict[str, Any]) -> None:
    with pytest.raises(Undecodable, match="invalid event"):
        read_event({"event_id": "e1", "claim": CLAIM, **changed})


@pytest.mark.promise("SUR-15", "ACC-5")
def test_the_inbox_bounds_what_it_carries_and_what_it_refers_to_apart(inbox: Inbox) -> None:
    taken = [send(inbox, f"e{n}", 250 * KIB) for n in range(300)]
    refused = [refusal for refusal in taken if isinstance(refusal, Refusal)]
    assert len(taken) - len(refused) == 64 * KIB // 250
    assert refused[0].type == names.BACKPRESSURE
    assert inbox.queue.bytes < 100 * KIB
    assert inbox.queue.referred <= POLICY.content_bytes
    assert isinstance(send(inbox, "more", 250 * KIB), Refusal)
    small = Arrival.of(make_event(event_id="inline", content="hi"))
    assert inbox.check(small, NOW, POLICY, busy=False) is None, "what it says travels with it"


@pytest.mark.promise("SUR-15")
def test_what_is_taken_or_cancelled_makes_room_again_also_in_another_run(inbox: Inbox) -> None:
    for number in range(4):
        send(inbox, f"e{number}", 100 * KIB)
    inbox = Inbox.model_validate_json(inbox.model_dump_json())
    inbox.take(NOW, POLICY)
    inbox.cancel("e2", NOW, None, POLICY)
    assert inbox.queue.referred == 200 * KIB
    inbox.clear("cancelled", NOW, "over")
    assert inbox.queue.referred == 0


@pytest.mark.promise("ORD-10", "SUR-15")
def test_merging_counts_what_is_referred_to(inbox: Inbox) -> None:
    for number in range(6):
        send(inbox, f"e{number}", 100 * KIB, when_busy="merge")
    assert [len(inbox.take(NOW, POLICY)) for _ in range(3)] == [2, 2, 2]


@pytest.mark.promise("SUR-15")
def test_steering_counts_what_is_referred_to(inbox: Inbox) -> None:
    for number in range(6):
        send(inbox, f"e{number}", 100 * KIB, when_busy="steer", turn="host")
    assert [len(inbox.steer("host", NOW, POLICY)) for _ in range(3)] == [2, 2, 2]


@pytest.mark.promise("ACC-1")
def test_a_rejected_one_says_which_content_is_no_longer_needed(inbox: Inbox) -> None:
    sent = referring("e1", 9_000)
    inbox.reject(sent.event, Refusal(names.BACKPRESSURE, "full"), NOW)
    assert send(inbox, "e2", 9_000)
    inbox.clear("rejected", NOW, "closed")
    claims = [decision.body["claim"] for decision in inbox.books.drain_decisions(NOW)]
    assert [claim["gen"] for claim in claims] == [1, 1]


@pytest.mark.promise("SUR-3", "ACC-1")
@pytest.mark.parametrize("way", ["claim", "inline"])
def test_a_lost_event_that_is_sent_again_is_driven_again(inbox: Inbox, way: str) -> None:
    send(inbox, "e1", 9_000)
    inbox.take(NOW, POLICY)
    inbox.endings.park(ParkedEvent(turn="e1", n=1, error="content_lost", at=NOW, lost=True))
    whole = Arrival.of(make_event(event_id="e1", content="hi", sequence=7, when_busy="steer", expires_after=1))
    inbox.admit(referring("e1", 9_000) if way == "claim" else whole, NOW, POLICY)
    [queued] = inbox.take(NOW + 100, POLICY)
    assert queued.turn == "e1~1"
    assert queued.event == ({} if way == "claim" else {"event_id": "e1", "content": "hi"})
    assert inbox.balance(running=1) == {"accepted": 1, "running": 1}


@pytest.mark.promise("ACC-2")
def test_a_lost_event_that_comes_again_without_its_content_stays_a_duplicate(inbox: Inbox) -> None:
    send(inbox, "e1", 9_000)
    inbox.take(NOW, POLICY)
    inbox.endings.park(ParkedEvent(turn="e1", n=1, error="content_lost", at=NOW, lost=True))
    nothing = referring("e1", 9_000, claim=CLAIM | {"gen": 0})
    assert inbox.admit(nothing, NOW, POLICY).receipt == Receipt("e1", "duplicate", disposition="parked")

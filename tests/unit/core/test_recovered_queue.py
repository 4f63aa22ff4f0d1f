"""The queue of a session that began anew: what an earlier run had accepted, before what came since."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from inturn import sizes
from inturn.decoding import decode
from inturn.events import Event
from inturn.policy import InboxPolicy
from inturn_workflows.controls import Control, Controls
from inturn_workflows.inbox import recovered
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import Arrival, ParkedEvent, Queued
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionState

pytestmark = pytest.mark.promise("SUR-11", "ORD-1", "ORD-3")
POLICY = InboxPolicy()


def _arrival(event_id: str, **fields: Any) -> Arrival:
    return Arrival.of(Event(event_id=event_id, content="hi", **fields))


def _begun(first: dict[str, Any], *since: dict[str, Any]) -> tuple[Inbox, Queued]:
    """Return an inbox whose first turn was taken, and its event."""
    inbox = Inbox(dedup=DedupWindow(salt="s"))
    for fields in (first, *since):
        inbox.admit(_arrival(**fields), 1.0, POLICY)
    inbox.release(100.0, POLICY)
    return inbox, inbox.take(100.0, POLICY)[0]


def _again(inbox: Inbox, first: Queued, policy: InboxPolicy, *before: dict[str, Any]) -> list[str]:
    for fields in before:
        recovered.admit(inbox, _arrival(**fields), 2.0)
    recovered.put_back(inbox, first, policy)
    assert inbox.balance(running=0)["accepted"] == len(inbox.queue) + len(inbox.sequencer.held)
    return [queued.event_id for queued in inbox.queue.events]


def test_what_is_to_merge_joins_its_own_sources_turn_alone() -> None:
    inbox, first = _begun({"event_id": "first"}, {"event_id": "n", "source": "a", "when_busy": "merge"})
    before = [{"event_id": "x"}, *({"event_id": f"m{n}", "source": "a", "when_busy": "merge"} for n in range(2))]
    assert _again(inbox, first, POLICY, *before) == ["x", "m0", "m1", "first", "n"]
    turns = [[queued.event_id for queued in inbox.take(200.0, POLICY)] for _ in range(4)]
    assert turns == [["x"], ["m0", "m1"], ["first"], ["n"]]


@pytest.mark.parametrize("sequencing", ["dense", "sparse"])
def test_a_sources_numbers_take_their_places_in_order(sequencing: Any) -> None:
    inbox, first = _begun({"event_id": "a5", "source": "a", "sequence": 5})
    before = [{"event_id": f"a{n}", "source": "a", "sequence": n} for n in (4, 2, 3)]
    policy = POLICY.model_copy(update={"sequencing": sequencing})
    assert _again(inbox, first, policy, *before) == ["a2", "a3", "a4", "a5"]
    late = inbox.admit(_arrival("late", source="a", sequence=1), 3.0, policy)
    assert late.receipt.disposition == "parked"
    assert inbox.admit(_arrival("a6", source="a", sequence=6), 3.0, policy).receipt.disposition is None


def test_what_is_missing_between_the_runs_is_waited_for() -> None:
    inbox, first = _begun({"event_id": "a6", "source": "a", "sequence": 6})
    before = [{"event_id": f"a{n}", "source": "a", "sequence": n} for n in (4, 2, 3, 7)]
    assert _again(inbox, first, POLICY, *before) == ["a2", "a3", "a4"]
    assert [queued.event_id for queued in inbox.sequencer.held] == ["a6", "a7"]
    inbox.admit(_arrival("a5", source="a", sequence=5), 3.0, POLICY)
    assert [queued.event_id for queued in inbox.queue.events] == ["a2", "a3", "a4", "a5", "a6", "a7"]


def test_what_comes_again_has_room_of_its_own_and_no_more() -> None:
    inbox, _ = _begun({"event_id": "first"})
    policy = POLICY.model_copy(update={"capacity": 2})
    taken = 0
    for n in range(recovered.MAX_AGAIN + 5):
        arrival = _arrival(f"e{n}")
        refusal = inbox.check(arrival, 2.0, policy, busy=True)
        if recovered.admits(inbox, arrival, refusal):
            recovered.admit(inbox, arrival, 2.0)
            taken += 1
    assert 1_500 < taken <= recovered.MAX_AGAIN
    assert inbox.queue.bytes < 600_000


def test_anybody_may_say_when_an_event_was_accepted() -> None:
    said = (True, 3.5, 7, 10**400, 1e308, 0, -1, False, None, "3", [3])
    assert [recovered.accepted_at(again, 9.0) for again in said] == [9.0, 3.5, 7.0, 9.0, 9.0, *[None] * 6]


@pytest.mark.promise("SUR-15")
@pytest.mark.parametrize(
    ("event_id", "said"),
    [("e1", b'{"turn": "e1", "at": 1e999}'), ("", b'{"turn": "~1"}'), ("", b'{"turn": ""}'), ("e1", b'{"turn": "e2"}')],
    ids=["parked at no time", "of no event", "of nothing", "of another event"],
)
def test_what_is_said_to_be_parked_and_could_not_be_carried_to_the_next_run_is_not_taken_up(
    event_id: str, said: bytes
) -> None:
    inbox = Inbox(dedup=DedupWindow(salt="s"))
    fields = decode([RawValue(Payload(metadata={"encoding": b"json/plain"}, data=said))], sizes.READ_CONTROL)
    assert not recovered.park(inbox, event_id, ParkedEvent.model_validate(fields))
    assert inbox.books.accepted == 0
    assert recovered.park(inbox, "e1", ParkedEvent(turn="e1~2", at=3.0))
    assert Inbox.model_validate_json(inbox.model_dump_json()).parked.holds("e1")


def test_a_redrive_that_is_refused_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, _ = _begun({"event_id": "first"}, {"event_id": "n1"}, {"event_id": "n2"})
    unused: Any = None
    monkeypatch.setattr(workflow, "time", lambda: 3.0)
    controls = Controls(SessionState(inbox=inbox, chain="abc"), *[unused] * 6)
    with pytest.raises(ApplicationError, match="is not parked here"):
        controls.updated(Control(control_id="c1", op="redrive", event_id="n2"))
    assert [queued.event_id for queued in inbox.queue.events if queued.again] == []

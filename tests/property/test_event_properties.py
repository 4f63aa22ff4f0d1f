"""Whatever comes in is an event that the inbox can carry, or is refused with the rule it broke."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from inturn.events import Event, explain
from inturn.policy import InboxPolicy
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionInput, SessionState
from tests.support.arrivals import arrival

hostile_ids = st.sampled_from(["", "a b", "a/b", "a~1", "x" * 129, "abc\n", "é", "\x00", "../.."])
scalars = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | st.text(max_size=20) | hostile_ids
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
blocks = st.lists(st.fixed_dictionaries({"type": st.sampled_from(["text", "image", "x"])}, optional={"text": values}))
almost_events = st.fixed_dictionaries(
    {"content": st.text(max_size=50) | blocks | values},
    optional={
        "event_id": st.from_regex(r"[a-z]{1,5}", fullmatch=True) | values,
        "source": values,
        "sequence": values,
        "sender": values,
        "sent_at": st.floats() | values,
        "when_busy": st.sampled_from(["queue", "reject", "interrupt"]) | values,
        "expires_after": st.floats() | values,
        "metadata": st.dictionaries(st.text(max_size=5), values, max_size=3) | values,
        "agent": values,
        "trace": values,
        "of_tomorrow": values,
    },
)


def decoded(given: object) -> Event | None:
    try:
        return Event.model_validate(given)
    except ValidationError as error:
        why = explain(error)
    assert why
    return None


@pytest.mark.promise("ACC-7")
@settings(max_examples=150)
@given(given=almost_events | values)
@example(given={"content": "x", "event_id": "ok\n"})
@example(given={"content": [{"type": ["text"]}]})
@example(given={"content": [{"type": "text", "text": "\ud800"}]})
def test_anything_is_an_event_that_the_inbox_can_carry_or_a_validation_error(given: object) -> None:
    sent = decoded(given)
    if sent is None:
        return
    state = SessionState(inbox=Inbox(dedup=DedupWindow(salt="salt")))
    arrived = Event.model_validate(from_json(to_json(sent.wire())))
    state.inbox.admit(arrival(state.inbox.identify(arrived, "chain"), 10), 1_763_677_084.5, InboxPolicy())
    assert len(arrived.preview) <= 80
    carried = from_json(SessionInput(state=state).model_dump_json())
    [queued] = SessionState.model_validate(carried["state"]).inbox.queue.events
    taken_up = Event.model_validate(queued.event)
    assert (taken_up.event_id, taken_up.preview) == (queued.turn, arrived.preview)


@pytest.mark.promise("ACC-7")
@given(data=st.binary(max_size=60) | st.text(max_size=30).map(lambda text: b'{"content": "' + text.encode() + b'"}'))
@example(data=b'{"content": "\\ud800"}')
@example(data=b'{"content": "x", "n": ' + b"9" * 5_000 + b"}")
@example(data=b'{"content": "x", "n": ' + b"[" * 100_000)
def test_any_bytes_are_an_event_or_a_value_error(data: bytes) -> None:
    why = "fine"
    try:
        Event.model_validate(from_json(data))
    except ValueError as error:
        why = explain(error)
    assert 0 < len(why) < 1_000

"""Events: whatever passes fits, whatever does not is refused with the rule it broke."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from inturn.errors import InvalidEvent
from inturn.events import (
    MAX_CONTENT_BYTES,
    MAX_METADATA_BYTES,
    PREVIEW_CHARACTERS,
    Event,
    derived_id,
    make_event,
    preview,
)

any_text = st.text(st.characters(exclude_categories=()), max_size=10)  # with halves of surrogate pairs
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
FIELDS = list(Event.model_fields)
hostile = st.dictionaries(st.sampled_from(FIELDS) | any_text, json_values, max_size=8)


@pytest.mark.promise("ACC-7")
@given(hostile)
def test_arbitrary_json_is_an_event_or_an_invalid_event_and_nothing_else(fields: dict[str, Any]) -> None:
    try:
        event = make_event(**fields)
    except InvalidEvent:
        return
    wire = event.wire()
    assert make_event(**json.loads(to_json(wire))).wire() == wire or "NaN" in json.dumps(wire)


@given(json_values)
def test_arbitrary_content_is_taken_or_refused(content: Any) -> None:
    try:
        event = make_event(content=content)
    except InvalidEvent:
        return
    assert len(event.preview) <= PREVIEW_CHARACTERS


def test_the_wire_leaves_out_what_says_nothing() -> None:
    assert make_event(content="hi", event_id="e1").wire() == {"content": "hi", "event_id": "e1"}


def test_fields_of_a_newer_peer_are_kept() -> None:
    event = make_event(content="hi", colour="blue")
    assert event.wire()["colour"] == "blue"


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({}, "content"),
        ({"content": ""}, "content is empty"),
        ({"content": []}, "content is empty"),
        ({"content": [{"type": "tool_use"}]}, "block's type"),
        ({"content": [{}]}, "block's type"),
        ({"content": "x", "event_id": "a/b"}, "event_id"),
        ({"content": "x", "event_id": ""}, "event_id"),
        ({"content": "x", "event_id": "e" * 129}, "event_id"),
        ({"content": "x", "event_id": "e\n"}, "event_id"),
        ({"content": "x", "source": "a b"}, "source"),
        ({"content": "x", "sequence": -1}, "sequence"),
        ({"content": "x", "sequence": 2**63}, "sequence"),
        ({"content": "x", "when_busy": "whenever"}, "when_busy"),
        ({"content": "x", "expires_after": 0}, "expires_after"),
        ({"content": "x", "expires_after": float("inf")}, "expires_after"),
        ({"content": "x", "sent_at": float("nan")}, "sent_at"),
        ({"content": "x", "sent_at": datetime(2026, 1, 1)}, "aware"),
        ({"content": "\ud800"}, "content"),
        ({"content": "x", "metadata": {"a": "\ud800"}}, "event"),
        ({"content": "x", "metadata": {"a": object()}}, "event"),
    ],
)
def test_the_message_names_the_rule_that_was_broken(fields: dict[str, Any], rule: str) -> None:
    with pytest.raises(InvalidEvent, match=rule):
        make_event(**fields)


def test_deep_nesting_is_refused_and_does_not_overflow() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(InvalidEvent):
        make_event(content="x", metadata={"deep": deep})


def test_content_is_bounded_in_bytes_as_json() -> None:
    make_event(content="x" * (MAX_CONTENT_BYTES - 2))
    with pytest.raises(InvalidEvent, match="262,145 bytes as JSON, the limit is 262,144"):
        make_event(content="x" * (MAX_CONTENT_BYTES - 1))
    with pytest.raises(InvalidEvent, match="limit"):
        make_event(content="\x01" * (MAX_CONTENT_BYTES // 6 + 1))  # six bytes each, escaped
    with pytest.raises(InvalidEvent, match="limit"):
        make_event(content=[{"type": "text", "text": "x" * MAX_CONTENT_BYTES}])


@pytest.mark.parametrize("field", ["metadata", "unknown"])
def test_what_travels_beside_the_content_is_bounded(field: str) -> None:
    with pytest.raises(InvalidEvent, match="limit"):
        make_event(content="x", **{field: {"k": "v" * MAX_METADATA_BYTES}})


def test_a_refusal_does_not_echo_the_input() -> None:
    with pytest.raises(InvalidEvent) as caught:
        make_event(content="x", event_id="secret secret", when_busy="secret")
    assert "secret" not in str(caught.value)


def test_an_aware_datetime_is_its_seconds() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert make_event(content="x", sent_at=at).sent_at == at.timestamp()


@pytest.mark.promise("ACC-3")
def test_with_sent_at_the_same_thing_twice_has_the_same_id() -> None:
    event = make_event(content="yes", source="slack", sender="u1", sent_at=5.0)
    again = make_event(content="yes", source="slack", sender="u1", sent_at=5.0)
    assert derived_id(event, 1) == derived_id(again, 2)


@pytest.mark.promise("ACC-3")
def test_without_sent_at_two_equal_messages_are_two() -> None:
    event = make_event(content="yes")
    assert derived_id(event, 1) != derived_id(event, 2)
    assert derived_id(event, 1) == derived_id(event, 1)


@pytest.mark.promise("ACC-3")
@pytest.mark.parametrize(
    "other", [{"source": "b"}, {"sender": "b"}, {"content": "b"}, {"sent_at": 6.0}, {"content": [{"type": "text"}]}]
)
def test_a_derived_id_depends_on_all_that_tells_events_apart(other: dict[str, Any]) -> None:
    base = {"content": "a", "source": "a", "sender": "a", "sent_at": 5.0}
    assert derived_id(make_event(**base), 0) != derived_id(make_event(**{**base, **other}), 0)


@given(st.text(min_size=1), st.none() | st.text(max_size=256), st.none() | st.floats(0, 1e10), st.integers(0, 10**6))
def test_a_derived_id_is_an_id(content: str, sender: str | None, sent_at: float | None, counter: int) -> None:
    event = make_event(content=content, sender=sender, sent_at=sent_at)
    assert make_event(content="x", event_id=derived_id(event, counter)).event_id


def test_a_preview_is_one_bounded_line() -> None:
    assert preview("a\n  b") == "a b"
    assert len(preview("x" * 500)) == PREVIEW_CHARACTERS
    assert preview([{"type": "text", "text": "see"}, {"type": "image"}]) == "see [image]"

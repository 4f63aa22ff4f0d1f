"""Whatever bytes come in are refused for a reason that fits on a line, and at the price of looking at them once."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from inturn import sizes
from inturn.decoding import Undecodable, decode, named_id, read_event
from inturn.errors import InvalidEvent
from inturn.events import make_event
from inturn_workflows.controls import Control, read_control

pytestmark = pytest.mark.promise("ACC-7", "SEC-5", "SUR-15")
MIB = 1024 * 1024
T = TypeVar("T")
WHOLE = 2_000_000
"""About what one signal may carry."""


def message(data: bytes, encoding: bytes = b"json/plain") -> list[RawValue]:
    return [RawValue(Payload(data=data, metadata={"encoding": encoding}))]


def filled(start: bytes, item: bytes, end: bytes, size: int) -> bytes:
    return start + item * ((size - len(start) - len(end)) // len(item)) + end


def refused(args: list[RawValue]) -> str:
    with pytest.raises(Undecodable) as error:
        read_event(decode(args, sizes.READ_EVENT))
    return str(error.value)


def timed(run: Callable[[], T]) -> tuple[float, T]:
    before = time.process_time()
    result = run()
    return time.process_time() - before, result


def _read(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        from_json(data)


FULL = [
    (b'{"event_id":"e1","content":[', b"1,", b"1]}"),
    (b'{"event_id":"e1","content":[', b"{},", b"{}]}"),
    (b'{"event_id":"e1","content":[', b"[],", b"1]}"),
    (b'{"event_id":"e1","content":[', b'{"type":"text"},', b"{}]}"),
    (b'{"event_id":"e1","content":[', b'{"type":1},', b"{}]}"),
    (b'{"event_id":"e1","content":', b"[", b"}"),
    (b'{"event_id":"e1","content":{', b'"a":1,', b'"a":1}}'),
    (b'{"event_id":"e1","content":"', b"\\u0001", b'"}'),
    (b'{"event_id":"e1","content":"', b"x", b'"}'),
    (b'{"event_id":"e1","content":"x","metadata":{"a":[', b"1,", b"1]}}"),
    (b'{"event_id":"e1","content":"x","other":"', b"x", b'"}'),
    (b'{"content":"x","event_id":"', b"x", b'"}'),
    (b'{"wait":true,"event_id":"', b"x", b'"}'),
]


@pytest.mark.parametrize("size", [MIB, WHOLE])
@pytest.mark.parametrize("parts", FULL, ids=[f"{start[:40]!r}{item!r}" for start, item, _ in FULL])
def test_a_full_message_of_nonsense_costs_little_and_is_refused_in_a_line(
    parts: tuple[bytes, bytes, bytes], size: int
) -> None:
    args = message(filled(*parts, size=size))
    took, told = timed(lambda: refused(args))
    reading, _ = timed(lambda: _read(args[0].payload.data))
    assert sizes.written(told) <= sizes.ERROR + 2
    assert took < 0.5 + 20 * reading, "two megabytes of numbers took seven seconds when each was explained"
    tracemalloc.start()
    refused(args)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * size, "it had been 430"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"content":"x","metadata":{"a":NaN}}', "not readable as JSON"),
        (b'{"content":"x","metadata":{"a":-Infinity}}', "not readable as JSON"),
        (b'{"content":"x","metadata":{"a":' + b"9" * 5_000 + b"}}", "not readable as JSON"),
        (b'{"content":"\\ud800"}', "not readable as JSON"),
        (b'{"content":"x","metadata":{"\\udfff":1}}', "not readable as JSON"),
        (b'{"content":"x"' + b"," * 10, "not readable as JSON"),
        (b'{"content":"\xff\xfe"}', "not readable as JSON"),
        (b"\x00" * 100, "not readable as JSON"),
        (b"", "not readable as JSON"),
        (b"[]", "expected a JSON object, got list"),
        (b'{"content":"x","sent_at":1e308}', "seconds since 1970"),
        (b'{"content":"x","sent_at":1763677084123}', "milliseconds?"),
        (b'{"content":"x","sent_at":' + b"9" * 400 + b"}", "seconds since 1970"),
        (b'{"content":"x","sent_at":"1e308"}', "sent_at"),
        (b'{"content":"x","sequence":' + b"9" * 4_000 + b"}", "sequence"),
        (b'{"content":"x","sequence":9223372036854775808}', "sequence"),
        (b'{"content":"x","expires_after":1e999}', "expires_after"),
        (b'{"content":"x","metadata":{"a":[1e999]}}', "a number is infinite"),
        (b'{"content":[{"type":"text","text":"x","n":-1e999}]}', "a number is infinite"),
        (b'{"content":"x","other":1e999}', "a number is infinite"),
        (b'{"content":"x","source":"' + b"s" * 129 + b'"}', "source"),
        (b'{"content":"x","event_id":"a b"}', "event_id"),
        (b'{"content":"x","event_id":"e1\\n"}', "event_id"),
    ],
)
def test_what_no_event_may_say_is_refused_with_its_reason(data: bytes, told: str) -> None:
    assert told in refused(message(data))


@pytest.mark.parametrize(
    "encoding", [b"", b"binary/null", b"binary/plain", b"binary/protobuf", b"json/protobuf", b"x" * WHOLE]
)
def test_only_json_is_read(encoding: bytes) -> None:
    told = refused(message(b'{"content": "x"}', encoding))
    assert "expected JSON, got the encoding" in told
    assert len(told) < 100


def test_a_key_that_comes_twice_is_read_as_json_readers_do() -> None:
    assert read_event(decode(message(b'{"content":"x","content":"y"}'), MIB)).wire() == {"content": "y"}


@given(st.binary(max_size=300), st.sampled_from([b"json/plain", b"binary/plain", b""]))
def test_any_bytes_are_read_or_undecodable(data: bytes, encoding: bytes) -> None:
    args = message(data, encoding)
    try:
        assert isinstance(decode(args, sizes.READ_EVENT), dict)
    except Undecodable:
        assert named_id(args) is None


def test_what_is_no_event_is_known_by_the_id_it_names() -> None:
    assert named_id(message(b'{"event_id":"e1"}')) == "e1"
    assert named_id(message(b'{"event_id":"e 1"}')) is None
    assert named_id(message(b'{"event_id":["e1"]}')) is None
    with pytest.raises(Undecodable) as invalid:
        read_event({"event_id": "e1", "content": ""})
    assert invalid.value.event_id == "e1"


CONTROL: dict[str, Any] = {"control_id": "c1", "op": "approve", "approval_id": "toolu_1:0123456789ab"}


def control(**fields: Any) -> Control:
    return read_control(message(to_json(CONTROL | fields)))


@pytest.mark.promise("SUR-6")
def test_every_text_of_a_control_is_bounded_in_bytes_as_written() -> None:
    allowed = {"by": "b" * 256, "reason": "r" * 512, "approval_id": "a" * 256, "event_id": "e" * 160}
    assert control(**allowed, control_id="c" * 128).by == "b" * 256
    for name, text in allowed.items():
        with pytest.raises(ApplicationError, match=name):
            control(**{name: text + "x"})
    for name in ("by", "reason"):
        with pytest.raises(ApplicationError, match="as JSON"):
            control(**{name: "\x01" * 200})
        with pytest.raises(ApplicationError, match="as JSON"):
            control(**{name: "界" * 200})
    for name in ("control_id", "event_id", "approval_id"):
        for text in ("", "a\x01", "a b", 'a"', "a\\", "ä", "a\n"):
            with pytest.raises(ApplicationError, match=name):
                control(**{name: text})


def test_what_a_control_says_beside_is_not_kept_and_a_large_one_is_not_read() -> None:
    assert not control(other="x" * 500).model_extra
    with pytest.raises(ApplicationError, match="the limit is"):
        control(other="x" * sizes.READ_CONTROL)
    with pytest.raises(ApplicationError, match="invalid control") as told:
        control(op="o" * 5_000)
    assert len(str(told.value)) < 600


@given(st.text(max_size=400), st.integers(min_value=0, max_value=300))
def test_a_clipped_text_is_its_start_in_so_many_bytes(text: str, most: int) -> None:
    text = text.encode("utf-8", "replace").decode()
    clipped = sizes.clip(text, most + 3)
    assert sizes.written(clipped) - 2 <= most + 3
    assert clipped == text or (clipped.endswith("…") and text.startswith(clipped[:-1]))


@pytest.mark.parametrize("value", [10**4_400, -(10**5_000), [10**9_000], {"n": {"n": [10**4_400]}}], ids=range(4))
def test_a_number_that_no_session_reads_is_refused_before_it_is_sent(value: object) -> None:
    with pytest.raises(InvalidEvent, match="thousands of digits"):
        make_event(event_id="e1", content="hi", metadata={"n": value})


@pytest.mark.parametrize("value", [10**4_200, -(10**4_200), 2**64, True], ids=range(4))
def test_a_number_that_passes_is_read_by_the_session(value: object) -> None:
    sent = make_event(event_id="e1", content="hi", metadata={"n": value})
    assert read_event(decode(message(to_json(sent.wire())), sizes.READ_EVENT)).metadata == {"n": value}

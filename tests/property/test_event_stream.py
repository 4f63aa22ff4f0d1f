"""Streams of events, cut anywhere: what comes out is what the specification says of the whole."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inturn_activities.model.claude_answer import Answer
from inturn_activities.model.event_stream import EventStream, TooLarge

ENDS: Final = st.sampled_from(["\n", "\r", "\r\n"])
VALUES: Final = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n") | st.sampled_from(": \u2028\x85\x0b\x0c\x1c\x00é😀"),
    max_size=12,
)
LINES: Final = st.one_of(
    st.just(""),
    st.builds(
        str.__add__, st.sampled_from(["data:", "data: ", "data:  ", "event: ", "id:", ":", "datas:", "retry: "]), VALUES
    ),
    st.sampled_from(["data", "data:", ":", "\ufeffdata: x", "event"]),
    VALUES,
)
STREAMS: Final = st.lists(st.tuples(LINES, ENDS), max_size=30).map(lambda lines: "".join(map("".join, lines)).encode())


def whole(stream: bytes) -> list[bytes]:
    """Read a stream as the specification has it, all at once."""
    *lines, _ = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))
    events, data = [], []
    for line in lines:
        if line.startswith((b"data:", b"data: ")) or line == b"data":
            value = line[5:]
            data.append(value[1:] if value.startswith(b" ") else value)
        elif not line:
            events.append(b"\n".join(data))
            data = []
    return [event for event in events if event]


def read(stream: bytes, cuts: list[int]) -> list[bytes]:
    """Read it in pieces that end at `cuts`."""
    events, at = EventStream(), [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [data for begin, end in itertools.pairwise(at) for data in events.take(stream[begin:end])]


@given(STREAMS, st.lists(st.integers(0, 400), max_size=20))
@example(b"data: a\r\ndata: b\r\n\r\n", [8, 8, 9])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
def test_where_a_stream_is_cut_changes_nothing(stream: bytes, cuts: list[int]) -> None:
    assert read(stream, cuts) == whole(stream)


@given(STREAMS)
def test_a_stream_may_come_byte_by_byte(stream: bytes) -> None:
    assert read(stream, list(range(len(stream)))) == whole(stream)


@given(STREAMS, st.integers(1, 40), st.integers(1, 40))
def test_what_is_too_large_is_so_however_it_comes(stream: bytes, most: int, size: int) -> None:
    def outcome(step: int) -> list[bytes]:
        events, seen = EventStream(most=most), []
        try:
            for at in range(0, len(stream), step):
                for data in events.take(stream[at : at + step]):
                    seen.append(data)  # what came before the error counts
        except TooLarge:
            seen.append(b"too large")
        return seen

    assert outcome(size) == outcome(len(stream) + 1)


@given(st.text(max_size=40), st.text(max_size=40), st.integers(1, 30))
def test_an_answer_is_the_same_however_its_bytes_come(thinking: str, text: str, size: int) -> None:
    pieces = [{"type": "text_delta", "text": piece} for piece in text]
    sent: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": thinking}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 1, "delta": piece} for piece in pieces),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    stream = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n: ping\n\n" for e in sent).encode()
    told: list[tuple[int, str, str]] = []
    answer, events = Answer(request_id="r", on_delta=lambda *piece: told.append(piece)), EventStream()
    for at in range(0, len(stream), size):
        for data in events.take(stream[at : at + size]):
            answer.take(data)
    message = answer.complete()
    assert message.content == [{"type": "thinking", "thinking": thinking}, {"type": "text", "text": text}]
    assert [piece for piece in told if piece[2]] == [
        *([(0, "thinking", thinking)] if thinking else []),
        *((1, "text", piece) for piece in text),
    ]


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    events = EventStream(most=1_000)
    assert [data for _ in range(10) for data in events.take(b"x" * 100)] == []
    with pytest.raises(TooLarge):
        list(events.take(b"x"))

"""The demo's check of words as they come is not blind."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from examples.demo.words import Words
from inturn import Client, Delta, Entry


@pytest.fixture
def words() -> Words:
    """Two answers that were seen live; the first was said twice, as its worker died."""
    seen = Words(Client())
    for attempt, text in ((1, "It is on"), (2, "It is on its way."), (4, "You are welcome.")):
        seen.take("s", _piece(attempt, 0, "start", ""))
        for index, word in enumerate(text.split(), start=1):
            seen.take("s", _piece(attempt, index, "text", f"{' ' if index > 1 else ''}{word}"))
        if attempt > 1:
            seen.take("s", _answer(attempt, text))
    return seen


def _piece(attempt: int, index: int, kind: str, text: str) -> Delta:
    return Delta.model_validate(
        {"event_id": "e", "step": "0", "attempt": attempt, "index": index, "kind": kind, "text": text}
    )


def _answer(attempt: int, text: str) -> Entry:
    at, body = datetime(2026, 1, 1, tzinfo=UTC), {"content": [{"type": "text", "text": text}], "attempt": attempt}
    return Entry(seq=attempt, type="agent.message", event_id="e", at=at, body=body, hash="", prev="")


def test_answers_that_were_recorded_as_they_were_said_pass(words: Words) -> None:
    check = words.check()
    assert check.ok
    assert check.found == "2 answers seen live in 11 pieces; 0 were recorded with other words"
    assert not words.now


def test_other_words_than_the_recorded_ones_fail(words: Words) -> None:
    words.recorded["s", 2] = "It is lost."
    assert not words.check().ok


def test_words_of_two_attempts_in_one_fail(words: Words) -> None:
    words.said["s", 2] = "It is onIt is on its way."
    assert not words.check().ok


def test_nothing_seen_fails() -> None:
    assert not Words(Client()).check().ok

"""The window knows the last 10,000 ids, across restores, in bounded space and time."""

from __future__ import annotations

import json
import time
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inturn_workflows.inbox.dedup import RECENT, SIZE, DedupWindow
from inturn_workflows.inbox.known import INTERRUPTED, UNANSWERED

pytestmark = pytest.mark.promise("ACC-2", "SUR-6")

LONGEST = max(INTERRUPTED, UNANSWERED, "cancelled", "discarded", key=len)
MOST = (SIZE // RECENT + 4) * RECENT - 1
"""Ids after which the window is as full as it ever gets: one more would settle the recent ones."""


def filled(ids: range, salt: str = "a-session's-salt") -> DedupWindow:
    window = DedupWindow(salt=salt)
    for number in ids:
        window.add(f"event-{number}", LONGEST)
    return window


def restored(window: DedupWindow) -> DedupWindow:
    return DedupWindow.model_validate(json.loads(window.model_dump_json()))


@pytest.fixture(scope="module")
def full() -> DedupWindow:
    return filled(range(MOST))


def test_the_last_ten_thousand_ids_are_known_and_older_ones_leave(full: DedupWindow) -> None:
    assert SIZE == 10_000
    assert all(f"event-{number}" in full for number in range(MOST - SIZE, MOST))
    assert not any(f"event-{number}" in full for number in range(MOST - SIZE - 2 * RECENT))
    assert len(full) < SIZE + 2 * RECENT


def test_no_id_of_the_last_ten_thousand_is_forgotten_while_the_window_rolls() -> None:
    window = filled(range(SIZE))
    for number in range(SIZE, SIZE + 3 * RECENT):
        assert f"event-{number - SIZE}" in window, "the oldest that must be known"
        window.add(f"event-{number}", LONGEST)


def test_a_full_window_survives_a_restore_whole_and_fits_120_kib(full: DedupWindow) -> None:
    assert len(full.recent) == 2 * RECENT - 1
    assert len(full.block) == SIZE * 8
    assert restored(full) == full
    assert DedupWindow.model_validate_json(full.model_dump_json()) == full
    most = len(full.model_dump_json().encode())
    assert most <= 121 * 1024, "all that are recent were interrupted"
    assert most - len(full.recent) * (len(LONGEST) - len("cancelled")) <= 120 * 1024


def test_an_id_unknown_to_a_full_window_is_not_taken_for_known(full: DedupWindow) -> None:
    assert not any(f"other-{number}" in full for number in range(500))


def test_a_hash_that_stands_across_two_others_does_not_count() -> None:
    window = DedupWindow(salt="s")
    digest = window._hash("wanted")
    window.block = b"\x01" * 3 + digest + b"\x01" * 5
    assert digest in window.block
    assert "wanted" not in window


@given(padding=st.integers(1, 7), copies=st.integers(1, 3))
def test_an_aligned_hash_counts_behind_misaligned_ones(padding: int, copies: int) -> None:
    window = DedupWindow(salt="s")
    digest = window._hash("wanted")
    misaligned = (b"\x01" * padding + digest + b"\x01" * (8 - padding)) * copies
    window.block = misaligned + digest
    assert "wanted" in window
    window.forget("wanted")
    assert window.block == misaligned


def test_hashes_are_keyed_by_the_sessions_salt() -> None:
    one, other = filled(range(300), salt="one"), filled(range(300), salt="other")
    assert not set(one.recent) & set(other.recent)
    stolen = other.model_copy(update={"salt": "one"})
    assert "event-1" in other
    assert "event-1" not in stolen


def test_the_standing_of_the_latest_ids_is_known_and_follows_the_event() -> None:
    window = filled(range(1_000))
    latest = f"event-{1_000 - RECENT}"
    assert window.disposition_of(latest) == LONGEST
    window.note(latest, "applied")
    assert restored(window).disposition_of(latest) == "applied"
    assert window.disposition_of("event-0") is None
    window.note("event-0", "applied")
    assert window.disposition_of("event-0") is None, "older ids are known without a standing"
    assert "event-0" in window


@pytest.mark.parametrize("age", ["recent", "settled"])
def test_a_forgotten_id_may_come_again_and_no_other_goes_with_it(age: str) -> None:
    window = filled(range(1_000))
    number = 999 if age == "recent" else 5
    window.forget(f"event-{number}")
    assert [n for n in range(1_000) if f"event-{n}" not in window] == [number]
    window.forget("never-seen")
    assert len(window) == 999


def test_a_newer_versions_fields_stay() -> None:
    window = DedupWindow.model_validate({"salt": "s", "of_tomorrow": [1]})
    assert json.loads(window.model_dump_json())["of_tomorrow"] == [1]


def test_a_look_up_in_a_full_window_costs_well_under_a_millisecond(full: DedupWindow) -> None:
    numbers = count()

    def best(prefix: str) -> float:
        def once() -> float:
            event_id = f"{prefix}-{next(numbers) % SIZE + 600}"
            begun = time.perf_counter()
            _ = event_id in full
            return time.perf_counter() - begun

        return min(once() for _ in range(200))

    assert best("event") < 0.001
    assert best("other") < 0.001

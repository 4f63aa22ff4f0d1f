"""What is shown of an answer as it comes."""

from __future__ import annotations

from typing import Any

import pytest

from inturn.client.preview import Preview
from inturn.journal.values import DeltaRow
from inturn.values import Delta
from tests.support.journal import entry

pytestmark = pytest.mark.promise("MOD-7")


def header(fence: int, event: str = "e1", step: str = "0") -> DeltaRow:
    return DeltaRow(fence, 0, {"event": event, "step": step})


def row(fence: int, index: int, *pieces: list[Any]) -> DeltaRow:
    return DeltaRow(fence, index, list(pieces) or [[0, "t", f"{fence}.{index} "]])


def shown(preview: Preview, *rows: DeltaRow) -> list[Delta]:
    return [delta for each in rows for delta in preview.shown(each)]


def texts(found: list[Delta]) -> list[str]:
    return [delta.text for delta in found]


def test_an_attempt_is_shown_from_its_header_on() -> None:
    found = shown(
        Preview("e1"), header(3), row(3, 1, [0, "k", "hm"], [1, "t", "Hi"]), row(3, 2, [2, "n", "add"], [2, "j", "{}"])
    )
    assert [(d.kind, d.block, d.text, d.index) for d in found] == [
        ("start", 0, "", 0),
        ("thinking", 0, "hm", 1),
        ("text", 1, "Hi", 2),
        ("input", 2, "add", 3),
        ("input", 2, "{}", 4),
    ]
    assert {(d.event_id, d.step, d.attempt) for d in found} == {("e1", "0", 3)}


def test_a_higher_attempt_begins_anew() -> None:
    found = shown(Preview("e1"), header(3), row(3, 1), header(4, step="1"), row(4, 1))
    assert [(d.kind, d.attempt, d.step) for d in found] == [
        ("start", 3, "0"),
        ("text", 3, "0"),
        ("start", 4, "1"),
        ("text", 4, "1"),
    ]


@pytest.mark.parametrize("said", [None, 7, "no", {"event": "e1"}, [7], [[0, "t"]], [[0, "t", 7]], [["0", "t", "x"]]])
def test_a_row_that_says_nothing_is_a_hole(said: Any) -> None:
    found = shown(Preview("e1"), header(3), row(3, 1), DeltaRow(3, 2, said), row(3, 3), header(4), row(4, 1))
    assert texts(found) == ["", "3.1 ", "", "4.1 "]


@pytest.mark.parametrize("said", [None, 7, "no", [[0, "t", "x"]]])
def test_an_attempt_whose_header_says_nothing_is_not_shown(said: Any) -> None:
    assert shown(Preview(None), DeltaRow(3, 0, said), row(3, 1)) == []


def test_nothing_is_shown_behind_a_hole_until_another_attempt_begins() -> None:
    found = shown(Preview("e1"), header(3), row(3, 1), row(3, 3), row(3, 4), header(4), row(4, 1))
    assert texts(found) == ["", "3.1 ", "", "4.1 "]


def test_nothing_is_shown_of_an_attempt_whose_header_is_gone() -> None:
    assert shown(Preview("e1"), row(3, 1), row(3, 2)) == []
    assert texts(shown(Preview("e1"), header(3), row(4, 1), row(4, 2))) == [""]


def test_other_events_are_not_shown() -> None:
    preview = Preview("e2")
    assert shown(preview, header(3), row(3, 1)) == []
    assert texts(shown(preview, header(4, "e2"), row(4, 1))) == ["", "4.1 "]
    assert preview.place == (4, 1)


def test_what_an_entry_holds_is_not_shown_again() -> None:
    preview = Preview("e1")
    shown(preview, header(3), row(3, 1))
    preview.note(entry(9, "agent.message", {"attempt": 3}))
    assert shown(preview, row(3, 2), header(3), row(3, 1)) == []
    assert texts(shown(preview, header(4), row(4, 1))) == ["", "4.1 "]


def test_kinds_that_are_not_known_yet_are_left_out() -> None:
    assert texts(shown(Preview("e1"), header(3), row(3, 1, [0, "?", "new"], [0, "t", "Hi"]))) == ["", "Hi"]

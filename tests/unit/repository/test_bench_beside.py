"""What is counted beside the other ways: the counting itself, and that the words follow the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType as Kind
from temporalio.api.history.v1 import HistoryEvent

from bench import __main__ as program
from bench.beside import measure as part
from bench.beside import rows
from bench.beside.counting import answered, code_lines, late, lost, overlaps, repeated, repeated_keys
from bench.beside.growth import Aged
from bench.beside.report import ABOUT, Beside, cells, markdown, sentences
from bench.beside.sizes import FULL, QUICK
from bench.beside.ways import INTURN, NAMES
from bench.curves.series import Curve, Series
from bench.curves.sizes import QUICK as SMALL_CURVES
from bench.plots.page import page


def _calls(*whats: str) -> list[dict[str, Any]]:
    return [{"what": what, "at": float(n)} for n, what in enumerate(whats)]


@pytest.mark.parametrize(
    ("whats", "count"),
    [
        ([], 0),
        (["begin", "end", "begin", "end"], 0),
        (["begin", "begin", "end", "end"], 1),
        (["begin", "begin", "begin", "end", "end", "end"], 2),
        (["begin", "refuse", "begin", "end"], 0),
        (["begin", "call", "begin", "end"], 0),
    ],
)
def test_a_call_overlaps_that_began_while_another_one_ran(whats: list[str], count: int) -> None:
    assert overlaps(_calls(*whats)) == count
    assert overlaps(list(reversed(_calls(*whats)))) == count, "by time, whoever wrote first"


def test_an_answer_is_late_that_came_after_a_later_events() -> None:
    sent = ["a", "b", "c", "d"]
    assert late(sent, ["a", "b", "c", "d"]) == 0
    assert late(sent, ["b", "c", "d", "a"]) == 1
    assert late(sent, ["d", "c", "b", "a"]) == 3
    assert late(sent, ["a", "d"]) == 0, "what is lost is not late"
    assert late(sent, ["a", "b", "a"]) == 1, "the second answer to an event is"


def test_an_answer_belongs_to_the_event_whose_id_ends_it() -> None:
    found = answered(
        ["You said: xxx e1", "Results: effect: done e2", "e3", "Failed: refused", "of e1 twice e1"], ["e1", "e2"]
    )
    assert found == ["e1", "e2", "e1"]
    assert (lost(["e1", "e2", "e3"], found), repeated(found)) == (1, 1)


def test_an_effect_under_one_key_counts_once_and_each_without_a_key() -> None:
    keyed = [{"event": "e", "key": "k"}, {"event": "e", "key": "k"}]
    two = [{"event": "e", "key": "k"}, {"event": "e", "key": "other"}]
    bare = [{"event": "e", "key": None}, {"event": "e", "key": None}, {"event": "f", "key": None}]
    assert [repeated_keys(effects) for effects in (keyed, two, bare)] == [0, 1, 1]


def test_turns_are_read_across_runs_with_what_all_runs_left_until_then() -> None:
    first = [_event(Kind.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, 0), *_turn(10, 30)]
    second = [_event(Kind.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, 40), *_turn(50, 55), *_turn(60, 100)]
    aged = Aged()
    aged.add([first, second])
    [found] = aged.sessions
    assert [turn.seconds for turn in found] == pytest.approx([0.020, 0.005, 0.040])
    assert [turn.events for turn in found] == [5, 10, 14]
    assert found[-1].bytes == sum(event.ByteSize() for event in [*first, *second])
    assert aged.largest == sum(event.ByteSize() for event in second)


def _turn(sent: int, done: int) -> list[HistoryEvent]:
    """A turn's events: the signal's task, the step, the task after it; times in milliseconds."""
    return [
        _event(Kind.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, sent),
        _event(Kind.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, sent + 1),
        _event(Kind.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, done - 1),
        _event(Kind.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, done),
    ]


def _event(kind: Kind.ValueType, at: int) -> HistoryEvent:
    event = HistoryEvent(event_type=kind)
    event.event_time.FromMilliseconds(at)
    return event


def test_lines_of_code_are_neither_comments_nor_docstrings_nor_layout(tmp_path: Path) -> None:
    source = tmp_path / "code.py"
    source.write_text(
        '"""About."""\n\n# a comment\nx = [\n    1,\n]\n\n\nclass A:\n    """It."""\n\n    y = 1\n\n\nclass B: ...\n'
    )
    assert code_lines(source) == 4
    assert code_lines(source, only="A") == 2


def _found(value: float, ours: float) -> Beside:
    made = Beside(QUICK)
    for row in rows.ALL:
        for name in NAMES:
            made.add(name, {row: ours if name == INTURN else value})
    return made


def test_the_words_say_who_wins_whichever_way_the_numbers_point() -> None:
    win, lose = (" ".join(sentences(_found(*pair).as_json())) for pair in ((1.0, 2.0), (3.0, 2.0)))
    assert "inturn takes 2 ms, and these take less: handler 1, tuned handler 1" in win
    assert "Latency around turn 10, p50: nobody is below inturn's 2 ms" in lose
    assert "tuned conversation after 1 of 2 messages" in win
    assert "tuned handler after 2 of 3 messages" not in lose, "where inturn is the one that ends"
    assert "inturn after 2 of 3 messages" in lose
    assert f"Of the {len(rows.COUNTED)} rows" in win
    assert f"handler in {len(rows.COUNTED)}," in win
    assert "handler in 0," in lose


def test_every_row_stands_in_the_table_with_every_way_in_order() -> None:
    found = _found(1.0, 2_500.0).as_json()
    assert [row["what"] for row in found] == list(rows.ALL)
    assert cells(found[0]) == [rows.OVERLAPS, "2,500", "1", "1", "1", "1"]
    assert markdown(found).splitlines()[len(ABOUT.splitlines()) + 1] == f"| what | {' | '.join(NAMES)} |"
    del found[0]["handler"]
    assert cells(found[0])[2] == "-"


@pytest.mark.parametrize("sizes", [FULL, QUICK])
def test_what_is_timed_and_drawn_was_run(sizes: Any) -> None:
    assert sizes.early[1] <= sizes.turns - sizes.window
    assert max(sizes.points) == sizes.turns


class NoRig:
    """Stands for a server that nobody asks."""

    async def __aenter__(self) -> NoRig:
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Nothing was started."""


async def test_the_part_s_rows_and_curves_are_in_the_report_and_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _found(1.0, 2.0)
    made.curves = [Curve("beside-bytes", "Grown", "turns", "KB", [Series(INTURN, [(1.0, 2.0)])], log_x=False)]

    async def measured(rig: Any, *, quick: bool) -> Beside:
        assert quick
        return made

    monkeypatch.setattr(part, "measure", measured)
    monkeypatch.setattr(program, "Rig", NoRig)
    book, curves = await program.run(["beside"], 1, SMALL_CURVES)
    report = json.loads(json.dumps(program.as_json(book, curves, 1, 1.0)))
    assert report["beside"] == made.as_json()
    assert [curve["key"] for curve in report["curves"]] == ["beside-bytes"]
    written = page(report, curves.drawn, "bench")
    assert "## Beside the ways people do this today" in written
    assert markdown(report["beside"]) in written

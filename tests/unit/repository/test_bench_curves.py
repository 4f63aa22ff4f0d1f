"""Curves: what was measured is what the table, the JSON, the plots and the page say."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench import __main__ as program
from bench.curves.series import Curve, Curves, Series, number
from bench.curves.sizes import BOUNDS, QUICK
from bench.curves.turns import by_server
from bench.plots.page import reading
from bench.report import Book
from bench.tables import cells_of, curve_table

BYTES = Curve(
    "turn-bytes",
    "Bytes of a turn",
    "turns",
    "bytes",
    [
        Series("by send", [(1, 2900.0), (10, 2400.0), (1_000, 2424.0)]),
        Series("by ask", [(1, 4500.0), (10, 4000.0), (1_000, 4000.0)]),
    ],
    note="Of one session.",
)
RATE = Curve("rate", "Turns per second", "workers", "turns/s", [Series("by ask", [(1, 80.0), (2, 60.0)])], log_x=False)


def test_a_curve_comes_back_from_its_json_as_it_was() -> None:
    for curve in (BYTES, RATE):
        assert Curve.from_json(json.loads(json.dumps(curve.as_json()))) == curve


def test_a_table_has_every_size_and_a_gap_where_a_line_was_not_measured() -> None:
    part = Curve("k", "t", "sessions", "KiB", [Series("a", [(10, 1.234), (1, 12.34)]), Series("b", [(10, 1234.4)])])
    assert cells_of(part) == [["1", "12.3", "-"], ["10", "1.23", "1,234"]]
    console = Console(width=100, file=io.StringIO())
    with console.capture() as captured:
        console.print(curve_table(BYTES))
    for expected in ("Bytes of a turn (bytes)", "2,424", "Of one session."):
        assert expected in captured.get()


def test_numbers_have_three_digits_at_least_and_none_that_mean_nothing() -> None:
    assert [number(n) for n in (0.5678, 9.0, 9.996, 12.345, 99.96, 12_345.6)] == [
        "0.57",
        "9",
        "10.0",
        "12.3",
        "100",
        "12,346",
    ]


def test_a_reading_compares_the_last_size_with_a_settled_one() -> None:
    assert reading(BYTES) == (
        "From 10 to 1,000 turns: by send 1.01 times the bytes (2,400 to 2,424), by ask 1.00 times (4,000 to 4,000)."
    )
    assert reading(RATE) == "From 1 to 2 workers: by ask 0.75 times the turns/s (80 to 60)."
    assert reading(Curve("k", "t", "x", "y", [Series("a", [(10, 0.0), (20, 5.0)])])) == "From 10 to 20 x: a 0 to 5."
    assert reading(Curve("k", "t", "x", "y", [Series("a", [])])) == "Nothing was measured."


def test_turns_by_send_are_timed_from_their_signal_to_the_workflow_task_after_the_answer() -> None:
    found = by_server(
        [*_turn("event-000001", 50, 55), *_turn("event-000002", 100, 130), *_turn("event-000003", 200, 250)], 2
    )
    assert found == pytest.approx([0.030, 0.050])


def _turn(event_id: str, sent: int, done: int) -> list[HistoryEvent]:
    """A turn's events: the signal's task, the step, the task after it; times in milliseconds."""
    return [
        _event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, sent, event_id),
        _event(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, sent + 1),
        _event(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, sent + 3),
        _event(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, done),
        _event(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, done + 1),
    ]


def _event(kind: EventType.ValueType, at: int, event_id: str | None = None) -> HistoryEvent:
    event = HistoryEvent(event_type=kind)
    event.event_time.FromMilliseconds(at)
    if event_id is not None:
        payloads = Payloads(payloads=[Payload(data=json.dumps({"event_id": event_id}).encode())])
        event.workflow_execution_signaled_event_attributes.input.CopyFrom(payloads)
    return event


def test_every_curve_part_has_a_bound_and_all_together_fit_into_nine_minutes() -> None:
    assert set(program.CURVES) == set(BOUNDS)
    assert not set(program.CURVES) & set(program.PARTS)
    assert sum(BOUNDS.values()) <= 9 * 60


async def test_a_part_that_fails_or_hangs_leaves_the_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(rig: Any, sizes: Any) -> list[Curve]:
        raise RuntimeError("no luck")

    async def hangs(rig: Any, sizes: Any) -> list[Curve]:
        await asyncio.Event().wait()
        raise AssertionError

    async def works(rig: Any, sizes: Any) -> list[Curve]:
        return [RATE]

    for name, part in (("turns", fails), ("queue", hangs), ("cold", works)):
        monkeypatch.setitem(program.CURVES, name, part)
    monkeypatch.setitem(BOUNDS, "queue", 0)
    monkeypatch.setattr(program, "Rig", NoRig)
    book, curves = await program.run(["turns", "queue", "cold"], 1, QUICK)
    assert curves.drawn == [RATE]
    assert curves.without == {"turns": "RuntimeError: no luck", "queue": "cut off after 0 s"}
    assert not book.rows


class NoRig:
    """Stands for a server that nobody asks."""

    async def __aenter__(self) -> NoRig:
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Nothing was started."""


def test_the_plots_and_the_page_of_a_run_are_the_same_each_time(tmp_path: Path) -> None:
    from bench.plots.__main__ import main  # matplotlib takes a second to load

    report = program.as_json(Book([]), Curves([BYTES, RATE], {"cold": "cut off after 110 s"}), 5, 60.0)
    file = tmp_path / "run.json"
    file.write_text(json.dumps(report))
    for name in ("one", "two"):
        main(file, tmp_path / name / "bench")
    page = (tmp_path / "one/benchmarks.md").read_text()
    assert "![Bytes of a turn](bench/turn-bytes.svg)\n\n| turns | by send (bytes) | by ask (bytes) |" in page
    assert "| 1,000 | 2,424 | 4,000 |" in page
    assert reading(BYTES) in page
    assert "`cold` was not measured: cut off after 110 s." in page
    assert sorted(path.name for path in (tmp_path / "one/bench").iterdir()) == ["rate.svg", "turn-bytes.svg"]
    for name in ("benchmarks.md", "bench/rate.svg", "bench/turn-bytes.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    drawn = (tmp_path / "one/bench/turn-bytes.svg").read_text()
    assert "by ask" in drawn
    assert "dc:date" not in drawn

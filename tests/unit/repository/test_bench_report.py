"""The benchmark's arithmetic: a row shows what was measured, whatever its budget says."""

from __future__ import annotations

import json

import pytest

from bench import budgets
from bench.__main__ import PARTS, as_json
from bench.curves.series import Curves
from bench.report import Book, Budget, Judged, Row, percentile, shown
from bench.tables import budget_table

RATIO = Budget("a", 1.25, "×")


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (1, 1), (0, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == expected


def test_the_p99_of_a_few_samples_is_the_worst_one() -> None:
    assert percentile([1.0, 9.0, 2.0], 99) == 9.0


@pytest.mark.parametrize(
    ("by", "limit", "at_least", "values", "held"),
    [
        ("median", 1.25, False, [1.0, 1.25, 9.0], True),
        ("median", 1.25, False, [1.0, 1.26, 1.0, 1.3], True),
        ("median", 1.25, False, [1.3, 1.26, 1.0], False),
        ("median", 0.75, True, [0.7, 0.76, 0.9], True),
        ("median", 0.75, True, [0.7, 0.74, 0.9], False),
        ("p99", 10, False, [1.0, 2.0, 10.1], False),
        ("p99", 10, False, [1.0, 2.0, 10.0], True),
        ("exact", 10, False, [10.0, 10.0], True),
        ("exact", 10, False, [10.0, 9.0], False),
        ("exact", 10, False, [10.0, 11.0], False),
        ("last", 1.3, False, [9.0, 1.3], True),
        ("last", 1.3, False, [1.0, 1.4], False),
    ],
)
def test_a_budget_is_judged_as_it_says(
    by: Judged, limit: float, at_least: bool, values: list[float], held: bool
) -> None:
    assert Row(Budget("a", limit, "×", by, at_least), values).held is held


def test_a_verdict_says_by_how_much() -> None:
    assert Row(RATIO, [1.0]).verdict == "held, 20% to spare"
    assert Row(RATIO, [2.5]).verdict == "missed by 100.0%"
    assert Row(Budget("a", 0.75, "×", at_least=True), [0.72]).verdict == "missed by 4.0%"
    assert Row(Budget("a", 10, "events", by="exact"), [10.0, 13.0]).verdict == "missed by 3 events"


def test_what_was_not_measured_is_neither_held_nor_missed() -> None:
    book = Book([RATIO])
    book.without(["a"], "cut off")
    assert not book.rows["a"].held
    assert (book.unmeasured, book.missed) == (["a"], [])
    assert book.rows["a"].as_json()["held"] is None
    assert (book.rows["a"].verdict, book.rows["a"].note) == ("not measured", "cut off")


def test_values_that_were_measured_before_a_part_was_cut_off_stay() -> None:
    book = Book([RATIO])
    book.add("a", 1.5)
    book.without(["a"], "cut off")
    assert book.missed == ["a"]
    assert book.rows["a"].note == "cut off (after 1 values)"


def test_numbers_carry_their_unit() -> None:
    assert [shown(1.234, "×"), shown(3001.4, "bytes"), shown(4.25, "ms"), shown(1.06, "%")] == [
        "1.23×",
        "3,001 bytes",
        "4.2 ms",
        "1.1%",
    ]


def test_every_part_has_a_bound_and_all_together_fit_into_twenty_three_minutes() -> None:
    assert set(PARTS) == set(budgets.PARTS) == set(budgets.BOUNDS)
    assert sum(budgets.BOUNDS.values()) <= 23 * 60


def test_the_report_holds_every_row_measured_or_not() -> None:
    book = Book([RATIO, Budget("b", 1, "s", by="p99")])
    book.add("a", 1.0, 3.0, 2.0)
    report = json.loads(json.dumps(as_json(book, Curves([], {}), 3, 1.0)))
    first, second = report["rows"]
    assert (first["min"], first["median"], first["max"], first["held"]) == (1.0, 2.0, 3.0, False)
    assert "median" not in second
    assert budget_table(book, 3).row_count == 2

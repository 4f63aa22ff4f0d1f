"""What models cost: exact, and nothing that nobody knows."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inturn.amounts import dollars, nanos
from inturn.errors import Misconfigured
from inturn.models.facts import MODELS
from inturn.models.prices import FREE, Price, known_prices, prices_of
from inturn.values import Usage

COUNTS = st.integers(0, 2_000_000)


def price(model: str) -> Price:
    found = known_prices().find(model)
    assert found is not None
    return found


def test_a_request_costs_what_the_price_list_says() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=500, cache_read_tokens=10_000, cache_write_tokens=2_000, searches=3)
    # 1,000 at $2, 500 at $10, 10,000 at $0.10, 2,000 at $2.50 a million, and three searches at $10 a thousand.
    assert price("claude-sonnet-5-5").of(usage) == nanos("0.043")
    hour = usage.model_copy(update={"cache_write_1h_tokens": 1_500, "searches": 0})
    assert price("claude-sonnet-5-5").of(hour) == nanos("0.01525")


@pytest.mark.parametrize(
    ("model", "prompt", "usd"),
    [
        ("claude-haiku-5-5", 100_000, "0.0105"),
        ("claude-haiku-5-5", 100_001, "0.0525005"),
        ("claude-sonnet-4-5", 200_000, "0.615"),
        ("claude-sonnet-4-5", 200_001, "1.222506"),
    ],
)
def test_a_prompt_above_a_length_makes_every_token_of_its_request_dearer(model: str, prompt: int, usd: str) -> None:
    assert price(model).of(Usage(input_tokens=prompt, output_tokens=1_000)) == nanos(Decimal(usd))


def test_what_is_read_from_the_cache_costs_another_part_for_each_model() -> None:
    read = Usage(cache_read_tokens=1_000_000)
    models = ("claude-sonnet-4-6", "claude-opus-5-5", "claude-fable-5-2")
    parts = [Fraction(price(m).of(read), price(m).of(Usage(input_tokens=1_000_000))) for m in models]
    assert parts == [Fraction(1, 10), Fraction(1, 20), Fraction(1, 40)]


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_no_request_costs_more_than_its_worst(fresh: int, read: int, write: int, output: int) -> None:
    usage = Usage(input_tokens=fresh, cache_read_tokens=read, cache_write_tokens=write, output_tokens=output)
    for model in known_prices().models.values():
        assert model.of(usage) <= model.worst(usage.prompt_tokens, output)


@given(COUNTS, st.integers(0, 10**11))
def test_an_answer_that_is_affordable_fits_and_one_token_more_does_not(prompt: int, left: int) -> None:
    for model in known_prices().models.values():
        most = model.affordable(prompt, left)
        assert most is not None
        assert most == 0 or model.worst(prompt, most) <= left
        assert model.worst(prompt, most + 1) > left


def test_what_is_free_costs_nothing_and_affords_everything() -> None:
    assert FREE.of(Usage(input_tokens=10, output_tokens=10, searches=1)) == FREE.worst(10**6, 10**6) == 0
    assert FREE.affordable(10**6, 0) is None


def test_a_sum_of_small_requests_is_exact() -> None:
    each = price("claude-haiku-5-5").of(Usage(cache_read_tokens=1))
    assert each * 1_000_000 == nanos("0.01")


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-sonnet-5-5-20261001", "claude-sonnet-5-5-latest"])
def test_a_model_is_known_by_its_name_with_or_without_a_date(model: str) -> None:
    assert price(model) == price("claude-sonnet-5-5")


@pytest.mark.parametrize(
    "model",
    [
        "claude-sonnet-5-6",
        "claude-sonnet-5-5-fast",
        "us.anthropic.claude-sonnet-5-5",
        "claude-sonnet-5-5@1",
        "gpt-9",
        "",
    ],
)
def test_nobody_guesses_the_price_of_another_model_or_of_a_platform(model: str) -> None:
    assert known_prices().find(model) is None


def test_the_price_list_is_dated_and_names_models_that_have_facts() -> None:
    known = known_prices()
    assert known.as_of
    assert "genai-prices" in known.source
    assert set(known.models) <= set(MODELS)


def test_ones_own_prices_win_over_the_list(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    tier = '{"above": 0, "input": 0.3, "output": "1.2", "read": 0.0005, "write": 0.3, "write_1h": 0.3}'
    file.write_text(
        f'{{"source": "contract", "models": {{"claude-opus-5-5": {{"tiers": [{tier}]}}, "free": {{"tiers": []}}}}}}'
    )
    mine = prices_of(str(file))
    opus = mine.find("claude-opus-5-5")
    assert opus is not None
    assert opus.of(Usage(input_tokens=10, cache_read_tokens=3)) == 3_002  # 1.5 picodollars are rounded up
    assert mine.find("free") == FREE
    assert mine.find("claude-sonnet-5-5") == price("claude-sonnet-5-5")
    assert mine.source.startswith("contract over genai-prices")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"models": []}',
        '{"models": {"m": {"tiers": [{"above": 0, "input": 1}]}}}',
        '{"models": {"m": {"tiers": [{"above": 0, "input": -1, "output": 1, "read": 1, "write": 1, "write_1h": 1}]}}}',
        '{"models": {"m": {"tiers": [{"above": 0, "input": NaN, "output": 1, "read": 1, "write": 1, "write_1h": 1}]}}}',
        '{"models": {"m": {"tiers": [{"above": 9, "input": 1, "output": 1, "read": 1, "write": 1, "write_1h": 1}]}}}',
    ],
)
def test_prices_that_are_none_stop_a_worker_and_say_what_to_write(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(Misconfigured, match="cannot be read"):
        prices_of(str(file))


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "$0.00"),
        (nanos(1234.5), "$1,234.50"),
        (nanos("0.05"), "$0.050"),
        (nanos("0.000012"), "$0.000012"),
        (1, "$0.000000001"),
    ],
)
def test_people_see_dollars(amount: int, shown: str) -> None:
    assert dollars(amount) == shown


def test_a_usage_that_tells_dollars_is_counted_in_nanodollars() -> None:
    told = Usage.model_validate({"usd": 0.1, "steps": 1})
    assert (told.usd_nanos, told.usd) == (100_000_000, 0.1)
    written = told.model_dump(mode="json", exclude_defaults=True)
    assert written == {"usd_nanos": 100_000_000, "steps": 1, "usd": 0.1}
    assert Usage.model_validate(written | {"usd": 7}) == told
    assert Usage().model_dump(exclude_defaults=True) == {}


def test_a_prompt_that_is_kept_for_an_hour_costs_more_at_worst() -> None:
    price = known_prices().find("claude-sonnet-5-5")
    assert price is not None
    assert price.kept_for("5m") == price
    hour = Usage(cache_write_tokens=10_000, cache_write_1h_tokens=10_000, output_tokens=100)
    assert price.kept_for("1h").worst(10_000, 100) == price.of(hour) > price.worst(10_000, 100)

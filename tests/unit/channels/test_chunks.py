"""A long text in parts: none too long, none cut inside a character or a fence, nothing lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inturn.channels import split
from inturn.channels.chunks import LEAST, units

FENCES = re.compile(r"^ {0,3}(`{3,8}(?!`)|~{3,8}(?!~))([^\n`]*)$", re.MULTILINE)
PIECES = st.sampled_from(
    [
        "word ",
        "sentence. ",
        "\n",
        "\n\n",
        "```python\n",
        "\n```\n",
        "~~~\n",
        "x" * 90,
        "👩‍👩‍👧",
        "é",
        "🎉" * 40,
        "  indented\n",
    ]
)


def squeezed(text: str) -> str:
    """A text without what cuts may take or add: blanks, and lines of fences."""
    return re.sub(r"\s", "", FENCES.sub("", text))


@given(st.lists(PIECES, max_size=60).map("".join), st.integers(LEAST, 200))
def test_no_part_is_too_long_and_nothing_is_lost(text: str, most: int) -> None:
    parts = split(text, most)
    assert all(units(part) <= most for part in parts)
    assert all(part.strip() for part in parts)
    assert all(part.encode("utf-16-le").decode("utf-16-le") == part for part in parts)


@given(st.lists(st.sampled_from(["word ", "more words. ", "\n", "\n\n"]), max_size=80).map("".join))
def test_plain_words_stay_whole_and_in_order(text: str) -> None:
    assert " ".join(split(text, LEAST)).split() == text.split()


def test_a_fence_that_is_cut_is_closed_and_opened_again() -> None:
    text = "Look:\n```python\n" + "".join(f"line_{n} = {n}\n" for n in range(30)) + "```\nThat is all."
    parts = split(text, 120)
    assert len(parts) > 3
    for part in parts:
        assert len(FENCES.findall(part)) % 2 == 0
    assert all(part.startswith("```python\n") for part in parts[1:-1])
    code = "\n".join(line for part in parts for line in part.splitlines() if line.startswith("line_"))
    assert code.splitlines() == [f"line_{n} = {n}" for n in range(30)]


def test_a_text_that_fits_is_one_part_and_an_empty_one_none() -> None:
    assert split("hello", 100) == ["hello"]
    assert split("", 100) == split(" \n", 100) == []


def test_it_is_cut_at_a_paragraph_before_a_line_before_a_word() -> None:
    first = "a" * 50
    assert split(f"{first}\n\nb b\nc", 64)[0] == f"{first}\n\nb b\nc"
    assert split(f"{first}\n\nbbb\n{'c' * 30}", 64)[0] == first
    assert split(f"{first}\nbbb ccc {'d' * 30}", 64)[0] == first


def test_characters_of_two_units_count_as_two() -> None:
    parts = split("🎉" * 100, 64)
    assert [len(part) for part in parts] == [32, 32, 32, 4]


def test_an_emoji_of_many_parts_and_an_accent_are_not_parted() -> None:
    family = "👩\u200d👩\u200d👧"
    for shift in range(12):
        parts = split("x" * (50 + shift) + family + "é" * 2 + "e\u0301" * 10, 64)
        assert all(part[0] not in "\u200d\u0301" for part in parts)


def test_other_lengths_count_as_told() -> None:
    parts = split("é" * 100, 64, length=lambda text: len(text.encode()))
    assert all(len(part.encode()) <= 64 for part in parts)
    assert "".join(parts) == "é" * 100


def test_a_size_that_holds_no_fence_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        split("x", LEAST - 1)


def test_fifty_thousand_characters_take_no_time() -> None:
    text = ("word " * 40 + "\n") * 250
    assert len(split(text, 2_000)) < 40

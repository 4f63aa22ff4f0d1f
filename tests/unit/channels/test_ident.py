"""Ids made of what a platform says: always ones that a session takes, and never two things under one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inturn.channels import ident
from inturn.keys import is_id

PARTS = st.lists(st.one_of(st.text(max_size=80), st.integers(-(10**12), 10**12)), min_size=1, max_size=6)


def test_plain_parts_stand_as_they_are() -> None:
    assert ident("slack", "T1", "C7", "1721234567.000100") == "slack:T1:C7:1721234567.000100"
    assert ident("tg", -100123, 7) == "tg:-100123:7"


@given(PARTS)
def test_whatever_comes_it_is_an_id(parts: list[str | int]) -> None:
    assert is_id(ident(*parts))


@given(PARTS, PARTS)
def test_other_parts_give_another_id(one: list[str | int], other: list[str | int]) -> None:
    same = list(map(str, one)) == list(map(str, other))
    assert (ident(*one) == ident(*other)) == same


def test_a_part_cannot_pass_for_two_nor_for_a_hash() -> None:
    assert ident("a:b") != ident("a", "b")
    assert ident(ident("é")) != ident("é")
    assert ident("") != ident("", "")
    assert is_id(ident("\ud800"))

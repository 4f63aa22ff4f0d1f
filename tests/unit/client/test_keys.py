"""Keys: the same for the same step, readable back, and apart for everything else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inturn.keys import ID_PATTERN, SessionKey, StepKey, is_id

ids = st.from_regex(re.compile(ID_PATTERN), fullmatch=True)
steps = st.one_of(st.integers(0, 10_000).map(str), ids)


@given(ids, ids)
def test_a_session_is_read_back_from_its_workflow_id(tenant: str, session_id: str) -> None:
    key = SessionKey(tenant, session_id)
    assert SessionKey.parse(str(key)) == key


@given(ids, ids, ids, st.integers(0, 20), steps, st.none() | st.integers(0, 99))
def test_a_step_is_read_back_from_its_key(
    tenant: str, session_id: str, event_id: str, redrive: int, step: str, index: int | None
) -> None:
    key = SessionKey(tenant, session_id).turn(event_id, redrive).step(step, index)
    assert StepKey.parse(str(key)) == key
    assert key.turn.event_id == event_id
    assert str(key) == f"{key.session}/{key.within_session}"


@given(st.lists(st.tuples(ids, ids, ids, st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=2, unique=True))
def test_different_steps_have_different_keys(parts: list[tuple[str, str, str, int, int]]) -> None:
    one, other = (str(SessionKey(t, s).turn(e, n).step(k)) for t, s, e, n, k in parts)
    assert one != other


@pytest.mark.parametrize("wrong", ["", "a", "a/", "/b", "a/b/c", "a b/c", "a/b~1", "ä/b", "a/" + "b" * 129, "a/b\n"])
def test_a_workflow_id_that_names_no_session_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        SessionKey.parse(wrong)


@pytest.mark.parametrize("wrong", ["a/b/c", "a/b/c/0/1/2", "a/b/c/0/x"])
def test_what_is_no_step_key_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - int() words one of them
        StepKey.parse(wrong)


@given(st.text())
def test_an_id_never_holds_what_keys_are_put_together_with(text: str) -> None:
    if is_id(text):
        assert not {"/", "~", "'", " ", "\n"} & set(text)
        assert 1 <= len(text) <= 128


@pytest.mark.parametrize("value", [None, 1, b"a", ["a"]])
def test_only_text_is_an_id(value: object) -> None:
    assert not is_id(value)

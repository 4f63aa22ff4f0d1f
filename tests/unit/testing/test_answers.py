"""The rule by which models without a mind answer, and its directives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inturn.models.scripted_answers import Answer, ToolCall, by_rule, parse, pieces


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def called(*names: str) -> dict[str, Any]:
    blocks = [{"type": "tool_use", "id": f"id-{n}", "name": n, "input": {}} for n in names]
    return {"role": "assistant", "content": blocks}


def result(name: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"id-{name}", "content": content, **more}


def test_plain_text_is_echoed() -> None:
    assert by_rule([user("Where is it?")]) == Answer("You said: Where is it?")


def test_the_last_of_several_texts_is_echoed() -> None:
    content = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert by_rule([user(content)]).text == "You said: two"


def test_a_block_that_is_no_text_is_named() -> None:
    assert by_rule([user([{"type": "image", "source": {}}])]).text == "You said: [image]"


def test_directives_call_tools_in_parallel() -> None:
    answer = by_rule([user('do [[tool a {"x": [[1]], "y": "]]"}]] and [[tool b]]')])
    assert answer.calls == (ToolCall("a", x=[[1]], y="]]"), ToolCall("b"))
    assert answer.stop_reason == "tool_use"


def test_results_are_summed_up_in_call_order() -> None:
    results = [result("a", "3"), result("b", [{"type": "text", "text": "bad"}], is_error=True)]
    answer = by_rule([user("[[tool a]] [[tool b]]"), called("a", "b"), user(results)])
    assert answer == Answer("Results: a: 3; b failed: bad")


def test_then_gives_the_next_step_its_own_directives() -> None:
    text = "[[tool a]] [[then]] [[tool b]] [[then]] all good"
    messages = [user(text), called("a"), user([result("a", "1")])]
    assert by_rule(messages).calls == (ToolCall("b"),)
    messages += [called("b"), user([result("b", "2")])]
    assert by_rule(messages) == Answer("Results: b: 2 all good")


def test_text_that_joined_after_results_is_answered_too() -> None:
    messages = [user("[[tool a]]"), called("a"), user([result("a", "1"), {"type": "text", "text": "hurry"}])]
    assert by_rule(messages).text == "Results: a: 1 You said: hurry"


def test_a_paused_turn_ends_when_asked_again() -> None:
    first = by_rule([user("go [[stop pause_turn]]")])
    assert first.stop_reason == "pause_turn"
    again = by_rule([user("go [[stop pause_turn]]"), {"role": "assistant", "content": first.content([])}])
    assert again == Answer("Done.")


def test_say_delay_and_stop_shape_the_answer() -> None:
    answer = by_rule([user("x [[say sorry]] [[delay 1.5]] [[delay 1]] [[stop refusal]]")])
    assert answer == Answer("sorry", (), "refusal", 2.5)


@pytest.mark.parametrize(
    "text",
    [
        "[[tool]]",
        '[[tool a {"x":}]]',
        "[[tool a",
        "[[tool a {}",
        '[[tool a {"x": NaN}]]',
        '[[tool a {"x": 1e999}]]',
        r'[[tool a {"x": "\ud800"}]]',
        "[[delay soon]]",
        "[[delay -1]]",
        "[[other x]]",
        "[[say x",
    ],
)
def test_a_broken_directive_is_plain_text(text: str) -> None:
    assert by_rule([user(text)]) == Answer(f"You said: {text}")


@given(st.text(st.sampled_from('[]{}" :,.0123456789abtoldeystopfaulhn\n'), max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    assert parse(text)


@given(st.lists(st.sampled_from(["[[tool a]]", "[[say b]]", "[[then]]", "[[delay 1]]", "]]", "[[", " x "])))
def test_directives_never_leak_into_the_plain_text(parts: list[str]) -> None:
    assert not any(f"[[{kind}" in part.plain for part in parse("".join(parts)) for kind in ("tool a]]", "then]]"))


@given(st.text())
def test_pieces_join_to_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text

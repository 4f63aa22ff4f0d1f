"""The transcript, case by case."""

from __future__ import annotations

import time
from typing import Any

import pytest

from inturn.journal.views.requests import NO_ANSWER
from inturn.journal.views.said import NO_MESSAGE, UNANSWERED
from inturn.journal.views.transcript import Transcript
from inturn.values import Entry
from tests.support.journal import entry

Body = dict[str, Any]


def build(*entries: tuple[str, Body] | tuple[str, Body, str]) -> Transcript:
    return Transcript(entry(seq, e[0], e[1], *e[2:3]) for seq, e in enumerate(entries, 1))


def user(text: str, event_id: str = "e1", **body: Any) -> tuple[str, Body, str]:
    return "user.message", {"content": text, **body}, event_id


def agent(*content: Body, stop: str = "end_turn", **body: Any) -> tuple[str, Body]:
    return "agent.message", {"content": list(content), "stop": stop, **body}


def result(call: str, text: str = "4", status: str = "ok", **body: Any) -> tuple[str, Body]:
    return "agent.tool_result", {"call_id": call, "tool": "add", "status": status, "text": text, **body}


def text(text: str) -> Body:
    return {"type": "text", "text": text}


def use(call: str) -> Body:
    return {"type": "tool_use", "id": call, "name": "add", "input": {}}


def answered(call: str, content: Any = "4") -> Body:
    return {"type": "tool_result", "tool_use_id": call, "content": content}


def failed(call: str, content: Any = UNANSWERED) -> Body:
    return {**answered(call, content), "is_error": True}


def message(role: str, *blocks: Body) -> Body:
    return {"role": role, "content": list(blocks)}


def test_a_conversation_is_what_was_said_in_turn() -> None:
    made = build(user("hi"), agent(text("hello")), user("more", "e2"))
    assert made.request_messages() == [
        message("user", text("hi")),
        message("assistant", text("hello")),
        message("user", text("more")),
    ]


def test_blocks_of_a_user_travel_as_they_are() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    made = build(("user.message", {"content": [text("look"), image]}))
    assert made.request_messages() == [message("user", text("look"), image)]


@pytest.mark.promise("MOD-2")
def test_results_stand_first_and_in_call_order_before_the_users_text() -> None:
    made = build(
        user("hi"), agent(use("a"), use("b"), stop="tool_use"), result("b", "B"), user("and", "e2"), result("a", "A")
    )
    assert made.request_messages()[2:] == [message("user", answered("a", "A"), answered("b", "B"), text("and"))]


@pytest.mark.promise("MOD-2")
def test_a_call_without_a_result_gets_an_error() -> None:
    made = build(user("hi"), agent(use("a"), use("b"), stop="tool_use"), result("b", "B"))
    assert made.request_messages()[2:] == [message("user", failed("a"), answered("b", "B"))]


@pytest.mark.promise("MOD-2")
def test_calls_of_a_message_that_did_not_stop_for_tools_get_errors_in_the_next_request() -> None:
    made = build(user("hi"), agent(text("I'll"), use("a"), stop="max_tokens"), user("go on", "e2"))
    assert made.request_messages()[2:] == [message("user", failed("a"), text("go on"))]


@pytest.mark.promise("MOD-2")
def test_of_several_results_for_a_call_the_first_one_counts() -> None:
    made = build(user("hi"), agent(use("a"), stop="tool_use"), result("a", "1"), result("a", "2"))
    assert made.request_messages()[2:] == [message("user", answered("a", "1"))]


@pytest.mark.promise("MOD-1", "MOD-2")
def test_a_result_that_comes_after_its_call_was_abandoned_changes_nothing() -> None:
    made = build(
        user("hi"),
        agent(use("a"), stop="tool_use"),
        user("stop", "e2"),
        agent(text("ok")),
        result("a"),
        user("x", "e3"),
    )
    assert made.request_messages()[2:] == [
        message("user", failed("a"), text("stop")),
        message("assistant", text("ok")),
        message("user", text("x")),
    ]


def test_a_failed_call_is_an_error_and_holds_text_only() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    made = build(
        user("hi"),
        agent(use("a"), use("b"), use("c"), stop="tool_use"),
        result("a", "boom", "error"),
        result("b", "", "error", content=[image, text("half")]),
        result("c", "", "ok", content=[image]),
    )
    assert made.request_messages()[2:] == [
        message("user", failed("a", "boom"), failed("b", [text("half")]), answered("c", [image]))
    ]


def test_messages_after_an_interrupt_are_merged_into_one() -> None:
    made = build(user("one"), ("turn.interrupted", {}), user("two", "e2"))
    assert made.request_messages() == [message("user", text("one"), text("two"))]


def test_a_failed_turn_takes_back_what_no_answered_request_held() -> None:
    made = build(user("poison"), ("turn.failed", {"turn": "e1"}), user("fine", "e2"))
    assert made.request_messages() == [message("user", text("fine"))]


def test_a_failed_turn_takes_back_only_its_own() -> None:
    made = build(user("one"), ("turn.interrupted", {}), user("bad", "e2"), ("turn.failed", {}, "e2"), user("x", "e3"))
    assert made.request_messages() == [message("user", text("one"), text("x"))]


def test_a_turn_that_fails_after_its_tools_leaves_its_calls_answered_by_errors() -> None:
    made = build(
        user("hi"), agent(use("a"), stop="tool_use"), result("a", "poison"), ("turn.failed", {}), user("next", "e2")
    )
    assert made.request_messages() == [
        message("user", text("hi")),
        message("assistant", use("a")),
        message("user", failed("a"), text("next")),
    ]


def test_a_redriven_event_says_its_words_again() -> None:
    made = build(user("try"), ("turn.failed", {"turn": "e1"}), user("try"), agent(text("ok")))
    assert made.request_messages() == [message("user", text("try")), message("assistant", text("ok"))]


@pytest.mark.promise("MOD-1")
def test_what_was_written_while_the_model_answered_was_no_part_of_its_request() -> None:
    made = build(
        user("one"),
        user("two", "e2"),
        agent(text("to one"), seen=1),
        agent(text("to two")),
    )
    assert made.request_messages() == [
        message("user", text("one")),
        message("assistant", text("to one")),
        message("user", text("two")),
        message("assistant", text("to two")),
    ]


@pytest.mark.promise("MOD-1")
def test_a_failure_recorded_while_the_model_answered_does_not_change_what_it_answered() -> None:
    made = build(user("one"), user("two", "e2"), ("turn.failed", {}), agent(text("both"), seen=2), user("x", "e3"))
    assert made.request_messages()[:2] == [
        message("user", text("one"), text("two")),
        message("assistant", text("both")),
    ]


def test_what_a_stopped_turn_had_said_goes_along_with_the_next_event_unless_the_model_refuses_it() -> None:
    made = build(
        user("one"),
        agent(use("c1"), stop="tool_use"),
        result("c1", "odd"),
        ("turn.interrupted", {}),
        user("two", "e2"),
    )
    assert made.others("e2") == ["e1"]
    assert made.request_messages()[2:] == [message("user", answered("c1", "odd"), text("two"))]
    assert made.request_messages(without=["e1"])[2:] == [message("user", failed("c1"), text("two"))]


@pytest.mark.promise("MOD-1")
def test_what_a_refused_request_held_is_in_no_later_one_once_the_model_took_one_without_it() -> None:
    made = build(
        user("refused"),
        ("turn.interrupted", {}),
        user("good", "e2"),
        agent(text("ok"), without=["e1"]),
        user("next", "e3"),
    )
    assert made.others("e3") == []
    assert made.request_messages() == [
        message("user", text("good")),
        message("assistant", text("ok")),
        message("user", text("next")),
    ]


def test_a_changed_agent_is_told_right_after_the_users_message() -> None:
    made = build(
        ("session.started", {"agent": "a", "model": "m", "system": "s", "tools": [], "manifest": "1"}),
        user("one"),
        agent(text("ok")),
        ("system.message", {"text": "tool x is gone", "manifest": "2"}),
        user("two", "e2"),
    )
    assert made.request_messages()[2:] == [message("user", text("two")), message("system", text("tool x is gone"))]
    assert made.manifest == {"agent": "a", "model": "m", "system": "s", "tools": []}
    assert made.manifest_hash == "2"


def test_a_system_message_waits_for_a_users() -> None:
    made = build(user("one"), agent(text("ok")), ("system.message", {"text": "new"}))
    assert made.request_messages()[-1]["role"] == "assistant"
    made.apply(entry(4, *agent(text("still"), stop="end_turn")))
    made.apply(entry(5, *user("two", "e2")))
    assert made.request_messages()[-2:] == [message("user", text("two")), message("system", text("new"))]


def test_a_failed_turn_does_not_take_back_that_the_agent_changed() -> None:
    made = build(user("bad"), ("system.message", {"text": "new"}), ("turn.failed", {}), user("x", "e2"))
    assert made.request_messages() == [message("user", text("x")), message("system", text("new"))]


def test_the_first_manifest_stays() -> None:
    started = {"agent": "a", "model": "m", "system": "s", "tools": [{"name": "t"}], "manifest": "1"}
    made = build(("session.started", started), ("session.started", {**started, "system": "other"}))
    assert made.manifest is not None
    assert made.manifest["system"] == "s"


def test_an_answer_that_is_empty_or_ends_in_thinking_gets_a_text() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "x"}
    made = build(user("one"), agent(), user("two", "e2"), agent(thinking), user("three", "e3"))
    assert made.request_messages()[1] == message("assistant", text(NO_ANSWER))
    assert made.request_messages()[3] == message("assistant", thinking, text(NO_ANSWER))


def test_thinking_goes_back_as_it_came() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "x"}
    made = build(user("one"), agent(thinking, text("ok")))
    assert made.request_messages()[1] == message("assistant", thinking, text("ok"))


def test_blank_texts_are_left_out_and_a_blank_message_is_named() -> None:
    made = build(user("  \n"), agent(text(""), text("ok")))
    assert made.request_messages() == [message("user", text(NO_MESSAGE)), message("assistant", text("ok"))]


def test_a_pause_goes_on_behind_its_message() -> None:
    made = build(user("one"), agent(text("a"), stop="pause_turn"), agent(text("b")))
    assert made.request_messages() == [
        message("user", text("one")),
        message("assistant", text("a")),
        message("assistant", text("b")),
    ]


def test_applying_an_entry_twice_changes_nothing() -> None:
    made = build(user("one"), agent(text("a")))
    before = made.request_messages()
    made.apply(entry(2, *agent(text("a"))))
    made.apply(entry(1, *user("one")))
    assert made.request_messages() == before
    assert made.seq == 2


def thousand_messages() -> list[Entry]:
    made: list[Entry] = []
    for turn in range(500):
        made.append(entry(len(made) + 1, "user.message", {"content": "x" * 500}, f"e{turn}"))
        made.append(
            entry(len(made) + 1, "agent.message", {"content": [text("y" * 500)], "stop": "end_turn"}, f"e{turn}")
        )
    return made


def test_a_warm_request_of_a_thousand_messages_builds_nothing_anew() -> None:
    transcript = Transcript(thousand_messages())
    transcript.apply(entry(1001, *user("next", "e500")))
    first, second = transcript.request_messages(), transcript.request_messages()
    assert len(first) == 1001
    assert all(one is other for one, other in zip(first[:1000], second[:1000], strict=True))
    fastest = min(_timed(transcript) for _ in range(20))
    assert fastest < 0.005, f"{fastest * 1000:.2f} ms"


def _timed(transcript: Transcript) -> float:
    started = time.perf_counter()
    transcript.request_messages()
    return time.perf_counter() - started

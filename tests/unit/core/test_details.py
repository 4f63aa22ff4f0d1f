"""The table in the Temporal UI: what waits, what it waits for, what failed, and how much room is left."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from inturn.cli.show import _limits
from inturn.events import Event
from inturn.policy import InboxPolicy
from inturn.values import SessionStatus
from inturn_activities.messages import Policy
from inturn_workflows.display import details as details_module
from inturn_workflows.display.details import SHOWN_EVENTS, details
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import ParkedEvent
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionState
from inturn_workflows.turn_state import CallState, TurnState
from tests.support.arrivals import arrival

NOW = 1_763_677_084.5
"""2025-11-20 22:18:04.5 UTC."""


def session(**policy: Any) -> SessionState:
    made = SessionState(inbox=Inbox(dedup=DedupWindow(salt="salt")), agent="desk")
    made.policy = Policy(hash="h", inbox=policy)
    return made


def send(state: SessionState, event_id: str, *, at: float = NOW, size: int = 100, **fields: Any) -> None:
    sent = Event(event_id=event_id, content=fields.pop("content", f"hello from {event_id}"), **fields)
    state.inbox.admit(arrival(sent, size), at, state.inbox_policy())


def running(state: SessionState, *calls: CallState) -> None:
    state.turn = TurnState(turn="now", started_at=NOW, preview="what runs", step=len(calls), calls=list(calls))


def call(tool: str, **fields: Any) -> CallState:
    return CallState.model_validate({"id": f"c-{tool}", "tool": tool, **fields})


def lines(state: SessionState) -> list[str]:
    return details(state, NOW).splitlines()


def limits(state: SessionState) -> str:
    [line] = [line for line in lines(state) if line.startswith("Limits: ")]
    return line


def rows(state: SessionState, heading: str) -> list[list[str]]:
    """Return a table's rows by its first column's name, cell by cell."""
    shown = lines(state)
    first = next(number for number, line in enumerate(shown) if line.startswith(f"| {heading} "))
    end = next((n for n in range(first, len(shown)) if not shown[n]), len(shown))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in shown[first + 2 : end]]


def test_the_first_line_says_when_it_was_written_so_that_ages_can_be_judged() -> None:
    assert lines(session())[0] == "**idle** · agent `desk` · run 1 · as of 22:18:04 UTC (2025-11-20)"


def test_a_session_whose_turn_waits_for_a_person_says_so_and_for_what() -> None:
    state = session()
    running(state, call("refund", approval=True, asked_at=NOW), call("add", done=True))
    shown = lines(state)
    assert shown[0].startswith("**requires_action** · ")
    assert "Turn `now` since 22:18:04, at step 2: waits for approval of refund — what runs" in shown


def test_a_turn_says_which_tools_it_runs() -> None:
    state = session()
    running(state, call("mail"), call("add", done=True))
    assert "Turn `now` since 22:18:04, at step 2: tools: mail — what runs" in lines(state)


def test_a_pause_and_a_close_that_let_the_turn_finish_are_shown_beside_it() -> None:
    state = session()
    running(state)
    state.paused, state.closing = True, "park"
    assert lines(state)[0].startswith("**running** · paused · closing · agent `desk`")
    state.turn, state.closing = None, None
    assert lines(state)[0].startswith("**paused** · agent `desk`")
    state.closing, state.closed = "park", True
    assert lines(state)[0].startswith("**closed** · paused · agent `desk`")


@pytest.mark.promise("ACC-5", "ORD-5")
def test_the_limits_stand_beside_what_is_used_of_them() -> None:
    state = session(gap_timeout=60)
    for number in range(3):
        send(state, f"q{number}", size=1_000)
    send(state, "h7", source="hook", sequence=7, size=1_100)
    assert limits(state) == (
        "Limits: waiting 4 of 1,000 events, 4 of 512 KiB (then `busy_reply`) · held 1 of 100 (then `reject`)"
    )


@pytest.mark.promise("ACC-5", "ORD-7")
def test_quota_rate_and_expiry_are_shown_where_they_are_set() -> None:
    policy = {"capacity": 50, "capacity_bytes": 1_536, "overflow": "reject", "hold_overflow": "release"}
    state = session(**policy, source_quota=5, rate=0.5, burst=1, expires_after=600)
    send(state, "e1")
    quiet = limits(state)
    assert quiet == (
        "Limits: waiting 1 of 50 events, 0.1 of 1.5 KiB (then `reject`) · held 0 of 100 (then `release`)"
        " · 5 of one source · rate 0.5/s, burst 1 · expire after 600 s"
    )
    state.inbox.take(NOW, state.inbox_policy())
    assert "rate 0.5/s, burst 1, next turn at 22:18:06 ·" in limits(state)


@pytest.mark.promise("ORD-3")
def test_what_waits_is_shown_with_id_time_source_sequence_and_what_it_waits_for() -> None:
    state = session(gap_timeout=60)
    send(state, "slack:1", source="slack", content="where | is\nit?")
    for number in (7, 8):
        send(state, f"h{number}", source="hook", sequence=number, at=NOW + 1)
    assert rows(state, "waiting") == [["`slack:1`", "22:18:04", "slack", "", "where \\| is it?"]]
    assert rows(state, "held") == [
        [f"`h{number}`", "22:18:05", "hook", f"{number}", "0 to 6 of hook"] for number in (7, 8)
    ]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("![x](https://evil.example/?q=secret)", "!\\[x\\]\\(https\\://evil.example/?q=secret\\)"),
        ("[sign in](//evil.example)", "\\[sign in\\]\\(//evil.example\\)"),
        ("see https://evil.example", "see https\\://evil.example"),
        ("WWW.evil.example", "WWW\\.evil.example"),
        ("<img src=x>", "\\<img src=x\\>"),
        ("a@evil.example", "a\\@evil.example"),
        ("**bold** _it_ `code` ~~no~~ # x", "\\*\\*bold\\*\\* \\_it\\_ \\`code\\` \\~\\~no\\~\\~ \\# x"),
        ("&lt;b&gt; back\\slash", "\\&lt;b\\&gt; back\\\\slash"),
        ("a\r\n| b |", "a \\| b \\|"),
    ],
)
def test_a_preview_is_text_and_no_markdown(said: str, shown: str) -> None:
    state = session()
    send(state, "e1", content=said)
    running(state)
    assert state.turn is not None
    state.turn.preview = said
    assert shown in details(state, NOW)
    assert f"— {shown}" in details(state, NOW)


def test_a_held_event_that_was_cancelled_is_not_shown() -> None:
    state = session(gap_timeout=60)
    for number in (7, 8):
        send(state, f"h{number}", source="hook", sequence=number)
    assert state.inbox.cancel("h7", NOW, None, state.inbox_policy())
    assert [row[0] for row in rows(state, "held")] == ["`h8`"]


def test_a_time_of_another_day_has_its_date() -> None:
    state = session()
    send(state, "old", at=NOW - 86_400)
    send(state, "new", at=NOW)
    assert [row[1] for row in rows(state, "waiting")] == ["2025-11-19 22:18:04", "22:18:04"]


@pytest.mark.parametrize(("total", "last"), [(20, "`e19`"), (21, "… and 1 more"), (1_000, "… and 980 more")])
def test_what_does_not_fit_is_counted(total: int, last: str) -> None:
    state = session()
    for number in range(total):
        send(state, f"e{number}")
    shown = rows(state, "waiting")
    assert [row[0] for row in shown[:SHOWN_EVENTS]] == [f"`e{number}`" for number in range(SHOWN_EVENTS)]
    assert shown[-1][0] == last


def test_held_and_parked_events_that_do_not_fit_are_counted_too() -> None:
    state = session(gap_timeout=60)
    for number in range(25):
        send(state, f"h{number}", source="hook", sequence=number + 1)
    for number in range(150):
        state.inbox.park_invalid(f"bad{number}", "no event", NOW)
    assert rows(state, "held")[-1][0] == "… and 5 more"
    parked = rows(state, "parked")
    assert [row[0] for row in parked[:2]] == ["`bad149`", "`bad148`"], "the latest first"
    assert parked[-1][0] == "… and 130 more", "also those of which only the journal knows"


@pytest.mark.promise("ACC-7")
def test_parked_events_are_shown_with_their_errors() -> None:
    state = session()
    state.inbox.endings.park(ParkedEvent(turn="e1~2", error="400 | bad\nrequest" + "!" * 300, at=NOW))
    [row] = rows(state, "parked")
    assert row[:2] == ["`e1~2`", "22:18:04"]
    assert row[2].startswith("400 \\| bad request!!!")
    assert len(row[2]) < 250


def test_only_what_is_shown_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    state = session()
    for number in range(1_000):
        send(state, f"e{number}")
    row = Mock(wraps=details_module._row)
    monkeypatch.setattr(details_module, "_row", row)
    details(state, NOW)
    assert row.call_count == SHOWN_EVENTS


@pytest.mark.promise("ORD-5")
def test_the_command_line_shows_the_hold_buffers_limit_too() -> None:
    held = [{"event_id": f"h{number}", "source": "hook", "sequence": number} for number in (7, 8)]
    policy = InboxPolicy(hold_capacity=5).model_dump(mode="json", exclude_none=True)
    status = SessionStatus.model_validate({"state": "idle", "held": held, "limits": policy})
    assert _limits(status) == "2 of 1000 events · 0 of 524288 bytes · 2 of 5 held"

"""Of several troubles of a session the one is named that has to be mended first, with what to do."""

from __future__ import annotations

from typing import get_args

import pytest

from inturn import names
from inturn.client.health import Signs, explain, judge
from inturn.values import Health, SessionStatus, TurnProgress

BEHIND = (names.JOURNAL_BEHIND,)


@pytest.mark.promise("SUR-12")
@pytest.mark.parametrize(
    ("signs", "health"),
    [
        (Signs(), "ok"),
        (Signs(failures=(names.OUTAGE, names.NOT_YET)), "ok"),
        (Signs(failures=(names.ACCOUNT,)), "account"),
        (Signs(failures=(names.ACCOUNT, *BEHIND)), "journal_behind"),
        (Signs(answers=False), "no_worker"),
        (Signs(answers=False, failures=BEHIND), "journal_behind"),
        (Signs(lost=["e1"], failures=BEHIND), "journal_behind"),
        (Signs(lost=["e1"]), "content_lost"),
        (Signs(answers=False, failures=BEHIND, polled=False), "no_worker"),
        (Signs(answers=False, failing=True, failures=BEHIND), "task_failing"),
        (Signs(answers=False, failing=True, polled=False), "no_worker"),
        (Signs(left=("e1",), answers=False, failing=True, failures=BEHIND), "ended"),
        (Signs(left=(), answers=False, failing=True), "ok"),
    ],
)
def test_the_first_trouble_to_be_mended_is_named(signs: Signs, health: Health) -> None:
    assert judge(signs) == health


@pytest.mark.promise("SUR-12")
@pytest.mark.parametrize("health", get_args(Health))
def test_each_trouble_says_what_why_and_what_to_do(health: Health) -> None:
    text = explain(SessionStatus(state="running", health=health))
    if health == "ok":
        assert text is None
    else:
        assert text
        assert "To do: " in text
        assert len(text) < 400


@pytest.mark.promise("SUR-12")
def test_what_the_step_says_itself_is_shown_instead_of_the_general_reason() -> None:
    turn = TurnProgress(event_id="e1", step=0, doing="call_model", waiting_for="the journal here ends at entry 3")
    text = explain(SessionStatus(state="running", health="journal_behind", turn=turn))
    assert text
    assert "the journal here ends at entry 3" in text
    assert "is another than" not in text

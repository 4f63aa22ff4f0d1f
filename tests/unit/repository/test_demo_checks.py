"""The demo's checks hold where all went well, and can fail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples.demo.checks import Evidence, Verdict
from examples.demo.incidents import Kill
from examples.demo.measures import Seen
from examples.demo.producers import Sent
from examples.shop import Shop
from inturn import Audit, Entry, Receipt
from inturn.keys import StepKey

KEY = "default/s/b/0/0"


def good(shop: Shop) -> Verdict:
    """A session in which all went well: an event; then another, sent twice, with a refund cut off and approved."""
    shop.stock()
    shop.refund("1002", 100, key=KEY)
    with shop._open() as db:
        db.execute("INSERT INTO requests SELECT at, 0, action, key FROM requests")  # by the worker that was killed
    sent = Sent()
    for event_id in ("a", "b"):
        sent.acknowledged("slack", "s", event_id)
    sent.acknowledged("slack", "s", "b", Receipt(event_id="b", status="duplicate"))
    entries = [
        *(_entry(kind, "a") for kind in ("user.message", "turn.started", "turn.completed")),
        *(_entry(kind, "b") for kind in ("user.message", "turn.started")),
        _entry("agent.tool_result", "b", step="0/0", call_id="c", tool="refund", status="ok"),
        _entry("turn.completed", "b"),
    ]
    transcript = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]},
    ]
    seen = Seen(model_calls=3, at_once=1, scheduled={KEY: 20}, controls=[10])
    evidence = Evidence("s", entries, Audit(ok=True, accepted=2, counts={}), transcript, seen)
    kill = Kill(step=StepKey.parse(KEY), recovered=1.0)
    return Verdict(sent, [evidence], shop, kill, ["c"], {"send": 10, "ask": 11})


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks() if not check.ok}


def test_the_checks_hold_where_all_went_well(tmp_path: Path) -> None:
    assert failed(good(Shop(tmp_path / "shop.sqlite"))) == set()


def _lose_an_answer(verdict: Verdict) -> None:
    verdict.evidence[0].entries.pop(2)


def _start_a_turn_twice(verdict: Verdict) -> None:
    verdict.evidence[0].entries += [_entry("turn.started", "a"), _entry("turn.completed", "a")]


def _swap_two_turns(verdict: Verdict) -> None:
    entries = verdict.evidence[0].entries
    entries[:] = entries[3:] + entries[:3]


def _overlap_model_calls(verdict: Verdict) -> None:
    verdict.evidence[0].seen.at_once = 2


def _book_twice(verdict: Verdict) -> None:
    verdict.shop.refund("1002", 1, key=KEY + "x")


def _kill_nobody(verdict: Verdict) -> None:
    verdict.kill = Kill()


def _refund_before_the_yes(verdict: Verdict) -> None:
    verdict.evidence[0].seen.scheduled[KEY] = 5


def _drop_a_result(verdict: Verdict) -> None:
    verdict.evidence[0].transcript.pop()


def _fail_the_audit(verdict: Verdict) -> None:
    verdict.evidence[0].audit = Audit(ok=False, accepted=2, counts={}, differences=("lost one",))


def _cost_more(verdict: Verdict) -> None:
    verdict.costs["send"] = 11


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (_lose_an_answer, "accepted means answered"),
        (_start_a_turn_twice, "the same event twice is one turn"),
        (_swap_two_turns, "order of every producer"),
        (_overlap_model_calls, "one turn at a time per session"),
        (_book_twice, "every effect exactly once"),
        (_kill_nobody, "a kill in mid-turn loses nothing"),
        (_refund_before_the_yes, "a large refund waits for a person"),
        (_drop_a_result, "transcripts the API accepts"),
        (_fail_the_audit, "audit: nothing lost or repeated"),
        (_cost_more, "history events of a plain turn"),
    ],
)
def test_a_broken_promise_is_found(tmp_path: Path, harm: Callable[[Verdict], None], name: str) -> None:
    verdict = good(Shop(tmp_path / "shop.sqlite"))
    harm(verdict)
    assert name in failed(verdict)


def _entry(kind: str, event_id: str, *, step: str | None = None, **body: str) -> Entry:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Entry(seq=1, type=kind, event_id=event_id, step=step, at=at, body=body, hash="", prev="")

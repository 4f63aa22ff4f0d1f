"""An event's life is what the table says: the inbox makes each of its moves, and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import Arrival
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.lifecycle import ARRIVES, MOVES
from tests.property.exploring import explore

FINAL = {move.after for move in MOVES} - {"held", "pending", "running"}
TABLE = {(move.before, move.after) for move in MOVES}
Patched = Callable[..., Any]


class Watch:
    """Sees each move of each event, by what the dedup window and the books are told of it."""

    def __init__(self) -> None:
        self.moves: set[tuple[str, str]] = set()
        self.stands: dict[tuple[str, str], str] = {}
        self.arriving: dict[tuple[str, str], str] = {}

    def noted(self, window: DedupWindow, event_id: str, standing: str) -> None:
        key = (f"{id(self)}{window.salt}", event_id)
        if key in self.arriving:
            self.arriving[key] = standing  # what it is when `admit` is done counts
            return
        before = self.stands.get(key)
        if before is not None and before != standing:
            self.moves.add((before, standing))
        self.stands[key] = standing

    def admitting(self, admit: Patched) -> Patched:
        def watched(inbox: Inbox, arrival: Arrival, *rest: Any, **named: Any) -> Any:
            key = (f"{id(self)}{inbox.dedup.salt}", arrival.event_id)
            known = inbox.ids.of(arrival, named.get("running", ())) is not None
            if not known:
                self.arriving[key] = ""
            admission = admit(inbox, arrival, *rest, **named)
            if not known:
                self.stands[key] = self.arriving.pop(key)
                self.moves.add((ARRIVES, self.stands[key]))
            return admission

        return watched

    def after(self, method: Patched, standing: str) -> Patched:
        """Take what a method says of an id for its standing."""

        def watched(window: DedupWindow, event_id: str, *rest: Any) -> Any:
            self.noted(window, event_id, rest[0] if rest else standing)
            return method(window, event_id, *rest)

        return watched


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch()

    def rejecting(reject: Patched) -> Patched:
        def watched(*arguments: Any) -> Any:
            made.moves.add((ARRIVES, "rejected"))
            return reject(*arguments)

        return watched

    def fresh(add: Patched) -> Patched:
        def watched(window: DedupWindow, event_id: str, standing: str, *number: int) -> Any:
            key = (f"{id(made)}{window.salt}", event_id)
            if not standing:  # another id of one
                return add(window, event_id, standing, *number)
            made.stands.pop(key, None)  # it comes anew
            if key in made.arriving:
                made.arriving[key] = standing
            else:
                made.moves.add((ARRIVES, standing))
                made.stands[key] = standing
            return add(window, event_id, standing, *number)

        return watched

    monkeypatch.setattr(DedupWindow, "add", fresh(DedupWindow.add))
    monkeypatch.setattr(DedupWindow, "note", made.after(DedupWindow.note, ""))
    monkeypatch.setattr(DedupWindow, "forget", made.after(DedupWindow.forget, "rejected"))
    monkeypatch.setattr(Inbox, "admit", made.admitting(Inbox.admit))
    monkeypatch.setattr(Inbox, "reject", rejecting(Inbox.reject))
    return made


@pytest.mark.promise("ACC-8")
@pytest.mark.timeout(120)
def test_the_inbox_makes_the_moves_of_the_table_and_no_other(watch: Watch) -> None:
    start = 1_000
    while not watch.moves >= TABLE and start < 1_020:
        # Each example begins with another inbox, under the same salt.
        watch.stands.clear()
        explore(40, 60, start=start)
        start += 1
    assert TABLE - watch.moves == set(), "moves of the table that the inbox never makes"
    ends = {("running", end) for end in FINAL}  # after a reset, as the journal says
    other = {(before, after) for before, after in watch.moves - TABLE - ends if before != after}
    assert other == set(), "moves that the table does not have"

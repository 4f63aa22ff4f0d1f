"""A tenant's sessions at a glance, and the notes on what was done beside them."""

from __future__ import annotations

from typing import Any

import pytest

from inturn.errors import InvalidEvent
from inturn.journal import Journal, NewEntry, Outcome, Recorded
from inturn.keys import SessionKey, audit_log, is_id
from tests.support.journal import OTHER, SESSION, opening, plain_turn

pytestmark = pytest.mark.usefixtures("store")


async def test_a_look_tells_each_sessions_head_what_runs_and_what_is_parked(journal: Journal) -> None:
    await plain_turn(journal, SESSION, "e1")
    await journal.claim_model(OTHER.turn("e1").step(0), opening("e1"))
    failed = NewEntry("event.parked", {"error": "x"}, "e9", key="e9/parked")
    third, stranger = SessionKey("acme", "s3"), SessionKey("other", "s1")
    await journal.record(third, [Recorded(failed, Outcome("e9", "e9", "parked"))], close=True)
    await plain_turn(journal, stranger, "e1")
    await journal.note("acme", NewEntry("page.login", {"by": "oidc:x#ann"}))
    seen = {glance.session_id: glance for glance in await journal.overview("acme")}
    assert seen.keys() == {"s1", "s2", "s3"}
    assert [(g.head, g.open, g.parked, g.closed) for g in (seen["s1"], seen["s2"], seen["s3"])] == [
        (5, False, 0, False),
        (3, True, 0, False),
        (2, False, 1, True),
    ]
    assert (seen["s2"].type, seen["s2"].event_id) == ("turn.started", "e1")
    assert [glance.session_id for glance in await journal.overview("acme", limit=1)] == ["s3"]
    active = await journal.active("acme", ["s1", "s2", "nobody"])
    assert active == {"s1": seen["s1"].at, "s2": seen["s2"].at}
    assert await journal.active("acme", []) == {}
    assert await journal.overview("nobody") == []


async def test_an_entry_tells_its_own_key_however_it_is_read(journal: Journal) -> None:
    claim = await journal.claim_model(SESSION.turn("e1").step(0), opening("e1"), after=0, types=("turn.started",))
    assert claim.entries is not None
    assert [entry.key for entry in claim.entries] == ["e1/started"]
    assert [entry.key for entry in await journal.read(SESSION)] == ["session", "e1/user", "e1/started"]
    by_key = await journal.entry(SESSION, "e1/user")
    assert by_key is not None
    assert by_key.key == "e1/user"


@pytest.mark.promise("ORD-8")
async def test_notes_are_a_chain_of_their_own_that_no_session_can_be(journal: Journal) -> None:
    await plain_turn(journal, SESSION, "e1")
    assert not is_id(audit_log("acme").session_id)
    note = NewEntry("approval.refused", {"by": "slack:T1:U7", "via": "slack"}, "e1", "0", key="click-7", at=1.0)
    assert await journal.note("acme", note) == 1
    assert await journal.note("acme", note) == 1, "its key counts once"
    assert await journal.note("acme", NewEntry("schedule.put", {"id": "daily"})) == 2
    [first, second] = await journal.read(audit_log("acme"))
    assert (first.type, first.body, first.event_id, first.step) == ("approval.refused", note.body, None, None)
    assert first.at.year > 2000, "when, is not the caller's to say"
    assert second.prev == first.hash
    assert await journal.verify(audit_log("acme")) == []
    assert await journal.read(audit_log("other")) == []
    assert await journal.head(SESSION) == 5


@pytest.mark.promise("SEC-5")
@pytest.mark.parametrize(
    ("tenant", "type_", "body"),
    [
        ("acme", "x" * 65, {}),
        ("acme", "", {}),
        ("acme", "Bad Type", {}),
        ("acme", "a..b", {}),
        ("acme", "a.b\n", {}),
        ("acme", "a.b", {"text": "x" * 9_000}),
        ("acme", "a.b", {"text": "\x01" * 2_000}),
        ("acme", "a.b", {"half": "\ud800"}),
        ("acme", "a.b", {"what": object()}),
        ("no/id", "a.b", {}),
        ("", "a.b", {}),
    ],
)
async def test_what_is_no_small_note_is_refused_and_nothing_written(
    journal: Journal, tenant: str, type_: str, body: dict[str, Any]
) -> None:
    with pytest.raises(InvalidEvent):
        await journal.note(tenant, NewEntry(type_, body))
    assert await journal.head(audit_log(tenant)) == 0

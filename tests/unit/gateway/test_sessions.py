"""`/v1/sessions` over real HTTP: made, sent to, read, steered."""

from __future__ import annotations

import pytest

from inturn.errors import (
    ApprovalConflict,
    Backpressure,
    JournalUnavailable,
    SessionBusy,
    SessionClosed,
    TurnFailed,
    TurnTimeout,
    Unavailable,
)
from inturn.journal import Journal, NewEntry, Recorded
from inturn.keys import SessionKey
from inturn.values import Turn
from tests.support.gateway import Served, Temporal

KEY = SessionKey("acme", "order-17")


async def write(journal: Journal, *entries: NewEntry) -> None:
    await journal.record(KEY, [Recorded(entry) for entry in entries])


def message(event_id: str, text: str = "hi") -> NewEntry:
    return NewEntry("user.message", {"content": text, "source": "client"}, event_id=event_id, key=f"{event_id}/user")


async def test_a_session_is_made_once_and_found_from_then_on(
    served: Served, desk: Temporal, keys: dict[str, str]
) -> None:
    async with served.http(keys["acme"]) as http:
        asked = {"session_id": "order-17", "agent": "support", "environment_id": "env_1"}
        first = await http.post("/v1/sessions", json=asked)
        again = await http.post("/v1/sessions", json=asked)
        shown = await http.get("/v1/sessions/order-17")
        listed = await http.get("/v1/sessions")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == "order-17"
    assert first.json()["agent"]["id"] == "support"
    assert shown.json()["inturn"]["state"] == "idle"
    assert [each["id"] for each in listed.json()["data"]] == ["order-17"]
    assert desk.calls[0] == ("create", "acme", "order-17", {"agent": "support"})


async def test_initial_events_are_taken_in_order_with_the_sessions_metadata(
    served: Served, desk: Temporal, keys: dict[str, str]
) -> None:
    events = [{"type": "user.message", "content": f"{n}", "event_id": f"e{n}"} for n in range(3)]
    async with served.http(keys["acme"]) as http:
        made = await http.post("/v1/sessions", json={"initial_events": events, "metadata": {"to": "desk"}})
    assert made.status_code == 201
    assert [each["id"] for each in made.json()["receipts"]] == ["e0", "e1", "e2"]
    assert [event_id for _, _, event_id in desk.sent()] == ["e0", "e1", "e2"]
    assert all(given["metadata"] == {"to": "desk"} for name, _, _, given in desk.calls if name == "send")


async def test_events_are_accepted_or_durable_as_asked(served: Served, desk: Temporal, keys: dict[str, str]) -> None:
    body = {"events": [{"type": "user.message", "content": [{"type": "text", "text": "a"}], "sequence": 4}]}
    async with served.http(keys["acme"]) as http:
        accepted = await http.post("/v1/sessions/s/events", json=body)
        durable = await http.post("/v1/sessions/s/events", params={"wait": "durable"}, json=body)
    assert (accepted.status_code, durable.status_code) == (202, 202)
    assert accepted.json()["data"][0]["status"] == "accepted"
    assert durable.json()["data"][0]["status"] == "sent"
    assert [name for name, *_ in desk.calls] == ["submit", "send"]
    assert desk.calls[0][3]["sequence"] == 4


async def test_an_idempotency_key_names_the_events_that_have_no_id(
    served: Served, desk: Temporal, keys: dict[str, str]
) -> None:
    body = {"events": [{"type": "user.message", "content": "a"}, {"type": "user.message", "content": "b"}]}
    async with served.http(keys["acme"]) as http:
        for _ in range(2):
            await http.post("/v1/sessions/s/events", json=body, headers={"idempotency-key": "k-1"})
    ids = [event_id for _, _, event_id in desk.sent()]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2
    assert all(event_id.startswith("ik:") for event_id in ids)


async def test_the_first_refusal_ends_a_request_which_says_how_far_it_came(
    served: Served, desk: Temporal, keys: dict[str, str]
) -> None:
    events = [{"type": "user.message", "content": "a", "event_id": f"e{n}"} for n in range(3)]
    events[1]["event_id"] = "no id/"
    async with served.http(keys["acme"]) as http:
        answer = await http.post("/v1/sessions/s/events", json={"events": events})
    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "urn:inturn:error:invalid_event"
    assert problem["index"] == 1
    assert [receipt["id"] for receipt in problem["data"]] == ["e0"]
    assert desk.sent() == [("acme", "s", "e0")]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (SessionClosed("closed"), 410, "session_closed"),
        (SessionBusy("busy", retry_after=2), 409, "session_busy"),
        (Backpressure("full", retry_after=3), 429, "backpressure"),
        (Unavailable("away"), 503, "unavailable"),
        (JournalUnavailable("away"), 503, "journal_unavailable"),
        (ApprovalConflict("denied", answer="denied", by="bo"), 409, "approval_conflict"),
        (RuntimeError("secret"), 500, "internal"),
    ],
)
async def test_each_error_has_its_status_and_its_document(
    served: Served, desk: Temporal, keys: dict[str, str], error: Exception, status: int, kind: str
) -> None:
    desk.raises["submit"] = [error]
    body = {"events": [{"type": "user.message", "content": "a"}]}
    async with served.http(keys["acme"]) as http:
        answer = await http.post("/v1/sessions/s/events", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:inturn:error:{kind}"
    assert ("retry-after" in answer.headers) == (status in (429, 503) or kind == "session_busy")
    assert "secret" not in answer.text


async def test_controls_reach_the_session_and_say_whether_there_was_something_to_do(
    served: Served, desk: Temporal, keys: dict[str, str]
) -> None:
    desk.known.add(SessionKey("acme", "s"))
    events: list[dict[str, object]] = [
        {"type": "user.interrupt", "clear_queue": True},
        {"type": "inturn.cancel", "event_id": "e"},
        {"type": "inturn.pause"},
        {"type": "inturn.resume"},
        {"type": "inturn.redrive", "event_id": "e", "force": True},
        {"type": "inturn.discard", "event_id": "e"},
        {"type": "inturn.settle", "call": "acme/s/e/0/0", "done": True},
        {"type": "user.tool_confirmation", "tool_use_id": "call:0123456789ab", "result": "allow"},
        {"type": "inturn.close"},
    ]
    async with served.http(keys["acme"]) as http:
        answer = await http.post("/v1/sessions/s/events", json={"events": events})
    assert answer.status_code == 202
    assert [name for name, *_ in desk.calls] == [
        *("interrupt", "cancel", "pause", "resume", "redrive", "discard", "settle", "approve", "close"),
    ]
    approved = next(given for name, _, _, given in desk.calls if name == "approve")
    assert approved["approval_id"] == "call:0123456789ab"
    assert approved["by"].startswith("key:ik_")


async def test_a_confirmation_names_the_call_as_the_stream_did(
    served: Served, desk: Temporal, keys: dict[str, str], journal: Journal
) -> None:
    desk.known.add(KEY)
    asked = {"approval_id": "c1:00ff00ff00ff", "call_id": "c1", "tool": "refund"}
    await write(
        journal,
        message("e1"),
        NewEntry(
            "agent.tool_use",
            {"call_id": "c1", "tool": "refund", "args": {}},
            event_id="e1",
            step="0/0",
            key="e1/0/0/use",
        ),
        NewEntry("approval.requested", asked, event_id="e1", step="0/0", key="e1/0/0/requested"),
    )
    async with served.http(keys["acme"]) as http:
        listed = (await http.get("/v1/sessions/order-17/events")).json()["data"]
        use = next(event for event in listed if event["type"] == "agent.tool_use")
        idle = next(event for event in listed if event["type"] == "session.status_idle")
        said = {"type": "user.tool_confirmation", "tool_use_id": use["id"], "result": "deny", "deny_message": "no"}
        answer = await http.post("/v1/sessions/order-17/events", json={"events": [said]})
        strange = {**said, "tool_use_id": "e1/0/7/use"}
        unknown = await http.post("/v1/sessions/order-17/events", json={"events": [strange]})
        by_path = await http.post(f"/v1/sessions/order-17/approvals/{use['id']}", json={"result": "deny"})
    assert idle["stop_reason"] == {"type": "requires_action", "event_ids": [use["id"]]}
    assert answer.status_code == 202
    assert by_path.status_code == 200
    assert [given["approval_id"] for name, *_, given in desk.calls if name == "deny"] == ["c1:00ff00ff00ff"] * 2
    assert unknown.status_code == 422


@pytest.mark.promise("EFF-7")
async def test_a_confirmation_of_a_call_answers_none_that_a_redrive_makes_with_other_arguments(
    served: Served, desk: Temporal, keys: dict[str, str], journal: Journal
) -> None:
    desk.known.add(KEY)

    def asked(approval_id: str, key: str) -> NewEntry:
        return NewEntry("approval.requested", {"approval_id": approval_id}, event_id="e1", step="0/0", key=key)

    said = {"type": "user.tool_confirmation", "tool_use_id": "e1/0/0/use", "result": "allow"}
    async with served.http(keys["acme"]) as http:
        await write(journal, message("e1"), asked("c1:00ff00ff00ff", "e1"), asked("c2:00ff00ff00ff", "e1~1"))
        again = await http.post("/v1/sessions/order-17/events", json={"events": [said]})
        await write(journal, asked("c3:aaaaaaaaaaaa", "e1~2"))
        other = await http.post("/v1/sessions/order-17/events", json={"events": [said]})
    assert (again.status_code, other.status_code) == (202, 409)
    assert [given["approval_id"] for name, *_, given in desk.calls if name == "approve"] == ["c2:00ff00ff00ff"]


async def test_approvals_are_listed_and_answered(served: Served, desk: Temporal, keys: dict[str, str]) -> None:
    desk.known |= {KEY, SessionKey("other", "theirs")}
    async with served.http(keys["acme"]) as http:
        listed = await http.get("/v1/approvals")
        first = await http.post("/v1/sessions/order-17/approvals/c:1", json={"result": "allow"})
        desk.raises["deny"] = [ApprovalConflict("approved already by bo", answer="approved", by="bo")]
        other = await http.post("/v1/sessions/order-17/approvals/c:1", json={"result": "deny", "message": "no"})
    assert [each["session_id"] for each in listed.json()["data"]] == ["order-17"]
    assert first.json()["result"] == "allow"
    assert (other.status_code, other.json()["answer"], other.json()["by"]) == (409, "approved", "bo")


async def test_a_turn_is_its_answer_its_end_or_still_to_come(
    served: Served, desk: Temporal, keys: dict[str, str]
) -> None:
    desk.known.add(KEY)
    desk.turns["e1"] = Turn(event_id="e1", text="done")
    async with served.http(keys["acme"]) as http:
        answered = await http.get("/v1/sessions/order-17/turns/e1")
        desk.raises["wait"] = [TurnFailed("e2", "parked", "it failed"), TurnTimeout("not yet")]
        parked = await http.get("/v1/sessions/order-17/turns/e2")
        running = await http.get("/v1/sessions/order-17/turns/e3", params={"wait": 1})
        strange = await http.get("/v1/sessions/order-17/turns/no id")
        gone = await http.get("/v1/sessions/order-18/turns/e1")
    assert answered.json()["text"] == "done"
    assert (parked.status_code, parked.json()["disposition"]) == (200, "parked")
    assert (running.status_code, running.headers["retry-after"]) == (202, "1")
    assert (strange.status_code, gone.status_code) == (404, 404)


async def test_events_are_listed_page_by_page_and_others_only_on_request(
    served: Served, desk: Temporal, keys: dict[str, str], journal: Journal
) -> None:
    await write(
        journal,
        message("e1"),
        NewEntry("turn.started", {}, event_id="e1", key="s"),
        NewEntry(
            "agent.message", {"content": "yes", "usage": {"input_tokens": 3}}, event_id="e1", step="0", key="e1/0"
        ),
        NewEntry("turn.completed", {"stop": "end_turn"}, event_id="e1", key="end"),
        NewEntry("session.gap", {}, key="g"),
    )
    async with served.http(keys["acme"]) as http:
        whole = (await http.get("/v1/sessions/order-17/events")).json()
        extra = (await http.get("/v1/sessions/order-17/events", params={"include": "inturn"})).json()
        some = (await http.get("/v1/sessions/order-17/events", params={"types[]": "agent.message"})).json()
        paged, page = list[str](), None
        while True:
            given = {"limit": 1, **({"page": page} if page else {})}
            found = (await http.get("/v1/sessions/order-17/events", params=given)).json()
            paged += [event["id"] for event in found["data"]]
            if (page := found["next_page"]) is None:
                break
    assert [event["type"] for event in whole["data"]] == [
        "user.message",
        "session.status_running",
        "span.model_request_start",
        "span.model_request_end",
        "agent.message",
        "session.status_idle",
    ]
    assert whole["data"][4]["content"] == [{"type": "text", "text": "yes"}]
    assert whole["data"][4]["id"] == "e1/0"
    assert [event["id"] for event in whole["data"]] == paged
    assert [event["type"] for event in some["data"]] == ["agent.message"]
    assert {"inturn.turn.started", "inturn.session.gap"} <= {event["type"] for event in extra["data"]}
    assert [event["seq"] for event in extra["data"] if "seq" in event] == [1, 2, 3, 4, 5]


async def test_views_of_a_session_are_there_and_of_none_are_not(
    served: Served, desk: Temporal, keys: dict[str, str]
) -> None:
    desk.known.add(KEY)
    async with served.http(keys["acme"]) as http:
        for view in ("transcript", "parked", "unknown", "audit", "events"):
            assert (await http.get(f"/v1/sessions/order-17/{view}")).status_code == 200
            assert (await http.get(f"/v1/sessions/order-18/{view}")).status_code == 404

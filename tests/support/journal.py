"""Journals for tests: the entries of a turn as the activities write them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from inturn.journal import Journal, NewEntry, Outcome
from inturn.keys import SessionKey
from inturn.values import Entry
from tests.support.stores import memory

__all__ = ["OTHER", "SESSION", "answer", "applied", "calls", "entry", "memory", "opening", "plain_turn", "result"]

SESSION = SessionKey("acme", "s1")
OTHER = SessionKey("acme", "s2")


def opening(turn: str, content: Any = "hi", *, event_id: str | None = None) -> list[NewEntry]:
    """What a turn begins with."""
    event = event_id or turn.partition("~")[0]
    return [
        NewEntry("session.started", {"agent": "a", "model": "m", "system": "s", "tools": []}, key="session"),
        NewEntry("user.message", {"content": content, "source": "client", "n": 1}, event, key=f"{turn}/user"),
        NewEntry("turn.started", {"n": 1, "turn": turn}, event, key=f"{turn}/started"),
    ]


def answer(turn: str, text: str = "hello", *, step: int = 0) -> list[NewEntry]:
    """What a turn ends with."""
    event = turn.partition("~")[0]
    usage = {"input_tokens": 5, "output_tokens": 2}
    body = {"content": [{"type": "text", "text": text}], "stop": "end_turn", "usage": usage}
    return [
        NewEntry("agent.message", body, event, str(step), f"{turn}/{step}"),
        NewEntry("turn.completed", {"stop": "end_turn", "turn": turn}, event, key=f"{turn}/end"),
    ]


def calls(turn: str, ids: Sequence[str], *, step: int = 0) -> list[NewEntry]:
    """What a step with tool calls ends with."""
    event = turn.partition("~")[0]
    content = [{"type": "tool_use", "id": i, "name": "add", "input": {}} for i in ids]
    return [
        NewEntry(
            "agent.message", {"content": content, "stop": "tool_use", "usage": {}}, event, str(step), f"{turn}/{step}"
        ),
        *(
            NewEntry(
                "agent.tool_use",
                {"call_id": call, "tool": "add", "args": {"n": n}, "index": n},
                event,
                f"{step}/{n}",
                f"{turn}/{step}/{n}/use",
            )
            for n, call in enumerate(ids)
        ),
    ]


def result(turn: str, index: int, call_id: str, text: str = "4", *, step: int = 0) -> NewEntry:
    """A call's result."""
    body = {"call_id": call_id, "tool": "add", "status": "ok", "text": text}
    return NewEntry("agent.tool_result", body, turn.partition("~")[0], f"{step}/{index}", f"{turn}/{step}/{index}")


def applied(turn: str) -> Outcome:
    """The outcome of an answered turn."""
    return Outcome(turn.partition("~")[0], turn, "applied", "end_turn")


async def plain_turn(journal: Journal, session: SessionKey, turn: str, text: str = "hello") -> None:
    """Run a turn's two transactions."""
    step = session.turn(turn).step(0)
    claim = await journal.claim_model(step, opening(turn))
    assert claim.status == "claimed", claim
    await journal.finish(step, claim.token, {"stop": "end_turn"}, answer(turn, text), applied(turn))


def entry(seq: int, type_: str, body: dict[str, Any], event_id: str | None = "e1", step: str | None = None) -> Entry:
    """An entry as a reader gets it."""
    return Entry(seq=seq, type=type_, event_id=event_id, step=step, at=datetime.now(UTC), body=body, hash="h", prev="p")

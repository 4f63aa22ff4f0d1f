"""What an entry says, as blocks: of a user, of a tool, of an answer.

Invariant: whatever an entry holds, its blocks are such as the API takes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from inturn.journal.views.compactions import STANDING
from inturn.journal.views.doubts import LEFT_OUT
from inturn.journal.views.requests import APPLICATION, Said
from inturn.turns import server_blocks
from inturn.turns.answers import THINKING
from inturn.turns.blocks import CONTENT, TEXT, Block, content_blocks, text
from inturn.turns.stop_reasons import PAUSES
from inturn.values import Entry

UNANSWERED: Final = "interrupted: this call has no result"
TOO_MANY: Final = "This call did not run: an answer had more calls than run at once. Make fewer calls in one answer."
NO_MESSAGE: Final = "(no message)"
EMPTY: Final = "(empty)"
STOPPED: Final = f"{APPLICATION}\nYour last answer was stopped before its end. You had said: "
SENDABLE: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})


def left(pending: list[Entry], without: Collection[str]) -> list[Entry]:
    """Return what is pending without that of some events."""
    return [e for e in pending if e.type in STANDING or e.event_id not in without] if without else pending


def without_failed(pending: list[Entry]) -> list[Entry]:
    """Leave out what failed turns take back: what their events, or events that joined them, put in before."""
    kept: list[Entry] = []
    failed: set[str | None] = set()
    for entry in reversed(pending):
        if entry.type == "turn.failed":
            failed |= {entry.event_id, entry.body.get("turn")} - {None}
        elif not is_of(entry, failed):
            kept.append(entry)
    return kept[::-1]


def is_of(entry: Entry, events: set[str | None]) -> bool:
    """Return whether an entry is one of these events', and goes with them."""
    return entry.type not in STANDING and bool(events & {entry.event_id, entry.body.get("turn")})


def result_of(call: str, entry: Entry | None, *, late: bool) -> Said:
    """Return a call's result, or what stands for one; `late`: it did not get to run."""
    block: Block = {"type": "tool_result", "tool_use_id": call}
    if entry is None:
        return {**block, "content": TOO_MANY if late else UNANSWERED, "is_error": True}, None
    body = entry.body
    failed = body.get("status") != "ok"
    # The API takes nothing but text in an error's result.
    content = content_blocks(body.get("content"), TEXT if failed else CONTENT)
    said = str(body.get("text") or "")
    block["content"] = content or (said if said.strip() else EMPTY)
    return {**block, "is_error": True} if failed else block, (entry.seq, 0)


def told(result: Block) -> Block:
    """Return a result as the application's words: its call is said as text."""
    content = result["content"]
    said = content if isinstance(content, str) else " ".join(str(block.get("text", LEFT_OUT)) for block in content)
    return text(f"[From the application: the result of that call] {said}")


def asked_by(entry: Entry) -> list[Said]:
    """Return the blocks of a user's message, or of what is said of an answer that was stopped."""
    if entry.type == "turn.interrupted":
        return [(text(f"{STOPPED}{entry.body['partial']}"), (entry.seq, 0))]
    blocks = content_blocks(entry.body.get("content")) or [text(NO_MESSAGE)]
    return [(block, (entry.seq, n)) for n, block in enumerate(blocks)]


def answered_with(entry: Entry, taken: Collection[str], awaited: Mapping[str, str] | None = None) -> list[Said]:
    """Return the blocks of an answer that can be sent back; of calls with one id the session's first.

    Args:
        entry: The answer.
        taken: The ids of calls so far.
        awaited: Calls of the provider's own that the answer goes on from, without a result yet.
    """
    content = entry.body.get("content")
    content = [text(content)] if isinstance(content, str) else content
    items = cast("list[object]", content) if isinstance(content, list) else []
    said: list[Said] = []
    ids, waits, lost = set(taken), dict(awaited or {}), False
    for n, item in enumerate(items):
        block = cast("Block", item) if isinstance(item, dict) else {}
        kind = block.get("type")
        if server_blocks.is_made(block):
            if server_blocks.is_result(block) and block["tool_use_id"] not in waits:
                lost = True
            else:
                said.append((block, (entry.seq, n)))
            waits = server_blocks.still_open([block], waits)
            continue
        if lost and kind in THINKING:
            continue  # it is bound to what is left out
        if kind not in SENDABLE or (kind == "text" and not str(block.get("text") or "").strip()):
            continue
        if kind == "tool_use":
            if str(block.get("id")) in ids:
                continue
            ids.add(str(block.get("id")))
        said.append((block, (entry.seq, n)))
    return said


def counted(answer: Mapping[str, Any]) -> int | None:
    """Return the tokens of a request and its answer, by its own count; what other attempts used is not of them."""
    usage, failed = answer.get("usage") or {}, answer.get("failed") or {}
    names = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    return sum(int(usage.get(name, 0)) - int(failed.get(name, 0)) for name in names) or None


def goes_back(answer: Mapping[str, Any], content: Sequence[Said]) -> bool:
    """Return whether an answer is sent back as it came; `content`: what of it can be sent."""
    given = answer.get("content")
    whole = not isinstance(given, list) or len(cast("list[object]", given)) == len(content)
    return is_pause(answer) and not answer.get("nudge") and bool(content) and whole


def is_pause(answer: Mapping[str, Any]) -> bool:
    """Return whether the model paused in an answer."""
    stop = answer.get("stop")
    return isinstance(stop, str) and stop in PAUSES


def results_of(
    pending: Iterable[Entry], calls: Iterable[str], *, late: Collection[str], as_text: Collection[str]
) -> list[Said]:
    """Return one result per call, in call order; the first one counts. Behind them those of calls said as text."""
    given: dict[Any, Entry] = {}
    for entry in pending:
        if entry.type == "agent.tool_result":
            given.setdefault(entry.body.get("call_id"), entry)
    made = [result_of(call, given.get(call), late=call in late) for call in calls]
    results = [(block, place) for block, place in made if block["tool_use_id"] not in as_text]
    return results + [(told(block), place) for block, place in made if block["tool_use_id"] in as_text]

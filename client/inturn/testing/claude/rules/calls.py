"""Rules about calls: every call has its one result, in its place."""

from __future__ import annotations

from collections.abc import Sequence

from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.rules.asked import Asked, Turn


def paired(asked: Asked) -> None:
    """Every call has its one result at the start of the next user message, and nothing else has one."""
    seen: set[str] = set()
    open_ids: list[str] = []
    for turn in asked.turns:
        if open_ids:
            _answered(turn, open_ids)
        _results(turn, open_ids)
        open_ids = [b["id"] for b in turn.blocks if b["type"] == "tool_use"]
        if len(set(open_ids)) < len(open_ids) or seen & set(open_ids):
            raise Rejection(f"messages.{turn.at}: `tool_use` ids must be unique")
        seen.update(open_ids)
    if open_ids and not asked.paused:
        raise _orphans(asked.turns[-1].at, open_ids)


def server_calls(asked: Asked) -> None:
    """A call that the API ran has its result behind it in the same answer, where the server did not pause it."""
    for turn in asked.turns:
        if turn.role != "assistant":
            continue
        open_ids: set[str] = set()
        for block in turn.blocks:
            if block["type"] == "server_tool_use":
                open_ids.add(block["id"])
            elif block["type"].endswith("_tool_result"):
                _server_result(block["tool_use_id"], turn, open_ids)
        if open_ids and not (turn is asked.turns[-1] and asked.paused):
            raise Rejection(
                f"messages.{turn.at}: `server_tool_use` ids were found without a corresponding result block: "
                + ", ".join(sorted(open_ids))
            )


def declared(asked: Asked) -> None:
    """Calls are of tools that the request defines, or that this server made up itself."""
    names = {tool.get("name") for tool in asked.body.get("tools") or []}
    for turn in asked.turns:
        for block in turn.blocks:
            if block["type"] != "tool_use" or block.get("toolset_name"):
                continue
            if block["name"] not in names and block["id"] not in asked.memory.invented:
                raise Rejection(
                    f"messages.{turn.at}: `tool_use` of tool '{block['name']}', which `tools` does not define"
                )


def _server_result(call: str, turn: Turn, open_ids: set[str]) -> None:
    if call not in open_ids:
        raise Rejection(f"messages.{turn.at}: unexpected `tool_use_id` found in a server tool's result: {call}")
    open_ids.discard(call)


def _answered(turn: Turn, open_ids: Sequence[str]) -> None:
    leading: list[str] = []
    for block in turn.blocks:
        if block["type"] != "tool_result":
            break
        leading.append(block["tool_use_id"])
    missing = [call for call in open_ids if turn.role != "user" or call not in leading]
    if missing:
        raise _orphans(turn.at - 1, missing)


def _results(turn: Turn, open_ids: Sequence[str]) -> None:
    given = [b["tool_use_id"] for b in turn.blocks if b["type"] == "tool_result"]
    for call in given:
        if call not in open_ids:
            raise Rejection(
                f"messages.{turn.at}: unexpected `tool_use_id` found in `tool_result` blocks: {call}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if given.count(call) > 1:
            raise Rejection(
                f"messages.{turn.at}: each tool_use must have a single result. "
                f"Found multiple `tool_result` blocks with id: {call}"
            )


def _orphans(at: int, calls: Sequence[str]) -> Rejection:
    return Rejection(
        f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(calls)}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )

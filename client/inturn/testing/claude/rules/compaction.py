"""Rules about summaries that the API makes itself (beta)."""

from __future__ import annotations

from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.rules.asked import Asked
from inturn.testing.claude.summaries import summary_of


def allowed(asked: Asked) -> None:
    """A request for a summary asks for nothing else, and a summary stands where the API put it, unaltered."""
    if asked.body.get("compaction"):
        _request(asked)
    _blocks(asked)


def _request(asked: Asked) -> None:
    body, last = asked.body, asked.turns[-1]
    if not asked.facts.compaction:
        raise Rejection("compaction: is not supported on this model")
    for name in ("context_management", "stop_sequences"):
        if body.get(name):
            raise Rejection(f"compaction: cannot be combined with `{name}`")
    if (body.get("output_config") or {}).get("format"):
        raise Rejection("compaction: cannot be combined with `output_config.format`")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise Rejection("compaction: cannot be combined with a `tool_choice` that forces tool use")
    if last.role == "assistant" and any(b["type"] in ("tool_use", "server_tool_use") for b in last.blocks):
        raise Rejection("compaction: the last `assistant` turn has open tool calls", code="compaction_incomplete_turn")
    if all(block["type"] == "compaction" for turn in asked.turns for block in turn.blocks):
        raise Rejection("compaction: nothing to summarize", code="compaction_nothing_to_summarize")


def _blocks(asked: Asked) -> None:
    found = [
        (turn, place, block)
        for number, turn in enumerate(asked.turns)
        for place, block in enumerate(turn.blocks, 0 if number == 0 else 1)
        if block["type"] == "compaction" and block.get("content") is not None
    ]
    if len(found) > 1:
        raise Rejection("messages: more than one `compaction` block", code="compaction_block_ambiguous")
    for turn, place, block in found:
        if place != 0 or turn.role == "system":
            raise Rejection("messages: `compaction` must be the first block", code="compaction_block_misplaced")
        summary = summary_of(block)
        if summary is None:
            raise Rejection("messages: `compaction` signature is invalid", code="compaction_signature_invalid")
        if not summary.says(block["content"]):
            raise Rejection("messages: `compaction` content was altered", code="compaction_content_mismatch")

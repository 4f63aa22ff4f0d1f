"""What stands in the place of a conversation's beginning: `session.compacted`.

Invariant: a conversation is cut directly before an answer, behind what that answered. So what is summarised is a
request that was sent, no call is open in it, and what is kept begins with the model's own words. What holds beyond any
summary (pins, the settled ends of unknown calls, the agent's last change) is said again behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from inturn.journal.views.requests import APPLICATION, NO_ANSWER, SUMMARISED, Part
from inturn.turns.answers import THINKING
from inturn.turns.blocks import Block, text
from inturn.values import Entry

By = Literal["claude", "summary", "cut"]
"""Who made it: the API itself, a request of ours for a summary, or nobody: the beginning is left out."""

STANDING: Final = frozenset({"system.message", "session.pinned", "session.compacted"})
"""The application's words: no failed turn takes them back."""
MAX_RESTATED: Final = 16 * 1024
"""Characters of what is said again beside pins; the latest goes first."""
TAKEN_UP: Final = "I have read the summary and go on from there."
GO_ON: Final = f"{APPLICATION}\nPlease go on from where the summary ends."
_STILL: Final = "What follows was said before it, and still holds:"


@dataclass(frozen=True, slots=True)
class Cut:
    """A place before an answer.

    Attributes:
        at: Which message of what is committed the answer is.
        seq: The answer's entry.
        seen: The seq up to which its request had read.
        event_id: Whose turn it is of.
    """

    at: int
    seq: int
    seen: int
    event_id: str | None


def base_of(entries: Iterable[Entry]) -> int:
    """Return the seq up to which the last compaction that keeps an answer stands for what was said; 0 without one."""
    return max((int(entry.body["seen"]) for entry in entries if entry.body.get("kept_from") is not None), default=0)


def heads(entry: Entry) -> list[Part]:
    """Return the messages that stand in the place of what was left out."""
    body = entry.body
    block: Block = body["block"]
    if body["by"] == "claude":
        return [Part.of("assistant", [(block, (entry.seq, 0))], body.get("model")).committed()]
    said = [part for part in (_told(body), body.get("text")) if part]
    head = Part.of("user", [(text("\n\n".join(said)), (entry.seq, 0))]).committed()
    if body.get("kept_from") is not None:
        return [head]
    return [head, Part.of("assistant", [(text(TAKEN_UP), None)]).committed()]


def _told(body: Mapping[str, Any]) -> str:
    said = str(body["block"].get("text") or "")
    if body["by"] != "cut":
        return SUMMARISED + said
    before, which = (f"{SUMMARISED}{said}\n\n", "later") if said else (f"{APPLICATION}\n", "earlier")
    return f"{before}[{body.get('left_out', 0)} {which} messages were left out; they are in the journal]"


def summary_in(entry: Entry) -> str:
    """Return what a compaction says in the place of what was said."""
    block = entry.body["block"]
    return str(block.get("text") or block.get("content") or "")


def without_thoughts(part: Part) -> Part:
    """Return a message that is bound to nothing before it any more."""
    said = [(block, place) for block, place in part.said if block["type"] not in THINKING]
    if len(said) == len(part.places):
        return part
    made = Part.of(part.message["role"], said or [(text(NO_ANSWER), None)], part.owner).committed()
    return replace(made, provider=part.provider, native=part.native)


def restated(standing: Sequence[Entry], gone: Collection[int], *, since: int | None) -> tuple[list[int], str]:
    """Return which of the application's words are said again, and how.

    Args:
        standing: All that were ever said, in order.
        gone: Those of them that stand in what is left out.
        since: When the agent was frozen last, which its last change since is one of them for; `None`: it is frozen anew
            as it is now.
    """
    changes = [entry for entry in standing if "manifest" in entry.body and since is not None and entry.seq > since]
    pinned = [entry for entry in standing if entry.type == "session.pinned"]
    others = [
        entry for entry in standing if entry.type == "system.message" and not {"manifest", "memory"} & entry.body.keys()
    ]
    kept, room = list[Entry](), MAX_RESTATED
    for entry in reversed(others):
        room -= len(entry.text or "")
        if room >= 0:
            kept.append(entry)
    chosen = [*changes[-1:], *kept[::-1], *pinned]
    again = [entry for entry in chosen if entry.seq in gone and (entry.text or "").strip()]
    if not again:
        return [], ""
    return [entry.seq for entry in again], "\n\n".join([_STILL, *(str(entry.text) for entry in again)])

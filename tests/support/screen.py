"""What a reader shows of answers as they come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Screen:
    """A screen as readers keep it: a start clears what no entry holds, an entry takes the place of its preview.

    Attributes:
        kept: The answers that were recorded.
        starts: The attempts that began, in order.
        whole: What stood there whenever an entry took its place, or an attempt began anew.
        since: What each attempt has said since the last answer.
    """

    kept: list[str] = field(default_factory=list[str])
    starts: list[int] = field(default_factory=list[int])
    whole: list[str] = field(default_factory=list[str])
    since: list[str] = field(default_factory=list[str])
    pieces: int = 0

    @property
    def open(self) -> str:
        """What stands there and no entry holds."""
        return self.since[-1] if self.since else ""

    def take(self, new: dict[str, Any]) -> None:
        """Show an entry or a piece, as JSON."""
        if new.get("kind") == "start":
            self.whole.append(self.open)
            self.starts.append(new["attempt"])
            self.since.append("")
        elif "kind" in new:
            assert new["attempt"] == self.starts[-1]
            self.pieces += 1
            self.since[-1] += new["text"] if new["kind"] == "text" else ""
        elif new["type"] == "agent.message":
            self.whole.append(self.open)
            self.kept.append(said(new["body"]))
            assert all(self.kept[-1].startswith(text) for text in self.since), (self.kept[-1], self.since)
            self.since.clear()


def said(body: dict[str, Any]) -> str:
    """Return the text of an answer's entry."""
    return "".join(block.get("text", "") for block in body["content"])

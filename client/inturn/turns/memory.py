"""What a session's model is shown of its agent's memory, and what it is told of changes.

Invariant: what a session froze of it never changes. Who reads the transcript knows which version of each document the
model was told last; one that somebody else has changed since is told once, at the next turn, as the application's word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import to_json

from inturn import sizes
from inturn.keys import is_id
from inturn.values import Document, DocumentInfo

MOST: Final = 50
"""Documents that a session's model is shown."""
NAMED: Final = 20
"""Others that are named."""
_ABOUT: Final = "Your long-term memory: documents that outlast this conversation, each at a version."
_CHANGED: Final = "Your long-term memory was changed by others. From here on this holds:"
_NONE: Final = "(It is empty.)"

Versions = dict[str, int]
"""By the documents' names."""


def check_patterns(patterns: object) -> tuple[str, ...]:
    """Return the names and prefixes of an agent's memory.

    Raises:
        ValueError: They are none.
    """
    if isinstance(patterns, str) or not isinstance(patterns, Sequence):
        raise ValueError(f"memory={patterns!r:.60} is no list of documents' names, and of prefixes such as 'notes:*'")
    for pattern in patterns:
        if not isinstance(pattern, str) or not (pattern == "*" or is_id(pattern.removesuffix("*"))):
            raise ValueError(
                f"memory= names {pattern!r:.60}, which is no document's name, and no prefix with a * behind"
            )
    if len(patterns) > MOST:
        raise ValueError(f"memory= names {len(patterns)} documents or prefixes: {MOST} are the most")
    return tuple(dict.fromkeys(patterns))


def is_within(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a document is one of an agent's memory."""
    return any(name == p or (p.endswith("*") and name.startswith(p[:-1])) for p in patterns)


@dataclass(frozen=True, slots=True)
class Shown:
    """Which documents a model is shown.

    Attributes:
        kept: Those for which there is room.
        left: The others.
    """

    kept: list[DocumentInfo]
    left: list[DocumentInfo]

    @classmethod
    def of(cls, listed: Iterable[DocumentInfo]) -> Shown:
        """Choose the first ones, as many as there is room for."""
        shown, room = cls([], []), sizes.MEMORY
        for each in listed:
            fits = each.size <= room and len(shown.kept) < MOST
            (shown.kept if fits else shown.left).append(each)
            room -= each.size if fits else 0
        return shown

    def changed(self, told: Mapping[str, int]) -> list[str]:
        """Return the names of those that the model does not know as they are."""
        return [each.name for each in self.kept if told.get(each.name, 0) != each.version]

    def gone(self, told: Mapping[str, int]) -> list[str]:
        """Return the names of those that the model knows, and that were removed."""
        there = {each.name for each in (*self.kept, *self.left)}
        return sorted(name for name, version in told.items() if version and name not in there)

    def unshown(self, told: Mapping[str, int]) -> list[DocumentInfo]:
        """Return those that the model knows at another version, and for which there is no room any more."""
        return [each for each in self.left if told.get(each.name, each.version) != each.version]


def frozen(documents: Sequence[Document], left: Sequence[DocumentInfo]) -> dict[str, Any]:
    """Return what a session freezes of its agent's memory: the text behind its instructions, and the versions."""
    parts = [_ABOUT, *([_said(each) for each in documents] or [_NONE])]
    if left:
        named = ", ".join(each.name for each in left[:NAMED])
        more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        parts.append(f"(There is no room to show these: {named}{more}.)")
    return {"text": "\n\n".join(parts), "versions": {each.name: each.version for each in documents}}


def notice(documents: Sequence[Document], gone: Sequence[str], unshown: Sequence[DocumentInfo]) -> dict[str, Any]:
    """Return the body of the `system.message` that tells the model what others changed."""
    lines = [_CHANGED, *(_said(each) for each in documents)]
    lines += [f"The document {name} was removed." for name in gone]
    lines += [
        f"The document {each.name} is at version {each.version}; there is no room to show it." for each in unshown
    ]
    versions = {each.name: each.version for each in (*documents, *unshown)} | dict.fromkeys(gone, 0)
    return {"text": "\n\n".join(lines), "memory": versions}


def name_of(body: Mapping[str, Any]) -> str:
    """Return a name by which the same notice is the same."""
    return hashlib.sha256(to_json(body["memory"])).hexdigest()[:12]


def system_of(manifest: Mapping[str, Any] | None) -> str:
    """Return the system prompt of a session: its instructions, and what it froze of its memory behind them."""
    said = manifest or {}
    memory = said.get("memory") or {}
    return "\n\n".join(part for part in (said.get("system"), memory.get("text")) if part)


def _said(document: Document) -> str:
    text = document.text.replace("</document", "<\\/document")
    return f'<document name="{document.name}" version="{document.version}">\n{text}\n</document>'

"""Triggers: how each kind of fault was seen once, the tests that prove it mended, and the mend taken out again.

Invariant: a test proves nothing that passes without the mend; so each trigger says which line decides, and which test
fails once that line is as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TESTS: Final = ROOT / "tests"


@dataclass(frozen=True, slots=True)
class Edit:
    """A text in the place of another.

    Attributes:
        file: Where the mend stands, from the root.
        mend: The text that decides; it stands there once.
        bug: What stands in its place without the mend.
    """

    file: str
    mend: str
    bug: str

    def applied(self, text: str) -> str:
        """Return a file's text without the mend.

        Raises:
            ValueError: The mend does not stand there, or in several places.
        """
        if (count := text.count(self.mend)) != 1:
            raise ValueError(f"{self.mend!r} stands {count} times in {self.file}")
        return text.replace(self.mend, self.bug)


@dataclass(frozen=True, slots=True)
class Plant:
    """A mend taken out: `edit`, and `also` what would still do the same.

    Attributes:
        fails: The trigger's test that must fail then.
    """

    fails: str
    edit: Edit
    also: tuple[Edit, ...] = ()

    @property
    def edits(self) -> tuple[Edit, ...]:
        """All that is changed."""
        return (self.edit, *self.also)

    def sources(self) -> dict[Path, str]:
        """Return the files without the mend, each with its text.

        Raises:
            ValueError: Some of it does not stand where it is said to, once.
        """
        made: dict[Path, str] = {}
        for edit in self.edits:
            path = ROOT / edit.file
            made[path] = edit.applied(made.get(path) or path.read_text())
        return made


@dataclass(frozen=True, slots=True)
class Trigger:
    """One way in which a kind of fault was seen.

    Attributes:
        name: What it is called: A1, B2, …
        says: What happened.
        tests: Tests of its kind, three or more, by file below `tests`.
        plants: Its mends, taken out.
    """

    name: str
    says: str
    tests: Mapping[str, Sequence[str]]
    plants: Sequence[Plant]

    @property
    def nodes(self) -> list[str]:
        """How pytest calls its tests."""
        return [f"tests/{file}::test_{test}" for file, names in self.tests.items() for test in names]

    def node(self, test: str) -> str:
        """Return how pytest calls one of its tests."""
        (node,) = (node for node in self.nodes if node.endswith(f"::test_{test}"))
        return node

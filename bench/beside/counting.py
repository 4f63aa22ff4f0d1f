"""What is counted, out of what the stubs wrote down and of what conversations hold.

Invariant: pure functions; nothing here knows which way it counts.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def overlaps(calls: Sequence[Line]) -> int:
    """Count the model calls of one session that began while another one ran."""
    running = found = 0
    for line in sorted(calls, key=lambda line: float(line["at"])):
        if line["what"] == "begin":
            found += running > 0
            running += 1
        else:
            running -= 1
    return found


def late(sent: Sequence[str], answered: Sequence[str]) -> int:
    """Count the events that were answered after one that was sent later."""
    place = {event: n for n, event in enumerate(sent)}
    order = [place[event] for event in answered]
    return sum(any(before > own for before in order[:n]) for n, own in enumerate(order))


def answered(answers: Iterable[str], sent: Sequence[str]) -> list[str]:
    """Return the events that a conversation's answers belong to, in their order: an answer ends with its event's id."""
    known = set(sent)
    return [event for text in answers if (event := text.rpartition(" ")[2]) in known]


def lost(sent: Sequence[str], found: Iterable[str]) -> int:
    """Count the events that have no answer."""
    return len(set(sent) - set(found))


def repeated(found: Iterable[str]) -> int:
    """Count what is there beyond once: of five, one of them twice, this is 1."""
    return sum(count - 1 for count in Counter(found).values())


def repeated_keys(effects: Sequence[Line]) -> int:
    """Count the effects beyond one for each event where the other side takes each key once."""
    taken = {(line["event"], line["key"] or f"without {n}") for n, line in enumerate(effects)}
    return repeated(event for event, _ in taken)


def code_lines(*paths: Path, only: str | None = None) -> int:
    """Count the lines of code of files (or of one class in them), without comments and docstrings."""
    trees: list[ast.AST] = [ast.parse(path.read_text()) for path in paths]
    if only:
        trees = [
            node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == only
        ]
    return sum(map(_lines, trees))


def _lines(tree: ast.AST) -> int:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _text(body[0].value):
            body[0].value = ast.Constant(...)  # a body must not be empty
    return sum(bool(line.strip()) and line.strip() != "..." for line in ast.unparse(tree).splitlines())


def _text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)

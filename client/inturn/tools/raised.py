"""What users' code raised, as an error that can be asked for its text anywhere.

Invariant: what an error says is worked out where its author's code may run: in a thread, within a call's time. On the
event loop nothing of it is asked that could block, and no text is looked at that is longer than anybody reads.
"""

from __future__ import annotations

import traceback
from itertools import islice
from types import WrapperDescriptorType
from typing import Any, Final

from inturn.errors import Retry, ToolError
from inturn.turns.call_results import leaves, text_of

MOST: Final = 20
"""Errors that are looked at: causes, and those of a group."""
LONG: Final = 16 * 1024
"""Characters of a text, or of a traceback, that are kept beside what a model is told."""


def is_plain(error: BaseException) -> bool:
    """Whether asking an error, or what it came of, for its text costs nothing and runs nobody's code."""
    left, seen = [error], 0
    try:
        while left:
            each, seen = left.pop(), seen + 1
            if seen > MOST or not _says_itself(each):
                return False
            left += [other for other in (each.__cause__, each.__context__) if other is not None]
            left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
    except Exception:  # an attribute of its author's
        return False
    return True


def settled(error: BaseException) -> BaseException:
    """Return an error of the same meaning that is plain; this asks it all it has to say. For a thread."""
    if is_plain(error) or not isinstance(error, Exception):
        return error
    try:
        made = _same(error)
        trace = _trace(error)
    except Exception:  # of an error that fails to be one, its kind is left
        return unsaid(error)
    made.add_note(trace if len(trace) <= LONG else trace[: trace.rfind("\n", 0, LONG) + 1] + "…")
    return made


def unsaid(error: BaseException) -> BaseException:
    """Return an error of the same kind without a text."""
    kinds: tuple[type[Exception], ...] = (ToolError, Retry, TimeoutError)
    return next((kind("") for kind in kinds if isinstance(error, kind)), _named(error, ""))


def _trace(error: BaseException) -> str:
    """Return where an error and what it came of were raised, the first few of them.

    `traceback` makes an object for each of them and of a group, however many: the interpreter stands still when it
    counts those.
    """
    shown, each = list[str](), error
    while len(shown) < MOST:
        some = [each, *islice(leaves(each), MOST)] if isinstance(each, BaseExceptionGroup) else [each]
        shown.insert(0, "".join(map(_raised, some)))
        cause = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        if cause is None:
            break
        each = cause
    return "Traceback (most recent call last):\n" + "\nwhich was the cause of, or came before:\n\n".join(shown)


def _raised(error: BaseException) -> str:
    where = "".join(traceback.format_tb(error.__traceback__))
    notes = [note for note in islice(getattr(error, "__notes__", ()), MOST) if isinstance(note, str)]
    said = "\n".join(text[:LONG] for text in (f"{type(error).__name__}: {text_of(error)}", *notes))
    return f"{where}{said}\n"


def _same(error: Exception) -> Exception:
    if isinstance(error, ExceptionGroup):
        some = [inner for inner in map(settled, islice(leaves(error), MOST)) if isinstance(inner, Exception)]
        return ExceptionGroup(str(error.message)[:LONG], some)
    text = text_of(error)
    if isinstance(error, ToolError):
        return ToolError(text)
    if isinstance(error, Retry):
        return Retry(text, after=error.after)
    return TimeoutError(text[:LONG]) if isinstance(error, TimeoutError) else _named(error, text[:LONG])


def _named(error: BaseException, text: str) -> Exception:
    kind: type[Exception] = type(type(error).__name__, (Exception,), {})
    return kind(text)


def _says_itself(error: BaseException) -> bool:
    """Whether an error's class leaves to Python what it says, of few and plain values."""
    said = isinstance(type(error).__str__, WrapperDescriptorType) and not getattr(error, "__notes__", None)
    return said and all(map(_is_short, error.args))


def _is_short(value: Any) -> bool:
    if isinstance(value, list):  # of a group
        return type(value) is list and all(isinstance(inner, BaseException) for inner in islice(value, MOST))
    if type(value) is str or type(value) is bytes:
        return len(value) <= LONG
    return value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < 2**64)

"""An error of users' code is settled as one of the same meaning, and a plain one stays what it is."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable

import pytest

from inturn.errors import JournalUnavailable, Retry, ToolError
from inturn.journal import Superseded
from inturn.tools import raised
from inturn.tools.raised import LONG, MOST, is_plain, settled
from inturn.turns.call_results import FailedAttempt, describe, interpret_error, text_of

pytestmark = pytest.mark.promise("SUR-17", "EFF-4")

PLAIN = [
    ToolError("no such order"),
    Retry("busy", after=3),
    Superseded("lost"),
    JournalUnavailable("away"),
    KeyError("a"),
    OSError(28, "No space left", "/x"),
    TimeoutError(),
    ExceptionGroup("both", [ToolError("a"), ValueError("b")]),
    UnicodeDecodeError("utf8", b"x", 0, 1, "odd"),
    asyncio.CancelledError(),
    SystemExit(3),
]


@pytest.mark.parametrize("error", PLAIN, ids=lambda error: type(error).__name__)
def test_a_plain_error_stays_what_it_is(error: BaseException) -> None:
    assert is_plain(error)
    assert settled(error) is error


class Told(ToolError):
    """Words its text itself."""

    def __str__(self) -> str:
        return "no such order: " + "x" * 2 * LONG


class Asked(Retry):
    """The same, of a retry."""

    def __str__(self) -> str:
        return "busy"


class Odd(Exception):
    """The same, of any other."""

    def __str__(self) -> str:
        return "y" * 2 * LONG


def test_what_a_tool_tells_the_model_is_told_whole() -> None:
    made = settled(Told())
    assert isinstance(made, ToolError)
    assert is_plain(ToolError("short"))
    assert str(made) == str(Told())


def test_a_retry_is_one_with_its_delay() -> None:
    ended = interpret_error(settled(Asked(after=7)), idempotent=False)
    assert ended == FailedAttempt("busy", after=7, clean=True)


def test_another_error_keeps_its_name_and_the_start_of_its_text() -> None:
    error = Odd()
    error.__cause__ = ValueError("why")
    made = settled(error)
    assert describe(made) == describe(error)
    assert len(str(made)) == LONG
    assert "ValueError: why" in made.__notes__[0]


def test_what_a_tool_told_within_a_group_is_found_in_it() -> None:
    made = settled(ExceptionGroup("both", [Told(), Odd()]))
    assert isinstance(made, ExceptionGroup)
    assert [type(inner).__name__ for inner in made.exceptions] == ["ToolError", "Odd"]


def _wide() -> Exception:
    return ExceptionGroup("many", [ValueError(str(n)) for n in range(5_000)])


def _long() -> Exception:
    error = Exception("first")
    for n in range(5_000):
        after = Exception(str(n))
        after.__cause__, error = error, after
    return error


def _circle() -> Exception:
    error, other = Exception("one"), Exception("other")
    error.__cause__, other.__cause__ = other, error
    return error


@pytest.mark.parametrize("made", [_wide, _long, _circle])
def test_of_an_error_that_came_of_many_the_first_few_are_looked_at(
    made: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[BaseException] = []

    def text(error: BaseException) -> str:
        asked.append(error)
        return text_of(error)

    monkeypatch.setattr(raised, "text_of", text)
    monkeypatch.setattr(traceback, "TracebackException", None)  # which takes up all there are
    for error in (made(), _because(Odd(), made())):
        assert settled(error).__notes__[0].count("\n") > 1
    assert len(asked) < 5 * MOST


def _because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class Broken(Exception):
    """Is hardly an error."""

    @property
    def args(self) -> tuple[object, ...]:  # type: ignore[override]
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise SystemExit(3)


def test_an_error_that_fails_to_be_one_is_left_its_kind() -> None:
    assert describe(settled(Broken())) == "Broken: no message"

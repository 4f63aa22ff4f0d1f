"""Log lines carry the ids of what they were said in, and of nothing else."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio import activity
from temporalio.testing import ActivityEnvironment

from inturn.terminal import clean
from inturn.testing import context
from inturn.tools.context import _current
from inturn_worker.logs import configure_logs
from inturn_worker.settings import LogFormat


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Logging as the worker sets it up, into a string; as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines that were logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _environment(activity_id: str, attempt: int = 1) -> ActivityEnvironment:
    environment = ActivityEnvironment()
    tenant, session = activity_id.split("/")[:2]
    environment.info = environment.info.__class__(
        **{
            **{f: getattr(environment.info, f) for f in environment.info.__dataclass_fields__},
            "activity_id": activity_id,
            "workflow_id": f"{tenant}/{session}",
            "attempt": attempt,
        }
    )
    return environment


async def _say(text: str) -> None:
    await asyncio.sleep(0)
    logging.getLogger("mine").info(text)
    await asyncio.to_thread(logging.getLogger("mine").info, f"{text} in a thread")


@pytest.mark.promise("ISO-2")
async def test_each_line_has_the_ids_of_its_step_also_in_threads(stream: io.StringIO) -> None:
    async def say(text: str) -> None:
        await _say(text)

    keys = [f"acme/s{n}/e{n}/0/{n}" for n in range(20)]
    await asyncio.gather(*(_environment(key).run(say, key) for key in keys))
    logged = lines(stream)
    assert len(logged) == 40
    for line in logged:
        key = line["message"].split(" ")[0]
        _, session, turn, step, index = key.split("/")
        assert (line["tenant"], line["session"], line["turn"], line["step"]) == (
            "acme",
            session,
            turn,
            f"{step}/{index}",
        )


async def test_a_tools_lines_name_the_call_and_a_retry_its_attempt(stream: io.StringIO) -> None:
    async def tool() -> None:
        token = _current.set(context(call_id="toolu_1"))
        activity.logger.warning("from the tool")
        _current.reset(token)

    await _environment("acme/s1/e1/0/0", attempt=3).run(tool)
    (line,) = [line for line in lines(stream) if line["message"] == "from the tool"]  # threads of others log, too
    assert (line["call"], line["attempt"], line["level"]) == ("toolu_1", 3, "warning")


ATTACKS = ["\x1b[2J\x1b]0;owned\x07", "\x9b31m", "a\rb", "\u202eevil", "\u2066x", "half \ud800", "\x7f\x08\x08"]


@pytest.mark.parametrize("chosen", ["json", "console"])
@pytest.mark.parametrize("text", ATTACKS)
def test_no_text_acts_on_a_terminal(stream: io.StringIO, chosen: LogFormat, text: str) -> None:
    to = io.StringIO()
    configure_logs(chosen, "info", to)
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("mine").exception("failed: %s", text)
    written = to.getvalue()
    assert clean(written) == written
    written.encode()
    if chosen == "json":
        assert text in json.loads(written)["message"]


def test_no_text_looks_like_a_record_of_its_own(stream: io.StringIO) -> None:
    to = io.StringIO()
    configure_logs("console", "info", to)
    logging.getLogger("mine").info("hello\n12:00:00 ERROR   inturn: all is lost")
    assert [line[:1] == " " for line in to.getvalue().splitlines()] == [False, True]


def test_outside_of_a_session_there_are_no_ids(stream: io.StringIO) -> None:
    logging.getLogger("mine").info("hello")
    assert set(lines(stream)[0]) == {"at", "level", "logger", "message"}


def test_an_error_is_one_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("mine").exception("failed")
    (line,) = lines(stream)
    assert "two\nlines" in line["error"]


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize("chosen", ["json", "console"])
def test_with_keys_an_error_is_shown_by_its_types_and_places_alone(chosen: LogFormat, stream: io.StringIO) -> None:
    configure_logs(chosen, "info", stream, hide=True)
    said = "canary"
    try:
        try:
            raise ValueError(f"{said} of the cause")
        except ValueError as cause:
            raise RuntimeError(f"{said} of the error") from cause
    except RuntimeError as error:
        logging.getLogger("inturn.worker").warning("a step failed: %s", error, exc_info=True)
    logging.getLogger("inturn.worker").warning("it is %s", "open")
    shown = stream.getvalue()
    assert said not in shown
    assert all(word in shown for word in ("a step failed", "ValueError", "RuntimeError", "test_logs.py", "it is open"))

"""What a worker with keys logs of errors: their types and places, whoever logs them and however."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest
from pydantic import BaseModel
from temporalio import activity

from inturn_activities.failures import Failure
from inturn_activities.model.account import AccountWatch
from inturn_worker import hiding
from inturn_worker.logs import configure_logs
from inturn_worker.settings import LogFormat

SAID = "kanarienvogel"

pytestmark = pytest.mark.promise("SEC-2", "SEC-3")


@pytest.fixture(params=["json", "console"])
def logged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """What a worker with keys has logged, at its most talkative."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    chosen: LogFormat = request.param
    configure_logs(chosen, "debug", stream, hide=True)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    hiding.log_uncaught()
    yield stream.getvalue
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_a_task_that_nobody_awaits_and_a_callback_that_fails(logged: Callable[[], str]) -> None:
    loop = asyncio.get_running_loop()
    fails = loop.create_future()

    def called_with(text: str) -> None:
        loop.call_soon(fails.set_result, None)
        raise RuntimeError(text)

    async def unawaited() -> None:
        raise ValueError(f"a task says {SAID}")

    loop.call_soon(called_with, SAID)
    task = asyncio.create_task(unawaited())
    await fails
    await asyncio.wait([task])
    del task
    gc.collect()
    shown = logged()
    assert SAID not in shown
    assert all(word in shown for word in ("ValueError", "RuntimeError", "exception was never retrieved", __name__[-8:]))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_and_what_is_cleared_away(logged: Callable[[], str]) -> None:
    def raises() -> None:
        raise ValueError(f"a thread says {SAID}")

    class Ends:
        def __del__(self) -> None:
            raise RuntimeError(f"the end says {SAID}")

    thread = threading.Thread(target=raises)
    thread.start()
    thread.join()
    Ends()
    gc.collect()
    shown = logged()
    assert SAID not in shown
    assert all(word in shown for word in ("of a thread", "ValueError", "is cleared away", "RuntimeError"))


def test_a_warning_shows_its_kind_and_place(logged: Callable[[], str]) -> None:
    class Number(BaseModel):
        n: int = 0

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        Number.model_construct(n=SAID).model_dump()  # type: ignore[arg-type]
        logging.captureWarnings(False)
    shown = logged()
    assert SAID not in shown
    assert "UserWarning" in shown


def test_what_the_sdk_filled_in_by_itself(logged: Callable[[], str]) -> None:
    try:
        try:
            raise ValueError(SAID)
        except ValueError as cause:
            raise RuntimeError(f"an error with {SAID}") from cause
    except RuntimeError as error:
        activity.logger.warning(f"Completing as failure during heartbeat with error of type {type(error)}: {error}")
        activity.logger.exception(f"Exception handling failed, original error: {error.__cause__!r}")
        activity.logger.warning("Completing as cancelled")
    shown = logged()
    assert SAID not in shown
    assert all(word in shown for word in ("Completing as failure", "original error: ValueError", "as cancelled"))


def test_what_a_provider_says_of_the_account(logged: Callable[[], str]) -> None:
    AccountWatch().judged("claude-sonnet-5-5", Failure("account", f"403: you may not ask {SAID}"))
    shown = logged()
    assert SAID not in shown
    assert "gives no answers until somebody mends the account" in shown


def test_an_error_that_came_of_itself(logged: Callable[[], str]) -> None:
    try:
        raise RuntimeError(f"it has come to {SAID}")
    except RuntimeError as first:
        wrapped = ValueError(SAID)
        wrapped.__cause__ = first
        first.__cause__ = wrapped  # as `raise first from wrapped` makes it
        logging.getLogger("a.users").exception("it broke: %s", first)
        activity.logger.error(f"it broke: {first}")
    shown = logged()
    assert SAID not in shown
    assert shown.count("ValueError") == 1

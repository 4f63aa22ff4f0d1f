"""The client without `await`: the same calls, wherever they are made."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import inturn
from inturn import sync
from inturn.client.journal.documents import Documents
from inturn.client.schedules import Schedules
from inturn.errors import InvalidEvent, Misconfigured, Unavailable
from inturn.journal import NewEntry, Recorded, open_journal
from inturn.keys import SessionKey
from inturn.sync import client as sync_client
from inturn.sync import loop
from inturn.sync.twins import Twin, iterates
from tests.support.stores import journal_url

pytestmark = pytest.mark.promise("SUR-10")
TWINS = [
    (inturn.Client, sync.Client),
    (inturn.Session, sync.Session),
    (inturn.Cursor, sync.Cursor),
    (inturn.State, sync.State),
    (Documents, sync_client.Documents),
    (Schedules, sync_client.Schedules),
]
OTHERWISE_NAMED = {"aclose": "close"}
NOT_FOR_CLIENTS = {"within", "connection"}
"""What a running tool's context alone has, and what stands behind all of it."""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[sync.Client]:
    made = sync.Client(journal=journal_url(tmp_path))
    yield made
    made.close()


def public(cls: type) -> dict[str, Any]:
    found = {name: getattr(cls, name) for name in dir(cls) if not name.startswith("_")}
    calls = {name: value for name, value in found.items() if callable(value) or isinstance(value, property)}
    return {name: call for name, call in calls.items() if name not in NOT_FOR_CLIENTS}


@pytest.mark.parametrize(("awaited", "plain"), TWINS, ids=[plain.__name__ for _, plain in TWINS])
def test_each_public_call_has_a_twin_with_its_parameters_and_its_documentation(awaited: type, plain: type) -> None:
    for name, call in public(awaited).items():
        twin = getattr(plain, OTHERWISE_NAMED.get(name, name), None)
        assert twin is not None, f"{awaited.__name__}.{name} has no twin"
        if isinstance(call, property):
            assert isinstance(twin, property)
            continue
        assert inspect.signature(twin) == inspect.signature(call), name
        assert inspect.getdoc(twin) == inspect.getdoc(call), name
        assert not inspect.iscoroutinefunction(twin)
        assert not inspect.isasyncgenfunction(twin)
    assert inspect.signature(sync.Client) == inspect.signature(inturn.Client)


def test_no_call_of_an_async_one_is_forgotten_that_gives_an_iterator() -> None:
    for awaited, plain in TWINS:
        for name, call in public(awaited).items():
            if callable(call) and str(inspect.signature(call).return_annotation).startswith(("AsyncIter", "Sessions")):
                assert inspect.isgeneratorfunction(inspect.unwrap(getattr(plain, name), stop=lambda f: True)), name


def test_a_script_reads_and_writes_and_gets_the_errors_of_the_async_ones(client: sync.Client) -> None:
    assert client.shared.incr("counter", 2) == 2
    assert client.shared.update("counter", lambda value: value + 1).value == 3
    assert client.cursor("reader").move("s1", 7) == 7
    assert list(client.session("s1").entries()) == []
    assert client.session("s1").transcript() == []
    assert client.with_options(tenant="other").shared.get("counter") is None
    with pytest.raises(InvalidEvent, match="does not match"):
        client.session("no id")
    with pytest.raises(InvalidEvent):
        client.with_options(tenant="no id")
    with pytest.raises(TypeError):
        client.cursor()  # type: ignore[call-arg]


def test_it_works_where_a_loop_runs_already(client: sync.Client) -> None:
    async def cell() -> int:
        return client.shared.incr("counter")

    assert asyncio.run(cell()) == 1


def test_fifty_threads_need_one_more(client: sync.Client) -> None:
    client.shared.incr("counter")
    before = {thread.name for thread in threading.enumerate()}
    with ThreadPoolExecutor(50) as threads:
        list(threads.map(lambda _: client.shared.incr("counter"), range(200)))
    assert [thread.name for thread in threading.enumerate()].count("inturn.sync") == 1
    assert before >= {"inturn.sync"}
    assert client.shared.get("counter") == inturn.Versioned(value=201, version=201)


def test_a_call_in_its_own_thread_is_refused_and_does_not_hang(client: sync.Client) -> None:
    async def inside() -> int:
        return client.shared.incr("counter")

    with pytest.raises(RuntimeError, match="await the async one"):
        loop.call(inside())


def test_what_a_caller_carries_in_its_context_goes_along() -> None:
    carried: contextvars.ContextVar[str] = contextvars.ContextVar("carried")
    carried.set("a trace")

    async def seen() -> str:
        return carried.get()

    assert loop.call(seen()) == "a trace"


async def _numbers(closed: list[bool]) -> AsyncIterator[int]:
    try:
        for number in range(1_000):
            yield number
    finally:
        closed.append(True)


def test_closing_a_generator_closes_the_async_one_and_an_error_in_the_loop_does_too() -> None:
    closed: list[bool] = []
    numbers = iterates(_numbers)
    with closing(numbers(Twin(lambda: closed))) as found:
        assert [next(found), next(found)] == [0, 1]
    assert closed == [True]
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        for number in numbers(Twin(lambda: closed)):
            _ = 1 // (number - 1 and 0)
    assert list(numbers(Twin(lambda: closed)))[-1] == 999


def test_who_follows_gets_what_is_written_meanwhile(tmp_path: Path) -> None:
    url, key = journal_url(tmp_path), SessionKey("default", "s1")
    client = sync.Client(journal=url)
    journal = open_journal(url)
    entries = [NewEntry("user.message", {"content": f"{n}"}, "e1", key=f"{n}") for n in range(3)]
    loop.call(journal.open())
    loop.call(journal.record(key, [Recorded(entries[0])]))
    with closing(client.session("s1").entries(follow=True)) as found:
        assert next(found).body == {"content": "0"}
        loop.call(journal.record(key, [Recorded(entry) for entry in entries[1:]]))
        assert [next(found).body["content"] for _ in range(2)] == ["1", "2"]
    loop.call(journal.close())
    client.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_client_of_before_a_fork_works_in_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTURN_CONNECT_TIMEOUT", "0.5")
    client = sync.Client("127.0.0.1:9", journal=journal_url(tmp_path))
    session, shared = client.session("s1"), client.shared
    assert shared.incr("counter") == 1
    with pytest.raises(Unavailable):
        session.status()  # Temporal's own threads run, and stay behind
    child = os.fork()
    if not child:
        try:
            signal.alarm(30)
            assert shared.incr("counter") == 2
            try:
                session.status()
            except Unavailable:
                os._exit(0)
        except BaseException:
            os._exit(2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert shared.incr("counter") == 3
    client.close()


_WAITS = """
import signal, sys
from inturn.sync import Client
signal.signal(signal.SIGINT, signal.default_int_handler)
client = Client(journal=sys.argv[1])
try:
    print("waits", flush=True)
    next(client.session("s1").entries(follow=True))
except KeyboardInterrupt:
    print("stopped", client.shared.incr("counter"), flush=True)
"""


def test_ctrl_c_ends_the_call_and_the_next_one_works(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    waits = subprocess.Popen([sys.executable, "-c", _WAITS, url], stdout=subprocess.PIPE, text=True)
    assert waits.stdout is not None
    assert waits.stdout.readline() == "waits\n"
    waits.send_signal(signal.SIGINT)
    out, _ = waits.communicate(timeout=30)
    assert (out, waits.returncode) == ("stopped 1\n", 0)


def test_a_temporal_client_of_the_users_own_is_not_used_behind_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    given: Any = object()
    client = sync.Client(temporal=given)
    connection = client._twin._connection
    connection._unchecked = False
    monkeypatch.setattr(connection, "_process", -1)
    with pytest.raises(Misconfigured, match="before a fork"):
        client.session("s1").status()

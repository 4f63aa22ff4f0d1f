"""File tools: nothing leads out of the root, nothing is half written, nothing unread is overwritten."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import string
import threading
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from inturn.errors import ToolError
from inturn.testing import context
from inturn.tools import Tool, files
from inturn.tools.context import ToolContext
from inturn.tools.ready.files import MAX_SHOWN
from inturn.tools.ready.rooted import STAGED, Root, plain

_number = count()


class Desk:
    """A session with the file tools of a directory."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.memory = context().state
        self.tools: dict[str, Tool[..., Any]] = {tool.name: tool for tool in files(root, **options)}

    async def __call__(self, name: str, /, ctx: ToolContext | None = None, **arguments: Any) -> str:
        tool = self.tools[name]
        given = tool.validate_arguments(arguments)
        if tool.context_parameter:
            given[tool.context_parameter] = ctx or context(f"call-{next(_number)}", state=self.memory)
        result = await tool.fn(**given)
        assert isinstance(result, str)
        return result

    async def refused(self, name: str, /, **arguments: Any) -> str:
        with pytest.raises((ToolError, ValidationError)) as refusal:
            await self(name, **arguments)
        return str(refusal.value)

    def left_over(self) -> list[str]:
        return [path.name for path in self.root.rglob("*") if path.name.startswith(STAGED)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "root")


async def test_what_is_written_is_read_back_and_listed(desk: Desk) -> None:
    assert await desk("list_files") == "(empty)"
    await desk("write_file", path="notes/a.txt", content="one\ntwo\n")
    await desk("append_file", path="./notes//a.txt", content="three\n")
    assert await desk("read_file", path="notes/a.txt") == "one\ntwo\nthree\n"
    assert await desk("list_files") == "notes/"
    assert await desk("list_files", path="notes") == "a.txt (14 bytes)"
    assert desk.left_over() == []


def test_all_spellings_of_a_path_take_one_lock(desk: Desk) -> None:
    write, read = desk.tools["write_file"], desk.tools["read_file"]
    locks = [
        write.lock_names(write.validate_arguments({"path": path, "content": ""})) for path in ("a.txt", ".//a.txt")
    ]
    assert locks[0] == locks[1] == [f"file:{desk.root}/a.txt"]
    assert (read.locks, read.reads) == ((), write.locks)
    assert all(tool.idempotent for tool in desk.tools.values())


def test_a_root_with_braces_in_its_name_gives_a_lock_all_the_same(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "{a}")
    write = desk.tools["write_file"]
    assert write.lock_names(write.validate_arguments({"path": "x", "content": ""})) == [f"file:{tmp_path}/{{a}}/x"]


def test_a_root_can_be_for_reading_and_there_can_be_two(tmp_path: Path) -> None:
    names = [tool.name for tool in files(tmp_path, writable=False, prefix="docs_")]
    assert names == ["docs_read_file", "docs_list_files"]


# What a session has not seen it does not overwrite.


@pytest.mark.promise("SHR-7")
async def test_a_write_is_refused_if_the_file_changed_since_this_session_read_it(tmp_path: Path) -> None:
    mine, theirs = Desk(tmp_path), Desk(tmp_path)
    (tmp_path / "a").write_text("old")
    await mine("read_file", path="a")
    await theirs("read_file", path="a")
    await theirs("write_file", path="a", content="theirs")
    assert "changed since this session read it" in await mine.refused("write_file", path="a", content="mine")
    assert (tmp_path / "a").read_text() == "theirs"
    await mine("read_file", path="a")
    await mine("write_file", path="a", content="mine")
    await mine("write_file", path="a", content="mine again")
    assert (tmp_path / "a").read_text() == "mine again"


@pytest.mark.promise("SHR-7")
async def test_a_file_that_was_never_read_or_is_gone_is_not_overwritten(desk: Desk) -> None:
    await desk("write_file", path="a", content="1")
    (desk.root / "b").write_text("there before")
    assert "has not read it" in await desk.refused("write_file", path="b", content="x")
    (desk.root / "a").unlink()
    assert "was removed" in await desk.refused("write_file", path="a", content="2")
    assert "does not exist" in await desk.refused("read_file", path="a")
    await desk("write_file", path="a", content="2")


async def test_who_appends_to_a_file_that_it_has_not_read_still_has_to_read_it(desk: Desk) -> None:
    desk.root.mkdir()
    (desk.root / "a").write_text("there before\n")
    await desk("append_file", path="a", content="more\n")
    assert "has not read it" in await desk.refused("write_file", path="a", content="x")
    await desk("read_file", path="a")
    await desk("append_file", path="a", content="more\n")
    await desk("write_file", path="a", content="x")


async def test_a_program_that_changes_the_file_in_the_last_moment_loses_nothing(desk: Desk) -> None:
    await desk("write_file", path="a", content="1")
    changed: list[Any] = []

    async def checkpoint(value: Any) -> None:
        changed.append(value)
        if value:
            (desk.root / "a").write_text("by an editor")

    for name in ("write_file", "append_file"):
        with pytest.raises(ToolError, match="changed by somebody else at this moment"):
            await desk(name, context("k", state=desk.memory, _checkpoint=checkpoint), path="a", content="2")
        assert changed.pop() is None, "the next attempt would take the write for done"
        assert (desk.root / "a").read_text() == "by an editor"
        await desk("read_file", path="a")
    assert desk.left_over() == []


async def test_a_write_whose_directory_goes_in_the_last_moment_is_done_by_the_next_attempt(desk: Desk) -> None:
    kept: list[Any] = []

    async def checkpoint(value: Any) -> None:
        kept.append(value)
        if value:
            shutil.rmtree(desk.root / "out")

    with pytest.raises(FileNotFoundError):
        await desk("write_file", context("k", state=desk.memory, _checkpoint=checkpoint), path="out/a", content="1")
    again = context("k", state=desk.memory, last_checkpoint=kept[-1])
    assert "wrote" in await desk("write_file", again, path="out/a", content="1")
    assert (desk.root / "out/a").read_text() == "1"


# Each once, whole.


class Killed(BaseException):
    """The process died here."""


@pytest.mark.promise("SHR-7", "EFF-1")
@pytest.mark.parametrize("at", ["stage", "checkpoint", "after_checkpoint", "put", "after_put", "never"])
@pytest.mark.parametrize("again", [1, 2])
async def test_an_append_happens_once_wherever_its_attempts_are_killed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, at: str, again: int
) -> None:
    desk.root.mkdir()
    (desk.root / "log").write_text("start\n")
    kept: list[Any] = [None]
    deaths = 0

    def die(where: str) -> None:
        nonlocal deaths
        if where == at and deaths:
            deaths -= 1
            raise Killed

    async def checkpoint(value: Any) -> None:
        die("checkpoint")
        kept.append(value)
        die("after_checkpoint")

    stage, put = Root.stage, Root.put

    def dying_stage(*arguments: Any, **options: Any) -> None:
        stage(*arguments, **options)
        die("stage")

    def dying_put(*arguments: Any, **options: Any) -> None:
        die("put")
        put(*arguments, **options)
        die("after_put")

    monkeypatch.setattr(Root, "stage", dying_stage)
    monkeypatch.setattr(Root, "put", dying_put)
    for attempt in range(again + 1):
        ctx = context("key", state=desk.memory, last_checkpoint=kept[-1], _checkpoint=checkpoint)
        deaths = int(attempt < again)
        with contextlib.suppress(Killed):
            await desk("append_file", ctx, path="log", content="line\n")
        deaths = 0
        # Somebody else's line comes between two attempts, and is the same text.
        await Desk(desk.root)("append_file", path="log", content="line\n")
    assert (desk.root / "log").read_text() == "start\n" + "line\n" * (1 + again + 1)
    assert desk.left_over() == []


@pytest.mark.promise("SHR-7")
async def test_an_attempt_that_was_overtaken_by_another_writer_does_not_write_twice(desk: Desk) -> None:
    kept: list[Any] = []

    async def checkpoint(value: Any) -> None:
        kept.append(value)

    await desk("write_file", context("key", state=desk.memory, _checkpoint=checkpoint), path="a", content="mine")
    other = Desk(desk.root)
    await other("read_file", path="a")
    await other("write_file", path="a", content="theirs")
    await desk("write_file", context("key", state=desk.memory, last_checkpoint=kept[-1]), path="a", content="mine")
    assert (desk.root / "a").read_text() == "theirs", "the first attempt had written already"
    assert "changed since" in await desk.refused("write_file", path="a", content="again")


@pytest.mark.promise("SHR-7")
async def test_a_reader_never_sees_a_part_of_a_write(desk: Desk) -> None:
    sizes = (200_000, 400_000)
    await desk("write_file", path="a", content="a" * sizes[0])
    seen: set[int] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.add(len((desk.root / "a").read_bytes()))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for turn in range(30):
            await desk("write_file", path="a", content="ab"[turn % 2] * sizes[turn % 2])
    finally:
        stop.set()
        watcher.join()
    assert seen <= set(sizes)


async def test_a_cancelled_write_ends_before_its_lock_is_given_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    put = Root.put

    def slow(*arguments: Any, **options: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        put(*arguments, **options)

    monkeypatch.setattr(Root, "put", slow)
    task = asyncio.ensure_future(desk("write_file", path="a", content="1"))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (desk.root / "a").read_text() == "1"


async def test_a_files_mode_stays(desk: Desk) -> None:
    await desk("write_file", path="run.sh", content="1")
    (desk.root / "run.sh").chmod(0o750)
    await desk("write_file", path="run.sh", content="2")
    assert stat.S_IMODE((desk.root / "run.sh").stat().st_mode) == 0o750


# Reading is bounded.


async def test_a_long_file_is_shown_in_parts_that_say_how_to_go_on(desk: Desk) -> None:
    lines = [f"line {n} {'x' * 90}\n" for n in range(1, 2001)]
    await desk("write_file", path="a", content="".join(lines))
    shown, first = "", 1
    while True:
        part = await desk("read_file", path="a", first_line=first)
        assert len(part) <= MAX_SHOWN + 100
        body, mark, rest = part.rpartition("[lines ")
        shown += body if mark else part
        if not mark:
            break
        first = int(rest.removesuffix("]").rpartition("=")[2])
    assert shown == "".join(lines)
    assert await desk("read_file", path="a", first_line=7, last_line=8) == lines[6] + lines[7]
    assert "no such lines" in await desk.refused("read_file", path="a", first_line=3000)


async def test_what_is_too_large_or_no_text_is_refused(desk: Desk, tmp_path: Path) -> None:
    small = Desk(tmp_path / "small", limit=10)
    assert "limit is 10" in await small.refused("write_file", path="a", content="x" * 11)
    await small("write_file", path="a", content="x" * 10)
    assert "limit is 10" in await small.refused("append_file", path="a", content="y")
    (small.root / "b").write_bytes(b"x" * 11)
    assert "larger than 10" in await small.refused("read_file", path="b")
    (small.root / "c").write_bytes(b"\xff\xfe")
    assert "no UTF-8 text" in await small.refused("read_file", path="c")
    assert "half characters" in await small.refused("write_file", path="d", content="\ud800")
    await desk("write_file", path="wide", content="x" * 50_000)
    assert "is cut" in await desk("read_file", path="wide")


# Nothing leads out.

WAYS_OUT = [
    "..",
    "../secret",
    "a/../../secret",
    "a/..",
    "/etc/passwd",
    "//etc/passwd",
    "\\\\server\\share",
    "..\\secret",
    "C:\\secret",
    "C:secret",
    "c:/secret",
    "a\0/../../secret",
    "\0",
    "a\n",
    "file:stream",
    "~/../..",
    "a/.../..",
    ". ./x",
    "x" * 2000,
    "x" * 201,
    f"{STAGED}x",
]


@pytest.mark.parametrize("path", WAYS_OUT)
async def test_no_path_leads_out_of_the_root(desk: Desk, path: str) -> None:
    secret = desk.root.parent / "secret"
    secret.write_text("canary")
    for name, more in (("read_file", {}), ("write_file", {"content": "x"}), ("append_file", {"content": "x"})):
        await desk.refused(name, path=path, **more)
    await desk.refused("list_files", path=path)
    assert secret.read_text() == "canary"
    assert sorted(p.name for p in desk.root.parent.iterdir()) == ["secret"]


hostile = st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "link", "up", "loop", "C:", "~", "\0", "....", "%2e%2e", "con", STAGED])
    | st.text(alphabet=string.printable + "\u202e\u2024\uff0e\uff0fé", max_size=6),
    max_size=6,
).map("/".join)


@settings(max_examples=80, deadline=None)
@given(path=hostile | st.sampled_from(["up/secret", "link", "up", "loop/x"]))
def test_whatever_a_path_holds_it_touches_nothing_outside(path: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("base")
    desk = Desk(base / "root")
    desk.root.mkdir()
    (base / "secret").write_text("canary")
    (desk.root / "link").symlink_to(base / "secret")
    (desk.root / "up").symlink_to(base)
    (desk.root / "loop").symlink_to("loop")

    async def all_of_them() -> None:
        attempts: list[Callable[[], Awaitable[str]]] = [
            lambda: desk("read_file", path=path),
            lambda: desk("list_files", path=path),
            lambda: desk("append_file", path=path, content="x"),
            lambda: desk("write_file", path=path, content="x"),
        ]
        for attempt in attempts:
            try:
                replies = await attempt()
            except (ToolError, ValidationError) as error:
                replies = str(error)
            assert "canary" not in replies
            assert str(base) not in replies, "it says where the root is"

    asyncio.run(all_of_them())
    assert (base / "secret").read_text() == "canary"
    assert sorted(p.name for p in base.iterdir()) == ["root", "secret"]
    assert all((desk.root / name).is_symlink() for name in ("link", "up", "loop"))


@settings(max_examples=200, deadline=None)
@given(path=st.text(max_size=40) | hostile)
def test_a_path_has_one_spelling_or_none(path: str) -> None:
    try:
        made = plain(path)
    except ValueError:
        return
    assert plain(made) == made
    assert os.path.normpath(path) == made
    assert not os.path.isabs(made)
    assert ".." not in made.split("/")


@pytest.mark.parametrize("kind", ["file", "directory", "fifo"])
async def test_links_and_special_files_are_refused_everywhere(desk: Desk, kind: str) -> None:
    desk.root.mkdir()
    outside = desk.root.parent / "outside"
    outside.mkdir()
    (outside / "f").write_text("canary")
    path = "x"
    if kind == "file":
        (desk.root / "x").symlink_to(outside / "f")
    elif kind == "directory":
        (desk.root / "x").symlink_to(outside)
        path = "x/f"
    else:
        os.mkfifo(desk.root / "x")
    for name, more in (("read_file", {}), ("write_file", {"content": "x"}), ("append_file", {"content": "x"})):
        async with asyncio.timeout(5):  # opening a pipe must not wait for its other end
            await desk.refused(name, path=path, **more)
    await desk.refused("list_files", path="x")
    assert (outside / "f").read_text() == "canary"
    assert os.listdir(outside) == ["f"]


async def test_a_directory_that_turns_into_a_link_at_any_moment_leads_nowhere(desk: Desk) -> None:
    """Race: a directory in the path is swapped for a link to the outside and back while calls run."""
    outside = desk.root.parent / "outside"
    outside.mkdir()
    (outside / "f").write_text("canary")
    inside, link = desk.root / "d", desk.root / "link"
    inside.mkdir(parents=True)
    link.symlink_to(outside)
    stop = threading.Event()

    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            with contextlib.suppress(OSError):  # a call may make the directory anew in between
                inside.rename(desk.root / f"gone-{next(_number)}")
                link.rename(inside)
                swaps += 1
                inside.rename(link)

    swapper = threading.Thread(target=swap)
    swapper.start()
    replies: list[str] = []
    calls: list[tuple[str, dict[str, Any]]] = [("append_file", {"content": "x"}), ("read_file", {})]
    try:
        for _ in range(150):
            for name, more in calls:
                try:
                    replies.append(await desk(name, path="d/f", **more))
                except (ToolError, FileNotFoundError) as error:
                    replies.append(str(error))
    finally:
        stop.set()
        swapper.join()
    assert swaps > 20
    assert not any("canary" in text for text in replies)
    assert (outside / "f").read_text() == "canary"
    assert os.listdir(outside) == ["f"]

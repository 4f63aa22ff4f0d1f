"""Ready tools for files in a directory.

    from inturn.tools import files

    Agent("writer", model=…, instructions=…, tools=[*files("./workspace")])

A file is replaced in three steps, so that an attempt which comes after a crash knows what the last one did:

    stage the new content beside it ─► checkpoint "staged" ─► rename it into place
    the next attempt finds "staged":  the staged file is there ─► it was never renamed: begin again
                                      it is gone               ─► it was renamed: done

Invariant: a reader sees a file as it was or as it is, never half of it; a session overwrites only what it has read;
and each write and append happens once, whatever is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, Field

from inturn.errors import ToolError
from inturn.tools.context import ToolContext
from inturn.tools.ready.rooted import Found, Listed, Root, plain
from inturn.tools.tool import Tool

T = TypeVar("T")

MAX_BYTES: Final = 8 * 1024 * 1024
"""Of a file that tools read or write: a replacement copies it whole."""
MAX_SHOWN: Final = 24 * 1024
"""Characters that one read shows; the rest is asked for by line. Below what a result may have in a transcript."""
MAX_LISTED: Final = 500
_NEW_FILE: Final = 0o644

FilePath = Annotated[str, AfterValidator(plain), Field(description="Path below the root, with / between its parts")]
FirstLine = Annotated[int, Field(ge=1, description="First line to show, from 1")]
LastLine = Annotated[int | None, Field(ge=1, description="Last line to show")]


def files(
    root: str | os.PathLike[str], *, writable: bool = True, prefix: str = "", limit: int = MAX_BYTES
) -> list[Tool[..., Any]]:
    """Return the tools `read_file`, `list_files`, `write_file` and `append_file` for what lies below a directory.

    Nothing leads out of it: neither `..` nor an absolute path nor a symbolic link. Calls that write one file take its
    lock, so appends never interleave; a write is refused if the file was changed since this session read it.

    Args:
        root: The directory; made when it is first written to. The lock of a file has its absolute path in it, so two
            roots that overlap meet.
        writable: Whether there are tools that write.
        prefix: Before each tool's name, where an agent has more than one root.
        limit: The largest file, in bytes.

    Raises:
        NotImplementedError: The platform cannot keep paths below a root (Windows).
    """
    made = Files(Root(root), limit)
    lock = ["file:" + str(made.root.directory).replace("{", "{{").replace("}", "}}").rstrip("/") + "/{path}"]

    def ready(fn: Callable[..., Any], **locks: list[str]) -> Tool[..., Any]:
        return Tool(fn, name=prefix + fn.__name__, idempotent=True, **locks)  # type: ignore[arg-type]

    reading = [ready(made.read_file, reads=lock), ready(made.list_files)]
    writing = [ready(made.write_file, locks=lock), ready(made.append_file, locks=lock)]
    return reading + writing if writable else reading


class Files:
    """The bodies of the tools. Where one returns, what it did is durable."""

    def __init__(self, root: Root, limit: int) -> None:
        """Work below a root, on files of at most `limit` bytes."""
        self.root = root
        self._limit = limit

    async def read_file(
        self, path: FilePath, ctx: ToolContext, first_line: FirstLine = 1, last_line: LastLine = None
    ) -> str:
        """Read a text file, or some of its lines."""
        found = await self._found(path)
        await self._remember(ctx, path, found.hash if found else None)
        if found is None:
            raise ToolError(f"{path} does not exist")
        return _shown(_text(path, found.data), first_line, last_line)

    async def list_files(self, path: FilePath = ".") -> str:
        """List the files and directories in a directory."""
        listed = await _finished(asyncio.to_thread(self.root.list, path))
        if listed is None and path != ".":
            raise ToolError(f"{path} does not exist")
        lines = [_line(entry) for entry in (listed or ())[:MAX_LISTED]]
        more = len(listed or ()) - len(lines)
        return "\n".join([*lines, *([f"[{more} more]"] if more else [])]) or "(empty)"

    async def write_file(self, path: FilePath, content: str, ctx: ToolContext) -> str:
        """Write a text file as a whole. A file that exists must have been read before."""
        data = _bytes(content)
        if await self._was_put(ctx, path):
            return f"wrote {path}"
        found, known = await self._found(path), await self._known(ctx, path)
        if found is None or found.data != data:
            _check(path, found, known)
            await self._replace(ctx, path, found, data, knows=True)
        await self._remember(ctx, path, _hash(data))
        return f"wrote {path}"

    async def append_file(self, path: FilePath, content: str, ctx: ToolContext) -> str:
        """Add text to the end of a file; makes the file where there is none. Begin or end lines with a newline."""
        if await self._was_put(ctx, path):
            return f"appended to {path}"
        found, known = await self._found(path), await self._known(ctx, path)
        data = (found.data if found else b"") + _bytes(content)
        # Who had read all of the rest knows all of it now; who had not still has to.
        knows = found is None or known == found.hash
        await self._replace(ctx, path, found, data, knows=knows)
        if knows:
            await self._remember(ctx, path, _hash(data))
        return f"appended to {path}"

    async def _found(self, path: str) -> Found | None:
        return await _finished(asyncio.to_thread(self.root.read, path, limit=self._limit))

    async def _replace(self, ctx: ToolContext, path: str, found: Found | None, data: bytes, *, knows: bool) -> None:
        if len(data) > self._limit:
            raise ToolError(f"{path} would have {len(data):,} bytes; the limit is {self._limit:,}")
        token = _token(ctx)
        mode = found.mode if found else _NEW_FILE
        await _finished(asyncio.to_thread(self.root.stage, path, data, token, mode=mode))
        staged = {"staged": _hash(data), "knows": knows}
        await _finished(self._put(ctx, path, token, found, staged))

    async def _put(self, ctx: ToolContext, path: str, token: str, found: Found | None, staged: dict[str, Any]) -> None:
        await ctx.checkpoint(staged)
        try:
            await asyncio.to_thread(self.root.put, path, token, over=found)
        except (ToolError, FileNotFoundError):
            await ctx.checkpoint(None)  # first: a staged file that is gone means that it was put
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(self.root.drop, path, token)
            raise

    async def _was_put(self, ctx: ToolContext, path: str) -> bool:
        """Return whether an earlier attempt of this call did its work."""
        before = ctx.last_checkpoint
        if not before:
            return False
        if await _finished(asyncio.to_thread(self.root.staged, path, _token(ctx))):
            await ctx.checkpoint(None)  # before the staged file goes, for the same reason as above
            return False
        if before["knows"]:
            await self._remember(ctx, path, before["staged"])
        return True

    async def _known(self, ctx: ToolContext, path: str) -> str | None:
        kept = await ctx.state.get(self._name(path))
        return None if kept is None else kept.value["hash"]

    async def _remember(self, ctx: ToolContext, path: str, hash: str | None) -> None:
        # Under a key of its own: what an earlier attempt saw is no answer to what this one sees.
        await ctx.state.put(self._name(path), {"path": path, "hash": hash}, key=uuid.uuid4().hex)

    def _name(self, path: str) -> str:
        return f"file:{_hash(str(self.root.directory / path).encode())}"


async def _finished(work: Coroutine[Any, Any, T]) -> T:
    """Await work to its end, also when cancelled: a file must not change after its lock is gone."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _check(path: str, found: Found | None, known: str | None) -> None:
    now = found.hash if found else None
    if known == now:
        return
    if found is None:
        raise ToolError(f"{path} was removed since this session read it. Read it again to see, then write it")
    if known is None:
        raise ToolError(f"{path} exists and this session has not read it. Read it, then write it again")
    raise ToolError(f"{path} was changed since this session read it. Read it again, then write it anew")


def _shown(text: str, first: int, last: int | None) -> str:
    lines = text.splitlines(keepends=True)
    chosen = lines[first - 1 : last]
    if lines and not chosen:
        raise ToolError(f"there are no such lines: the file has {len(lines)}")
    shown, size = 0, 0
    while shown < len(chosen) and size + len(chosen[shown]) <= MAX_SHOWN:
        size += len(chosen[shown])
        shown += 1
    if shown == len(chosen):
        return "".join(chosen) or "(empty)"
    if shown == 0:
        return f"{chosen[0][:MAX_SHOWN]}\n[line {first} of {len(lines)} is cut: it has {len(chosen[0]):,} characters]"
    end = first + shown - 1
    return f"{''.join(chosen[:shown])}[lines {first}-{end} of {len(lines)}; go on with first_line={end + 1}]"


def _line(entry: Listed) -> str:
    if entry.kind == "directory":
        return f"{entry.name}/"
    return entry.name if entry.size is None else f"{entry.name} ({entry.size:,} bytes)"


def _text(path: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ToolError(f"{path} is no UTF-8 text ({len(data):,} bytes)") from None


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ToolError("the content holds half characters (lone surrogates)") from None


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _token(ctx: ToolContext) -> str:
    return hashlib.sha256(ctx.key.encode()).hexdigest()[:16]

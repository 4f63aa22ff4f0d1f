"""Running a command: a client for as long as it works, its errors as exit codes.

Invariant: no connection is made before the command's first call needs one, so reading a journal needs no server.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

from inturn.cli.options import Options, options_of
from inturn.cli.output import note, report

if TYPE_CHECKING:
    from inturn.client.client import Client

_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What writing to standard output may end in, beside a pipe that nobody reads any more."""
_READS: Final = frozenset({"approvals", "audit", "blob", "costs", "ls", "parked", "show", "tail", "wait"})
"""Commands that do nothing but print: what cannot be written is their failure."""

Work = Callable[["Client"], Awaitable[int | None]]
"""What a command does; returns its exit code, `None` for 0."""


def run(ctx: typer.Context, work: Work) -> None:
    """Do a command's work with a client, and end with its exit code.

    Raises:
        typer.Exit: Always, unless all went well.
    """
    options, code = options_of(ctx), None
    try:
        with reported(options):
            code = asyncio.run(_with_client(options, work))
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        code = _unwritten(error, code, only_reads=ctx.info_name in _READS)
    if code:
        raise typer.Exit(code)


def make_client(options: Options) -> Client:
    """Return the client that the global options ask for."""
    from inturn.client.client import Client

    return Client(
        options.address,
        namespace=options.namespace,
        tenant=options.tenant,
        task_queue=options.task_queue,
        journal=options.journal,
    )


@contextmanager
def reported(options: Options) -> Iterator[None]:
    """Turn inturn's errors, Ctrl-C and a closed pipe into messages and exit codes.

    Raises:
        typer.Exit: Instead of them.
    """
    from inturn.cli import failures
    from inturn.errors import InturnError

    try:
        yield
    except InturnError as error:
        notes = getattr(error, "__notes__", ())
        report(options, failures.described(error), failures.to_do(error), notes)
        raise typer.Exit(failures.exit_code(error)) from None
    except KeyboardInterrupt as stopped:
        # The runner raises it in place of the cancel that went through the command.
        for text in getattr(stopped.__context__, "__notes__", ()):
            note(f"{text} goes on: `inturn wait` waits for it, `inturn cancel` takes it out")
        raise typer.Exit(failures.INTERRUPTED) from None
    except BrokenPipeError:
        # The reader (`head`, a pager) has seen enough. Python would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def _unwritten(error: OSError, code: int | None, *, only_reads: bool) -> int | None:
    """Return the exit code where output could not be written: what a command did is done all the same."""
    from inturn.cli import failures

    note(f"inturn: what was printed could not be written: {error}", style="red")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would complain when it flushes at its end
    return failures.FAILED if only_reads else code


async def _with_client(options: Options, work: Work) -> int | None:
    client = make_client(options)
    try:
        return await work(client)
    finally:
        await client.aclose()

"""The command line: `inturn …`, or `python -m inturn …`.

Invariant: `--help` does not load temporalio (half a second), and a user's mistake ends in one message on standard error
with an exit code that says whose turn it is, never in a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and end the process with its exit code.

    Args:
        arguments: Without the program's name; `None`: the process's own.
    """
    from inturn.cli.app import app
    from inturn.cli.failures import USAGE
    from inturn.cli.options import hoisted, load_environment
    from inturn.cli.output import take_any_text
    from inturn.errors import Misconfigured
    from inturn.terminal import clean

    words = sys.argv[1:] if arguments is None else list(arguments)
    code: object = 0
    take_any_text()
    try:
        load_environment(words)
        app(args=hoisted(words), prog_name="inturn")
    except Misconfigured as error:
        print(clean(f"inturn: {error}"), file=sys.stderr)
        code = USAGE
    except SystemExit as ended:
        code = ended.code
    _end(code if isinstance(code, int) else 0 if code is None else 1)


def _end(code: int) -> NoReturn:
    if "temporalio" not in sys.modules:
        sys.exit(code)
    # Not through the interpreter's own end: Temporal's Core may crash in it, and the exit code would be a lie.
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)

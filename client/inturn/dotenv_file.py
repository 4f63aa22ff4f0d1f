"""`.env`: settings in a file of the working directory.

Invariant: a file that cannot be read is its writer's mistake, said in one sentence, wherever it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from inturn.errors import Misconfigured

DOTENV: Final = ".env"


def read_dotenv() -> dict[str, str]:
    """Return what the file sets; nothing where there is none.

    Raises:
        Misconfigured: It cannot be read.
    """
    from dotenv import dotenv_values

    with _readable():
        return {name: value for name, value in dotenv_values(DOTENV).items() if value is not None}


def load_dotenv() -> None:
    """Put what the file sets into the process's environment; what is set there stays.

    Raises:
        Misconfigured: It cannot be read, or holds what no variable can.
    """
    import dotenv

    with _readable():
        dotenv.load_dotenv(DOTENV)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise Misconfigured(
            f"{DOTENV} cannot be read: {error}. It must be UTF-8 text: NAME=value, one a line"
        ) from error

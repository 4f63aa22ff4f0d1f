"""What a call may have its agent remember, and what it is told where that cannot be.

Invariant: who would overwrite what they have not read is told what it says.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from inturn.errors import ToolError
from inturn.journal.state import documents
from inturn.journal.state.documents import Changed, Full


def check_document(name: str, text: str) -> None:
    """Check what a call wants to have remembered.

    Raises:
        ToolError: It cannot be.
    """
    try:
        documents.check(name, text)
    except ValueError as error:
        raise ToolError(str(error)) from None


@contextmanager
def told_of_conflicts() -> Generator[None]:
    """Have the model told what a document says that was changed since it was read.

    Raises:
        ToolError: It was, or there is no room for another one.
    """
    try:
        yield
    except Changed as error:
        newest = error.newest
        says = "It does not exist." if newest is None else f"Version {newest.version} says:\n{newest.text}"
        raise ToolError(f"{error}. {says}") from None
    except Full as error:
        raise ToolError(str(error)) from None

"""How large the large tests are: a sample in `make test`, the whole in `make test-long` (`INTURN_TEST_LONG=1`).

`make test-fast` (`INTURN_TEST_FAST=1`) has a smaller sample of those that compute for long.

Invariant: a sample checks what the whole checks, on fewer rounds of the same seed. tests/README.md lists them all.
"""

from __future__ import annotations

import os
from typing import Final, TypeVar

T = TypeVar("T")

WHOLE: Final = bool(os.environ.get("INTURN_TEST_LONG"))
FAST: Final = not WHOLE and bool(os.environ.get("INTURN_TEST_FAST"))


def sized(*, sample: T, whole: T, fast: T | None = None) -> T:
    """Return the size that this run has."""
    if FAST and fast is not None:
        return fast
    return whole if WHOLE else sample

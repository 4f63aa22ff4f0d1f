"""How large the large tests are: a sample in `make test`, the whole in `make test-long` (`INTURN_TEST_LONG=1`).

Invariant: a sample checks what the whole checks, on fewer rounds of the same seed. tests/README.md lists them all.
"""

from __future__ import annotations

import os
from typing import Final, TypeVar

T = TypeVar("T")

WHOLE: Final = bool(os.environ.get("INTURN_TEST_LONG"))


def sized(*, sample: T, whole: T) -> T:
    """Return the size that this run has."""
    return whole if WHOLE else sample

"""A journal in memory: what is tested here is its rules. The store on disk has `test_sqlite.py`."""

import pytest

from inturn.journal import Journal
from inturn.testing.memory import MemoryStore


@pytest.fixture
def journal() -> Journal:
    """A journal of the test's own."""
    return Journal(MemoryStore())

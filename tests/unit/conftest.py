"""What several modules of unit tests begin with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inturn.journal import Journal, open_journal
from tests.support.stores import journal_url


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """A journal of the test's own, open."""
    opened = open_journal(journal_url(tmp_path))
    await opened.open()
    yield opened
    await opened.close()

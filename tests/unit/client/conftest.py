"""Every test of this room runs on both stores."""

import pytest


@pytest.fixture(autouse=True)
def _on_both(store: str) -> None:
    """Have what a test opens be on the one, and on the other."""

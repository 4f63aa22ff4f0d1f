"""The rig's fixtures; its journals are on the one store, and on the other."""

import pytest

from tests.support.rig import rig, server_address

__all__ = ["rig", "server_address"]


@pytest.fixture
def cluster_journal(store: str) -> None:
    """Have a rig's journal be on both, wherever its server is."""

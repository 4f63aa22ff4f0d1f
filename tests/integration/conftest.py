"""The rig's fixtures."""

import signal
from collections.abc import Iterator

import pytest

from inturn_workflows.inbox import dedup
from tests.support.claude import claude, server
from tests.support.rig import cluster_journal, rig, server_address

__all__ = ["claude", "cluster_journal", "rig", "server", "server_address"]


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Have processes hear Ctrl-C, also where these tests run in the background: there a shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have sessions forget ids after a few events, as they do after 10,000."""
    monkeypatch.setattr(dedup, "SIZE", 4)
    monkeypatch.setattr(dedup, "RECENT", 2)

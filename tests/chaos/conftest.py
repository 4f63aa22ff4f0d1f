"""The rig's fixtures."""

from tests.support.rig import cluster_journal, rig, server_address

__all__ = ["cluster_journal", "rig", "server_address"]

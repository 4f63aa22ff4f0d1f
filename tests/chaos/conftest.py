"""The rig's fixtures."""

from tests.support.rig import rig, server_address

__all__ = ["rig", "server_address"]

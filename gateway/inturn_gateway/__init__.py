"""HTTP in front of sessions: `inturn gateway`, or `gateway()` as an ASGI application within another one."""

from inturn_gateway.app import gateway

__all__ = ["gateway"]

"""A strict Discord on this machine; needs `inturn[testing,discord]`.

async with StrictDiscord(hook_url) as discord: ...
"""

from inturn.testing.discord.server import StrictDiscord

__all__ = ["StrictDiscord"]

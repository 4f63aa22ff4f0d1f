"""A strict Telegram on this machine; needs `inturn[testing,telegram]`.

async with StrictTelegram(hook_url) as telegram: ...
"""

from inturn.testing.telegram.server import StrictTelegram

__all__ = ["StrictTelegram"]

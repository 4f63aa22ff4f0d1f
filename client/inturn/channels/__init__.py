"""Channels: how platforms' messages come in, and answers go out.

Whoever writes one needs what stands here; the shipped ones are modules of their own: `plain`, `standard`, `slack`,
`telegram`, `github`, `discord`. `inturn.testing.channel` checks any of them.
"""

from inturn.channels.call import Call, Reply, Unreadable
from inturn.channels.channel import Channel, Out, Take
from inturn.channels.chunks import split
from inturn.channels.ident import ident
from inturn.channels.inbound import Click, Ignored, Inbound, Message, Stop, Taken, Withdraw
from inturn.channels.rendering import render
from inturn.channels.routing import route
from inturn.channels.sending import outbox
from inturn.channels.signatures import hmac_base64, hmac_hex
from inturn.tools.context import ToolContext
from inturn.values import Approval, Notice, Turn

__all__ = [
    "Approval",
    "Call",
    "Channel",
    "Click",
    "Ignored",
    "Inbound",
    "Message",
    "Notice",
    "Out",
    "Reply",
    "Stop",
    "Take",
    "Taken",
    "ToolContext",
    "Turn",
    "Unreadable",
    "Withdraw",
    "hmac_base64",
    "hmac_hex",
    "ident",
    "outbox",
    "render",
    "route",
    "split",
]

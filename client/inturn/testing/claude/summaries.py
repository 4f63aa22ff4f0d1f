"""The API's own summaries of conversations (beta): what their signatures hold.

Invariant: a summary stands for exactly what it summarised: thinking behind it stays valid while system and tools are
the same and what was kept follows unbroken.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Final

_KEY: Final = b"inturn.testing.claude: signs summaries, protects nothing"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a summary's signature holds.

    Attributes:
        text: Digest of its content.
        head: Digest of system and tools.
        end: Digest of all that it stands for.
        role: Of the last message that it stands for.
    """

    text: bytes
    head: bytes
    end: bytes
    role: str

    @classmethod
    def of(cls, content: str, *, head: bytes, end: bytes, role: str) -> Summary:
        """Make one for a content that stands for a conversation."""
        return cls(_digest(content), hashlib.sha256(head).digest(), end, role)

    def says(self, content: str) -> bool:
        """Return whether this is the content that was signed."""
        return hmac.compare_digest(self.text, _digest(content))

    def follows(self, head: bytes, role: str | None) -> bool:
        """Return whether what stands behind it is what was kept: the same system and tools, and another role."""
        return self.head == hashlib.sha256(head).digest() and role not in (self.role, "system")

    def signature(self) -> str:
        """Return it as a signature."""
        data = self.text + self.head + self.end + self.role.encode()
        return base64.b64encode(data + hmac.digest(_KEY, data, "sha256")).decode()


def summary_of(block: dict[str, Any]) -> Summary | None:
    """Return what a block's signature holds, `None` where it is none of ours."""
    try:
        raw = base64.b64decode(str(block.get("signature") or ""), validate=True)
    except (binascii.Error, ValueError):
        return None
    data, mac = raw[:-32], raw[-32:]
    if len(data) < 97 or not hmac.compare_digest(mac, hmac.digest(_KEY, data, "sha256")):
        return None
    return Summary(data[:32], data[32:64], data[64:96], data[96:].decode())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()

"""Hostile values: of every size and shape, from a seed.

Invariant: the same seed gives the same values in the same order, in every process and on every Python.
"""

from __future__ import annotations

import json
import random
from typing import Any, Final

TEXTS: Final = (
    "",
    " ",
    "\n\t",
    "\x00\x01\x1b[31m",
    "\ud800",
    "\udfff\ud800",
    "😀" * 40,
    "é" * 300,
    "\u202e\u2066rtl",
    "NaN",
    "null",
    "../../etc/passwd",
    "t/../x",
    "a" * 129,
    "x" * 3_000,
    "`[click](javascript:alert(1))`",
    "{{7*7}}",
    "'; DROP TABLE entries; --",
)
NUMBERS: Final = (0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**40, 1e308, -1e308, 1e-320, 0.1, -0.0)
LITERALS: Final = ("NaN", "Infinity", "-Infinity", "9" * 5_000, "1e999", "0x1f", "01", "True", "undefined")
"""Texts that stand where a JSON value should, as they are."""
KEYS: Final = (
    "type",
    "text",
    "content",
    "source",
    "id",
    "name",
    "input",
    "cache_control",
    "event_id",
    "größe",
    "a.b",
    "",
)
BLOCK_TYPES: Final = ("text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "x", "")


class Hostile:
    """Makes hostile values: `Hostile(random.Random("7/3"))`."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def text(self) -> str:
        """Return a text that somebody might choke on."""
        pick = self.chance.random()
        if pick < 0.6:
            return self.chance.choice(TEXTS)
        if pick < 0.9:
            return "".join(chr(self.chance.choice((0, 10, 34, 92, 127, 233, 8232, 65279))) for _ in range(20))
        return self.chance.choice(("y", "\x01", "é")) * self.size(20_000)

    def size(self, most: int) -> int:
        """Return a length: small ones are as likely as large ones."""
        return int(2 ** self.chance.uniform(0, most.bit_length() - 1))

    def value(self, depth: int = 3) -> Any:
        """Return any JSON value."""
        match self.chance.randrange(8 if depth else 5):
            case 0:
                return self.text()
            case 1:
                return self.chance.choice(NUMBERS)
            case 2:
                return self.chance.choice((None, True, False))
            case 3:
                return self.nested(self.chance.choice((5, 99, 101, 150)))
            case 4:
                return [self.chance.choice(NUMBERS[:6])] * self.size(2_000)
            case 5:
                return [self.value(depth - 1) for _ in range(self.chance.randrange(4))]
            case 6:
                return self.block(depth - 1)
            case _:
                return {self.chance.choice(KEYS): self.value(depth - 1) for _ in range(self.chance.randrange(4))}

    def block(self, depth: int = 2) -> dict[str, Any]:
        """Return what may be taken for a content block."""
        block: dict[str, Any] = {"type": self.chance.choice(BLOCK_TYPES)}
        for key in self.chance.sample(KEYS[1:8], self.chance.randrange(4)):
            block[key] = self.value(depth) if depth else self.text()
        if self.chance.random() < 0.3:
            block["source"] = {"type": self.chance.choice(("base64", "url", "file")), "data": self.text()}
        return block

    def nested(self, depth: int) -> Any:
        """Return lists and objects within each other."""
        value: Any = 1
        for _ in range(depth):
            value = [value] if self.chance.random() < 0.5 else {"a": value}
        return value

    def json(self, value: Any) -> bytes:
        """Return a value as bytes that are JSON, or nearly."""
        data = json.dumps(value, ensure_ascii=self.chance.random() < 0.5).encode("utf-8", "surrogatepass")
        match self.chance.randrange(12):
            case 0:
                return data[: self.chance.randrange(len(data) + 1)]  # cut
            case 1:
                return b"\xef\xbb\xbf" + data
            case 2:
                return data.replace(b":", b":" + self.chance.choice(LITERALS).encode() + b"," + b'"k":', 1)
            case 3:
                return self.chance.randbytes(self.size(4_000))
            case 4:
                return data.replace(b'"', b"'")
            case _:
                return data

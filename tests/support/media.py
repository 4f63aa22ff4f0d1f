"""Small pictures and documents, as the first look at their bytes takes them."""

from __future__ import annotations

import struct
import zlib
from typing import Any


def png(side: int = 100, *, size: int = 0) -> bytes:
    """A PNG's beginning, and as many bytes as are asked for."""
    head = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", side, 10)
    return head.ljust(size, b"\x07")


def pdf(pages: int = 1, *, size: int = 0, packed: bool = False) -> bytes:
    """A PDF's beginning with its pages, in clear or packed, and as many bytes as are asked for."""
    held = b"<< /Type /Page >>\n" * pages
    if packed:
        held = b"1 0 obj << /Type /ObjStm >>\nstream\n" + zlib.compress(held) + b"\nendstream\n"
    return (b"%PDF-1.7\n" + held).ljust(size, b"\x07")


def block(ref: str, kind: str = "document") -> dict[str, Any]:
    """A block that shows what was uploaded."""
    return {"type": kind, "source": {"type": "inturn", "ref": ref}}

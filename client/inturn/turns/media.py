"""What bytes can be shown as, by what they are: nobody's word for it counts.

Invariant: what cannot be judged is nothing that is shown. Whatever comes is looked through once, in time that grows
with its length alone.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from inturn.errors import InvalidEvent
from inturn.sizes import UPLOAD
from inturn.turns.pictures import side_of

TEXT: Final = "text/plain"
PDF: Final = "application/pdf"
MAX_IMAGE: Final = 5 * 1024 * 1024
"""Bytes of a picture that the API takes."""
MAX_PIXELS: Final = 8_000
"""Of its longer side."""
PAGE_BYTES: Final = 100_000
"""Of a document, about: one whose pages are not found has rather more than too few."""
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][\w.+-]{0,60}/[A-Za-z0-9][\w.+-]{0,60}(?:; ?[\w.=+-]{1,60})?", re.ASCII)
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"RIFF", "image/webp"),
)
_PAGE: Final = re.compile(rb"/Type\s{0,8}/Page(?![A-Za-z])")
_ENCRYPTED: Final = re.compile(rb"/Encrypt\s{0,8}(?:\d{1,10}\s|<<)")
_MAX_UNPACKED: Final = 32 * 1024 * 1024
"""Bytes of what a document has packed that are looked at."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def check_upload(data: object, media_type: object) -> bytes:
    """Return bytes that may be uploaded.

    Raises:
        InvalidEvent: There is nothing in it, or too much, or the media type is none.
    """
    if not isinstance(data, bytes | bytearray | memoryview) or not 0 < memoryview(data).nbytes <= UPLOAD:
        raise InvalidEvent(f"an upload is bytes, 1 to {UPLOAD:,} of them")
    if not isinstance(media_type, str) or _MEDIA_TYPE.fullmatch(media_type) is None:
        raise InvalidEvent(f"{media_type!r:.100} is no media type, such as image/png")
    return bytes(data)


@dataclass(frozen=True, slots=True)
class Media:
    """What bytes can be shown as.

    Attributes:
        type: A media type that the API takes.
        measure: Pixels of a picture's longer side, pages of a document; 0 of a text.
    """

    type: str
    measure: int = 0

    @property
    def kind(self) -> str:
        """The type of the block that shows it."""
        return "image" if self.type.startswith("image/") else "document"


def judged(data: bytes) -> Media | None:
    """Return what bytes can be shown as; `None`: nothing, as far as can be judged."""
    for magic, type_ in _MAGIC:
        if data.startswith(magic):
            side = side_of(data)
            return Media(type_, side) if side else None
    if data.startswith(b"%PDF-"):
        return None if _ENCRYPTED.search(data) else Media(PDF, pages(data))
    return Media(TEXT) if _is_text(data) else None


def why_not(kind: object, media: str, measure: int, size: int) -> str | None:
    """Return why what was uploaded cannot be shown as a block of some kind; `None`: it can.

    Args:
        kind: The block's type.
        media: What it can be shown as; empty: nothing.
        measure: As `Media` has it.
        size: Its bytes.
    """
    if kind != "image":
        return None if media in (PDF, TEXT) else "what was uploaded is no PDF that can be opened, and no text"
    if not media.startswith("image/"):
        return "what was uploaded is no PNG, JPEG, GIF or WebP"
    if size > MAX_IMAGE or measure > MAX_PIXELS:
        return f"what was uploaded is larger than {MAX_IMAGE // 2**20} MiB or {MAX_PIXELS:,} pixels"
    return None


def pages(pdf: bytes) -> int:
    """Return about how many pages a PDF has, one at least."""
    found = len(_PAGE.findall(pdf)) + sum(len(_PAGE.findall(part)) for part in _packed(pdf))
    return found or max(1, len(pdf) // PAGE_BYTES)


def _packed(pdf: bytes) -> Iterator[bytes]:
    """Yield what a PDF has in packed streams of objects; its pages may all be there."""
    at, left = 0, _MAX_UNPACKED
    while left > 0 and (at := pdf.find(b"/ObjStm", at)) >= 0 and (begin := pdf.find(b"stream", at)) >= 0:
        end = pdf.find(b"endstream", begin)
        at = len(pdf) if end < 0 else end
        packed = pdf[begin + len(b"stream") : at].lstrip(b"\r\n")
        try:
            part = zlib.decompressobj().decompress(packed, left)
        except zlib.error:
            continue
        left -= len(part)
        yield part


def _is_text(data: bytes) -> bool:
    try:
        said = data.decode()
    except UnicodeDecodeError:
        return False
    return bool(said.strip()) and _CONTROL.search(said) is None

"""What bytes can be shown as: by what they are, and in time that grows with their length alone."""

from __future__ import annotations

import time

import pytest

from inturn.turns.media import Media, judged, pages
from tests.support.media import pdf, png


@pytest.mark.parametrize(
    ("data", "media"),
    [
        (png(640), Media("image/png", 640)),
        (b"GIF89a\x10\x00\x20\x00", Media("image/gif", 32)),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x40\x00\x80\x00", Media("image/jpeg", 128)),
        (b"RIFF\x00\x00\x00\x00WEBPVP8X" + b"\0" * 8 + b"\xff\x00\x00\x0f\x00\x00", Media("image/webp", 256)),
        (pdf(12), Media("application/pdf", 12)),
        (pdf(12, packed=True), Media("application/pdf", 12)),
        ("grün\r\n\tsay".encode(), Media("text/plain")),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Media("text/plain")),
    ],
)
def test_what_can_be_shown_is_known_by_its_bytes(data: bytes, media: Media) -> None:
    assert judged(data) == media


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"\x7fELF",
        b"%PDF-1.4 /Encrypt 1 0 R",
        b"MZ\x90",
    ],
)
def test_what_cannot_be_judged_is_nothing(data: bytes) -> None:
    assert judged(data) is None


def test_a_large_document_whose_pages_are_not_found_has_rather_too_many() -> None:
    assert pages(pdf(0, size=2_000_000)) == 20


@pytest.mark.parametrize(
    "hostile",
    [
        b"/ObjStm" * 300_000,
        b"/ObjStm stream\n" * 150_000,
        b"/Type " * 400_000,
        b"/Encrypt " * 300_000,
        b"/Type" + b" " * 2_000_000,
        b"/ObjStm stream\n" + b"x\x9c" * 1_000_000,
    ],
)
def test_no_document_holds_up_who_looks_at_it(hostile: bytes) -> None:
    began = time.process_time()
    assert judged(b"%PDF-1.7\n" + hostile) is not None
    assert time.process_time() - began < 1

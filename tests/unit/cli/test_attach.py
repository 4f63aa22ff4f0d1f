"""`--attach FILE`: uploaded, and shown by reference; what cannot be shown is said before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inturn.client import client as client_module
from inturn.values import Receipt, Turn, Usage
from tests.support.media import pdf, png
from tests.unit.cli.test_cli import Fake

REF = "sha256:" + "a" * 64


class Uploading(Fake):
    """A client that notes what is uploaded."""

    def __init__(self) -> None:
        super().__init__()
        self.uploaded: list[tuple[bytes, str]] = []

    async def upload(self, data: bytes, media_type: str) -> str:
        self.uploaded.append((data, media_type))
        return REF


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Uploading:
    monkeypatch.chdir(tmp_path)
    made = Uploading()
    made.answers["send"] = made.answers["submit"] = Receipt(event_id="x", status="sent")
    made.answers["ask"] = Turn(event_id="x", text="paid", stop_reason="end_turn", usage=Usage(), disposition="applied")
    monkeypatch.setattr(client_module, "Client", made)
    return made


def shown(kind: str, **more: str) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "inturn", "ref": REF}, **more}


@pytest.mark.parametrize("command", [["send"], ["send", "--confirm"], ["ask"]])
def test_files_are_uploaded_and_shown_behind_the_text(fake: Uploading, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "bill.bin").write_bytes(pdf())
    (tmp_path / "face").write_bytes(png())
    name, *options = command
    done = fake.run(name, "s", "paid?", *options, "--attach", "bill.bin", "--attach", "face")
    assert done.exit_code == 0, done.output
    assert fake.uploaded == [(pdf(), "application/pdf"), (png(), "image/png")]
    [(_, (content,), _)] = fake.session_made.calls
    assert content == [{"type": "text", "text": "paid?"}, shown("document", title="bill.bin"), shown("image")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"PK\x03\x04", "it is no PNG, JPEG, GIF, WebP, PDF or text"),
        (b"", "it is no PNG"),
        (png(9_000), "larger than 5 MiB or 8,000 pixels"),
        (b"a" * (20 * 2**20 + 1), "of at most 20 MiB"),
        (None, "No such file"),
    ],
)
def test_what_cannot_be_shown_is_not_sent(fake: Uploading, tmp_path: Path, data: bytes | None, why: str) -> None:
    if data is not None:
        (tmp_path / "file").write_bytes(data)
    done = fake.run("ask", "s", "hi", "--attach", "file")
    assert done.exit_code == 2
    assert why in " ".join(done.stderr.replace("│", "").split())
    assert not fake.uploaded
    assert not fake.session_made.calls

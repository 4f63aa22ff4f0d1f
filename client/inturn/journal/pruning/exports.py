"""A session's rows in a file, before they go: JSON lines, with its chain of hashes.

Invariant: a file has its name only once it was read back whole, with the same chain and as many rows. What was
encrypted in the journal is so in the file, under the same keys.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from inturn.errors import InturnError
from inturn.journal.log.log import GENESIS, entry_hash
from inturn.journal.pruning.doomed import doomed, kept
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey

SUFFIX: Final = ".jsonl"
_NOT_SAID: Final = ("tenant", "session")


class ExportFailed(InturnError):
    """An export cannot be written, or is not whole; nothing of its session was deleted."""


@dataclass(frozen=True, slots=True)
class Export:
    """A file that was read back.

    Attributes:
        head: The last entry that it has.
        hash: That one's.
        rows: How many rows it has.
        sha256: Of the file.
    """

    path: Path
    session: SessionKey
    head: int
    hash: str
    rows: int
    sha256: str


def write(tx: Transaction, session: SessionKey, head: int, directory: Path) -> Export:
    """Write what goes with a session into a file of a directory, and return it once it was read back.

    Raises:
        ExportFailed: It could not be written, or is not what the journal has.
    """
    # No id has a slash, but one may be `..`.
    path = directory / f"tenant-{session.tenant}" / f"{session.session_id}.{head}{SUFFIX}"
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            rows = _write(tx, session, head, file)
            file.flush()
            os.fsync(file.fileno())
        read = check(part)
        if (read.session, read.head, read.rows) != (session, head, rows):
            raise ExportFailed(f"{part}: has {read.rows} rows up to entry {read.head}, not {rows} up to {head}")
        if path.exists() and (other := check(path).session) != session:  # to this disk A and a may be one name
            raise ExportFailed(f"{path}: is the export of {other}. To do: name another directory for {session}")
        part.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise ExportFailed(
            f"{path}: {error.strerror or error}. To do: name a directory with room that can be written"
        ) from error
    return Export(path, session, head, read.hash, rows, read.sha256)


def check(path: Path) -> Export:
    """Read an export: that it is whole, and that its chain of hashes holds.

    Raises:
        ExportFailed: It is not an export, not whole, or was changed.
    """
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            found = _checked(path, _lines(file, digest))
        return Export(path, *found, digest.hexdigest())
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ExportFailed(f"{path}: is no export of a session ({type(error).__name__}: {error})") from error
    except OSError as error:
        raise ExportFailed(f"{path}: {error.strerror or error}") from error


def _write(tx: Transaction, session: SessionKey, head: int, file: IO[str]) -> int:
    count = 0
    file.write(_line({"export": "inturn session", "tenant": session.tenant, "session": session.session_id}))
    for each in (*doomed(tx, session, head), kept(session)):
        for page in each.pages(tx):
            for row in page:
                named = {name: _plain(value) for name, value in zip(each.table.columns, row, strict=True)}
                said = {name: value for name, value in named.items() if name not in _NOT_SAID}
                file.write(_line({"table": each.table.name} | said))
                count += 1
    file.write(_line({"rows": count}))
    return count


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else {"base64": base64.b64encode(bytes(value)).decode()}


def _lines(file: IO[bytes], digest: Any) -> Iterator[dict[str, Any]]:
    for line in file:
        digest.update(line)
        yield json.loads(line)


def _checked(path: Path, lines: Iterator[dict[str, Any]]) -> tuple[SessionKey, int, str, int]:
    first = next(lines, {})
    if first.get("export") != "inturn session":
        raise ExportFailed(f"{path}: is no export of a session")
    session = SessionKey(first["tenant"], first["session"])
    rows, seq, hash_, said = 0, 0, GENESIS, None
    for line in lines:
        if said is not None:
            raise ExportFailed(f"{path}: goes on behind its end")
        if "table" not in line:
            said = line["rows"]
            continue
        rows += 1
        if line["table"] == "entries":
            before = (line["seq"] - 1, line["prev"]) if seq == 0 else (seq, hash_)
            if not _follows(session, line, *before):
                raise ExportFailed(f"{path}: entry {line['seq']} was changed, or does not follow the one before it")
            seq, hash_ = line["seq"], line["hash"]
    if said != rows:
        raise ExportFailed(f"{path}: is not whole: it has {rows} rows, and says {said}")
    return session, seq, hash_, rows


def _follows(session: SessionKey, line: dict[str, Any], seq: int, hash_: str) -> bool:
    named = (line["key"], line["type"], line["event_id"], line["step"], line["at"])
    made = entry_hash(session, hash_, seq + 1, *named, line["body"])
    return (line["seq"], line["prev"], line["hash"]) == (seq + 1, hash_, made) and (seq > 0 or hash_ == GENESIS)


def _flush(directory: Path) -> None:
    """Have a directory's new names survive a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

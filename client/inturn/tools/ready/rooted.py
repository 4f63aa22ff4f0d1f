"""A directory that nothing inside can lead out of.

Invariant: every path is a plain relative one, and every part of it is opened below the part before it, never through
a symbolic link. So there is no moment between a check and its use, whoever changes the tree meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inturn.errors import ToolError

MAX_PATH: Final = 1_024
"""Characters."""
MAX_NAME: Final = 200
"""Bytes of one part, so that a temporary name beside it fits into a file system's 255."""
STAGED: Final = ".inturn-"
"""How the names of unfinished files begin; tools neither show nor take them."""

_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FILE: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was read; `stamp` differs once somebody has put another in its place or written into it."""

    data: bytes
    mode: int
    stamp: tuple[int, int, int]

    @property
    def hash(self) -> str:
        """Name the content: 32 hex digits."""
        return hashlib.sha256(self.data).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a directory; `size` is `None` for what is no file."""

    name: str
    kind: str
    size: int | None = None


def plain(path: str) -> str:
    """Return the one spelling of a relative path: `./a//b.txt` is `a/b.txt`, and the root is `.`.

    Raises:
        ValueError: It is no path below a root, on any platform.
    """
    if len(path) > MAX_PATH:
        raise ValueError(f"the path is longer than {MAX_PATH} characters")
    if not path.isprintable():
        raise ValueError("the path holds control characters")
    if path.startswith("/") or "\\" in path or ":" in path:
        raise ValueError("the path must be relative, with / between its parts and without : or \\")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for part in parts:
        _check(part)
    return "/".join(parts) or "."


def _check(part: str) -> None:
    if part == "..":
        raise ValueError("the path must not hold ..")
    if part.endswith((" ", ".")):  # another spelling of the same name, on Windows
        raise ValueError(f"{part!r} ends with a space or a dot")
    if part.casefold().startswith(STAGED):
        raise ValueError(f"names that begin with {STAGED} are taken")
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        raise ValueError("the path is no valid text") from None
    if size > MAX_NAME:
        raise ValueError(f"{part[:40]!r}… is longer than {MAX_NAME} bytes")


class Root:
    """Reads and replaces files below a directory. Paths are as `plain` gives them; all methods block."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Take a directory; it is made when it is first written to.

        Raises:
            NotImplementedError: The platform cannot open a file below a directory that is open.
        """
        if not {os.open, os.mkdir, os.unlink, os.stat} <= os.supports_dir_fd or not hasattr(os, "O_NOFOLLOW"):
            raise NotImplementedError("a root needs directory descriptors and O_NOFOLLOW (Linux, macOS)")
        self.directory = Path(directory).resolve()

    def read(self, path: str, *, limit: int) -> Found | None:
        """Read a file; `None` where there is none.

        Raises:
            ToolError: It is no plain file, larger than `limit` bytes, or cannot be read.
        """
        with _translate_errors(path):
            try:
                with self._below(path) as (parent, name):
                    return _read(parent, name, path, limit)
            except FileNotFoundError:
                return None

    def stage(self, path: str, data: bytes, token: str, *, mode: int) -> None:
        """Write content beside a file, under a name made of `token`; durable once it returns.

        Raises:
            ToolError: It cannot be written.
        """
        with _translate_errors(path), self._below(path, make=True) as (parent, _):
            self._drop(parent, token)
            fd = os.open(STAGED + token, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=parent)
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(fd, mode)
                os.fsync(fd)
            os.fsync(parent)

    def staged(self, path: str, token: str) -> bool:
        """Return whether staged content still waits: then it never took the file's place."""
        with _translate_errors(path):
            try:
                with self._below(path) as (parent, _):
                    os.stat(STAGED + token, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                return False
            return True

    def put(self, path: str, token: str, *, over: Found | None) -> None:
        """Put staged content in the place of what was found, at once and as a whole; durable once it returns.

        Raises:
            ToolError: Something else stands there by now. (A program that takes no lock can still come between.)
        """
        with _translate_errors(path), self._below(path) as (parent, name):
            if _stamp_of(parent, name) != (over and over.stamp):
                raise ToolError(f"{path} was changed by somebody else at this moment. Read it again")
            os.replace(STAGED + token, name, src_dir_fd=parent, dst_dir_fd=parent)
            os.fsync(parent)

    def drop(self, path: str, token: str) -> None:
        """Forget staged content."""
        with contextlib.suppress(FileNotFoundError), _translate_errors(path), self._below(path) as (parent, _):
            self._drop(parent, token)

    def list(self, path: str) -> list[Listed] | None:
        """List a directory, sorted; `None` where there is none.

        Raises:
            ToolError: It is no directory, or cannot be read.
        """
        with _translate_errors(path):
            try:
                with self._directory(path) as fd, os.scandir(fd) as entries:
                    found = [_listed(entry) for entry in entries if not entry.name.casefold().startswith(STAGED)]
            except FileNotFoundError:
                return None
            return sorted(found, key=lambda entry: entry.name)

    @contextmanager
    def _below(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the directory that holds a path; return its descriptor and the last name."""
        parent, _, name = path.rpartition("/")
        if name in ("", "."):
            raise ToolError("the path names the root itself, not a file in it")
        with self._directory(parent or ".", make=make) as fd:
            yield fd, name

    @contextmanager
    def _directory(self, path: str, *, make: bool = False) -> Iterator[int]:
        # Checked once more: whoever comes here without `plain` must not get out either.
        parts = [] if plain(path) == "." else plain(path).split("/")
        if make:
            self.directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.directory, _DIRECTORY)
        try:
            for part in parts:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=fd)
                        os.fsync(fd)
                inner = os.open(part, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    @staticmethod
    def _drop(parent: int, token: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(STAGED + token, dir_fd=parent)


def _read(parent: int, name: str, path: str, limit: int) -> Found:
    fd = os.open(name, os.O_RDONLY | _FILE, dir_fd=parent)
    with open(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise ToolError(f"{path} is no plain file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ToolError(f"{path} is larger than {limit:,} bytes")
    return Found(data, stat.S_IMODE(about.st_mode), _stamp(about))


def _stamp(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_ino, about.st_mtime_ns, about.st_size


def _stamp_of(parent: int, name: str) -> tuple[int, int, int] | None:
    try:
        return _stamp(os.stat(name, dir_fd=parent, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _listed(entry: os.DirEntry[str]) -> Listed:
    if entry.is_symlink():
        return Listed(entry.name, "link")
    if entry.is_dir(follow_symlinks=False):
        return Listed(entry.name, "directory")
    if not entry.is_file(follow_symlinks=False):
        return Listed(entry.name, "other")
    with contextlib.suppress(OSError):
        return Listed(entry.name, "file", entry.stat(follow_symlinks=False).st_size)
    return Listed(entry.name, "file")


@contextmanager
def _translate_errors(path: str) -> Iterator[None]:
    """Raise what the system refused in the model's words: by the path it gave, never by ours."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (NotADirectoryError, IsADirectoryError) as error:
        raise ToolError(f"{path}: a directory stands for a file in it, or a file or link for a directory") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ToolError(f"{path} is a symbolic link or leads through one: links are not followed") from error
        raise ToolError(f"{path}: {os.strerror(error.errno) if error.errno else 'cannot be used'}") from error

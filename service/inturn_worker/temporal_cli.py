"""The Temporal CLI, wherever it comes from: `python -m inturn_worker.temporal_cli ARGS…` runs it.

Looks in this order: INTURN_TEMPORAL, `temporal` on PATH, inturn's cache, the Temporal SDK's own download, then
`go install`. What it downloads or builds it keeps in the cache (INTURN_CACHE, else the user's cache directory), so that
happens once. `--which` prints the path and where it came from.

Invariant: a file in the cache is whole. It is made in a directory beside it and renamed, by one process at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from inturn_worker.parent import die_with_parent
from inturn_worker.progress import Progress, say

# The newest tag that `go install` accepts: later ones carry a replace directive.
GO_PACKAGE: Final = "github.com/temporalio/cli/cmd/temporal"
GO_VERSION: Final = "v1.5.1"
BUILD_SECONDS: Final = 1200
# A download may be long, but not silent.
STALL_SECONDS: Final = 20.0
_TICK: Final = 0.1
_LAUNCHER: Final = b"inturn_worker.temporal_cli"
_SDK_DOWNLOAD: Final = """
import asyncio, sys
from temporalio.testing import WorkflowEnvironment

async def download():
    server = await WorkflowEnvironment.start_local(download_dest_dir=sys.argv[1])
    await server.shutdown()

asyncio.run(download())
"""


class NotFound(Exception):
    """No source gives a CLI; the message says why, and what to do."""

    def __init__(self, message: str, code: int = 127) -> None:
        super().__init__(message)
        self.code = code


def main(arguments: list[str]) -> int:
    """Run the CLI with `arguments`, in this process."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        path, source = find()
    except NotFound as error:
        say(str(error))
        return error.code
    except KeyboardInterrupt:
        return 130
    if arguments == ["--which"]:
        print(f"{path}\t{source}")
        return 0
    os.execv(path, [str(path), *arguments])


def find() -> tuple[Path, str]:
    """Return the CLI's path and its source; downloads or builds it where it must.

    Raises:
        NotFound: No source gives one.
    """
    if named := os.environ.get("INTURN_TEMPORAL"):
        if not _is_program(Path(named)):
            raise NotFound(f"INTURN_TEMPORAL={named} is not a program that can be run. Correct it or unset it.", 1)
        return Path(named), "INTURN_TEMPORAL"
    if on_path := _find_on_path():
        return on_path, "PATH"
    failures = ["PATH: no `temporal` there"]
    found = _find_cached() or _make(failures)
    if found is None:
        raise NotFound(_nothing_works(failures))
    return found


def _find_on_path() -> Path | None:
    for directory in os.get_exec_path():
        candidate = Path(directory, "temporal")
        if _is_program(candidate) and not _is_launcher(candidate):
            return candidate
    return None


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _is_launcher(path: Path) -> bool:
    """Return whether it would call this module again, as the checkout's `scripts/temporal` does."""
    with path.open("rb") as file:
        return _LAUNCHER in file.read(500)


def cache() -> Path:
    """Return the directory for what was downloaded or built."""
    if own := os.environ.get("INTURN_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inturn"


def _sources() -> dict[str, Path]:
    """Return what the cache may hold, the preferred one first."""
    return {
        "the SDK's download": cache() / "sdk" / "temporal",
        f"go install {GO_VERSION}": cache() / GO_VERSION / "temporal",
    }


def _find_cached() -> tuple[Path, str] | None:
    for source, path in _sources().items():
        if _is_program(path):
            return path, f"cache ({source})"
    return None


def _make(failures: list[str]) -> tuple[Path, str] | None:
    """Download or build the CLI into the cache; adds to `failures` why a source gave none."""
    kept = cache()
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        failures.append(f"cache: {error} (INTURN_CACHE names another directory)")
        return None
    with locked(kept / "lock"):
        if cached := _find_cached():  # another process made it while this one waited
            return cached
        for leftover in kept.glob("making-*"):  # of a process that was killed: who holds the lock works alone
            shutil.rmtree(leftover, ignore_errors=True)
        for (source, path), attempt in zip(_sources().items(), (download, build), strict=True):
            with tempfile.TemporaryDirectory(prefix="making-", dir=kept) as directory:
                problem = attempt(Path(directory))
                made = next((p for p in Path(directory).glob("temporal*") if _is_program(p)), None)
                if problem is None and made is not None:
                    path.parent.mkdir(exist_ok=True)
                    made.replace(path)
                    say(f"using {path} ({source})")
                    return path, source
            failures.append(f"{source}: {problem or 'left no program behind'}")
    return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock of this machine; who waits for it says so."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that is fetching it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def download(directory: Path) -> str | None:
    """Download the dev server by the Temporal SDK into `directory`; returns what went wrong."""
    command = [sys.executable, "-c", _SDK_DOWNLOAD, str(directory)]
    with (directory / "log").open("w+") as log, Progress("downloading the Temporal CLI (once)") as progress:
        with _running(command, log) as process:
            stalled = _wait_while_growing(process, directory, progress)
        if stalled:
            return f"nothing arrived for {STALL_SECONDS:g} s"
        return None if process.returncode == 0 else _last_line((directory / "log").read_text())


def _wait_while_growing(process: subprocess.Popen[bytes], directory: Path, progress: Progress) -> bool:
    """Wait for the end of `process`; returns whether `directory` stopped growing before it."""
    size, since = -1, time.monotonic()
    while process.poll() is None:
        now = sum(p.stat().st_size for p in directory.iterdir() if p.exists())
        if now != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > STALL_SECONDS:
            return True
        progress.show(f"{size / 1e6:.0f} MB" if size > 1e6 else "asking for it")
        time.sleep(_TICK)
    return False


def build(directory: Path) -> str | None:
    """Build the CLI with Go into `directory`; returns what went wrong."""
    what = f"building the Temporal CLI {GO_VERSION} with go install (once; about two minutes on two cores)"
    return go_install(directory, [f"{GO_PACKAGE}@{GO_VERSION}"], what)


def go_install(directory: Path, packages: Sequence[str], what: str) -> str | None:
    """Build programs with Go into `directory`, and say `what` meanwhile; returns what went wrong."""
    go = shutil.which("go")
    if go is None:
        return "no `go` on PATH"
    command = [go, "install", "-trimpath", "-ldflags=-s -w", *packages]
    with (directory / "log").open("w+") as log, Progress(what) as progress:
        with _running(command, log, GOBIN=str(directory)) as process:
            began = time.monotonic()
            while process.poll() is None:
                if time.monotonic() - began > BUILD_SECONDS:
                    return f"not done after {BUILD_SECONDS} s"
                progress.show()
                time.sleep(_TICK)
    return None if process.returncode == 0 else _last_line((directory / "log").read_text())


@contextlib.contextmanager
def _running(command: list[str], log: IO[str], **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that ends with the block, and all that it started, too."""
    process: subprocess.Popen[bytes] = subprocess.Popen(
        command,
        stdout=log,
        stderr=log,
        env={**os.environ, **variables},
        process_group=0,
        preexec_fn=die_with_parent,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(text: str) -> str:
    """Return the line of a log that says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "failed without a word"


def _nothing_works(failures: list[str]) -> str:
    tried = "\n".join(f"  {failure}" for failure in failures)
    return (
        f"no Temporal CLI was found and none could be made.\n{tried}\n"
        "Do one of these: put `temporal` on PATH (https://docs.temporal.io/cli), set INTURN_TEMPORAL to its path,\n"
        "install Go, or run this once with access to the internet."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

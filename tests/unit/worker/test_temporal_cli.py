"""The Temporal CLI is found in the promised order and made once.

The sources are stand-ins on disk: a `go` and an SDK that leave a program behind. No network, no real build.
"""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from inturn_worker import progress, temporal_cli

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts/temporal"

GO_THAT_BUILDS = r"""
echo built >> "$LOG"
printf '#!/bin/sh\necho from-go "$@"\n' > "$GOBIN/temporal"
chmod +x "$GOBIN/temporal"
"""
GO_THAT_WAITS = f"""
n=0
until [ -e "$GATE" ] || [ $n -gt 600 ]; do n=$((n+1)); sleep 0.05; done
{GO_THAT_BUILDS}
"""
# Stand in for temporalio.testing: the SDK's download.
SDK_THAT_FAILS = "raise SystemExit('no network here')"
SDK_THAT_DOWNLOADS = r"""
import os

class Server:
    async def shutdown(self): pass

class WorkflowEnvironment:
    @staticmethod
    async def start_local(download_dest_dir):
        path = os.path.join(download_dest_dir, "temporal-sdk-python-1")
        with open(path, "w") as file:
            file.write("#!/bin/sh\necho from-sdk\n")
        os.chmod(path, 0o755)
        return Server()
"""


class Machine:
    """A machine with nothing but a Python: programs are put on its PATH, its cache starts empty."""

    def __init__(self, home: Path) -> None:
        self.bin = home / "bin"
        self.cache = home / "cache"
        self.log = home / "log"
        self.gate = home / "gate"
        self.sdk = home / "sdk/temporalio"
        self.sdk.mkdir(parents=True)
        (self.sdk / "__init__.py").touch()
        self.offer_sdk(SDK_THAT_FAILS)
        self.environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(home),
            "INTURN_CACHE": str(self.cache),
            "PYTHONPATH": str(self.sdk.parent),
            "LOG": str(self.log),
            "GATE": str(self.gate),
        }

    def offer_sdk(self, code: str) -> None:
        """Lets the Temporal SDK be this."""
        (self.sdk / "testing.py").write_text(code)

    def put(self, name: str, body: str, directory: Path | None = None) -> Path:
        """Makes an executable shell script, on PATH unless a directory is named."""
        path = (directory or self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-B", "-m", "inturn_worker.temporal_cli", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=60)
            return process.returncode, out.strip(), err.strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(tmp_path)
    found.bin.mkdir()
    return found


def test_the_named_program_goes_before_the_one_on_path(machine: Machine) -> None:
    machine.put("temporal", "echo from-path")
    assert machine.run("x") == (0, "from-path", "")
    named = machine.put("mine", "echo from-variable $*", machine.cache)
    machine.environment["INTURN_TEMPORAL"] = str(named)
    assert machine.run("server", "--flag") == (0, "from-variable server --flag", "")
    assert machine.run("--which") == (0, f"{named}\tINTURN_TEMPORAL", "")


def test_a_wrong_name_is_an_error_and_no_other_source_is_tried(machine: Machine) -> None:
    machine.put("temporal", "echo from-path")
    machine.environment["INTURN_TEMPORAL"] = "/no/such/program"
    code, out, err = machine.run("x")
    assert (code, out) == (1, "")
    assert "INTURN_TEMPORAL=/no/such/program" in err


def test_the_script_on_path_does_not_call_itself(machine: Machine) -> None:
    (machine.bin / "temporal").symlink_to(SCRIPT)
    code, _, err = machine.run("x")
    assert code == 127
    assert "no Temporal CLI was found" in err


def test_a_program_on_path_goes_before_the_cache(machine: Machine) -> None:
    machine.put("temporal", "echo cached", machine.cache / "v1.5.1")
    assert machine.run() == (0, "cached", "")
    machine.put("temporal", "echo from-path")
    assert machine.run() == (0, "from-path", "")


def test_a_machine_with_nothing_gets_one_message_that_says_what_to_do(machine: Machine) -> None:
    code, out, err = machine.run("server", "start-dev")
    assert (code, out) == (127, "")
    for part in ("PATH:", "the SDK's download:", "go install", "INTURN_TEMPORAL", "put `temporal` on PATH"):
        assert part in err
    assert "Traceback" not in err


def test_go_builds_once_and_the_cache_serves_afterwards(machine: Machine) -> None:
    machine.put("go", GO_THAT_BUILDS)
    code, out, err = machine.run("a", "b")
    assert (code, out) == (0, "from-go a b")
    assert "go install" in err
    assert machine.run("c") == (0, "from-go c", "")
    assert machine.log.read_text() == "built\n"


def test_the_sdk_is_asked_before_go(machine: Machine) -> None:
    machine.put("go", GO_THAT_BUILDS)
    machine.offer_sdk(SDK_THAT_DOWNLOADS)
    code, out, err = machine.run()
    assert (code, out) == (0, "from-sdk")
    assert "the SDK's download" in err
    assert not machine.log.exists()


def test_a_failed_build_says_why_and_leaves_nothing_behind(machine: Machine) -> None:
    machine.put("go", 'echo half > "$GOBIN/temporal"; echo "no such module" >&2; exit 1')
    code, _, err = machine.run()
    assert code == 127
    assert "go install v1.5.1: no such module" in err
    assert [path.name for path in machine.cache.iterdir()] == ["lock"]


def test_two_that_race_build_once(machine: Machine) -> None:
    machine.put("go", GO_THAT_WAITS)
    first = machine.start("first")
    assert first.stderr is not None
    assert "building" in first.stderr.readline()
    second = machine.start("second")
    assert second.stderr is not None
    assert "waiting for another process" in second.stderr.readline()
    machine.gate.touch()
    assert first.communicate(timeout=60)[0] == "from-go first\n"
    assert second.communicate(timeout=60)[0] == "from-go second\n"
    assert machine.log.read_text() == "built\n"


def test_what_a_killed_build_left_is_no_program_and_goes_away(machine: Machine) -> None:
    machine.put("temporal", "echo half", machine.cache / "making-dead")
    machine.put("go", GO_THAT_BUILDS)
    assert machine.run()[:2] == (0, "from-go")
    assert sorted(path.name for path in machine.cache.iterdir()) == ["lock", "v1.5.1"]


def test_a_cache_that_cannot_be_written_is_named(machine: Machine, tmp_path: Path) -> None:
    machine.put("go", GO_THAT_BUILDS)
    (tmp_path / "file").touch()
    machine.environment["INTURN_CACHE"] = str(tmp_path / "file/cache")
    code, _, err = machine.run()
    assert code == 127
    assert "INTURN_CACHE" in err


def test_a_download_that_stalls_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporal_cli, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(temporal_cli, "_SDK_DOWNLOAD", "import threading; threading.Event().wait(60)")
    began = time.monotonic()
    assert temporal_cli.download(tmp_path) == "nothing arrived for 0.3 s"
    assert time.monotonic() - began < 30


def test_long_work_tells_where_it_is_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 0.5, 1.5, 2.0, 17.0])
    monkeypatch.setattr("inturn_worker.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    with progress.Progress("building") as shown:
        for detail in ("", "1 MB", "2 MB", "9 MB"):
            shown.show(detail)
    assert capsys.readouterr().err == "temporal: building: 2 s, 1 MB\ntemporal: building: 17 s, 9 MB\n"

"""scripts/temporal finds the CLI in the promised order and makes it once; scripts/links sees dead links.

The sources are stand-ins on disk: a `go` and a Python that leave a program behind. No network, no real build.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
import venv
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

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
# Called twice: to tell whether it has the SDK, and with a directory to download into.
SDK_THAT_DOWNLOADS = r"""
[ -n "$3" ] || exit 0
printf '#!/bin/sh\necho from-sdk\n' > "$3/temporal-sdk-python-1"
chmod +x "$3/temporal-sdk-python-1"
"""


def load(path: Path, name: str) -> ModuleType:
    """Imports a script that has no .py ending, leaving no bytecode beside it."""
    loader = SourceFileLoader(name, str(path))
    spec = spec_from_loader(name, loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


class Machine:
    """A machine with nothing but a Python: programs are put on its PATH, its cache starts empty."""

    def __init__(self, home: Path) -> None:
        self.bin = home / "bin"
        self.cache = home / "cache"
        self.log = home / "log"
        self.gate = home / "gate"
        venv.create(home / "python", symlinks=True)  # without temporalio
        self.python = home / "python/bin/python"
        self.environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(home),
            "INTURN_CACHE": str(self.cache),
            "VENV": str(home / "no-environment"),
            "LOG": str(self.log),
            "GATE": str(self.gate),
        }

    def put(self, name: str, body: str, directory: Path | None = None) -> Path:
        """Makes an executable shell script, on PATH unless a directory is named."""
        path = (directory or self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [str(self.python), "-B", str(SCRIPT), *arguments]
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


def test_the_sdk_is_asked_before_go(machine: Machine, tmp_path: Path) -> None:
    machine.put("go", GO_THAT_BUILDS)
    machine.environment["VENV"] = str(tmp_path / "environment")
    machine.put("python", SDK_THAT_DOWNLOADS, tmp_path / "environment/bin")
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
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    script = load(SCRIPT, "temporal_script")
    monkeypatch.setattr(script, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(script, "python_with_sdk", lambda: sys.executable)
    monkeypatch.setattr(script, "SDK_DOWNLOAD", "import threading; threading.Event().wait(60)")
    began = time.monotonic()
    assert script.download(tmp_path) == "nothing arrived for 0.3 s"
    assert time.monotonic() - began < 30


def test_links_names_dead_links_and_accepts_living_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    links = load(ROOT / "scripts/links", "links_script")
    monkeypatch.setattr(links, "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# A heading\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#a-heading) [b](https://example.com/x) ```\n[c](in-line.md)\n```\n[d](gone.md) [e](other.md#no)"
    )
    assert links.problems(page) == [
        "page.md: in-line.md leads nowhere",
        "page.md: gone.md leads nowhere",
        "page.md: other.md#no names no heading",
    ]
    page.write_text("```\n[c](in-fence.md)\n```\n![i](other.md)")
    assert links.problems(page) == []


def test_setup_refuses_an_interpreter_that_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    command = [str(ROOT / "scripts/setup"), str(tmp_path / "venv"), str(old)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 1
    assert f"PYTHON={old} is not a Python >= 3.11" in done.stderr
    assert not (tmp_path / "venv").exists()

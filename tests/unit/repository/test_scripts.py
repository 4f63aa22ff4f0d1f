"""The checkout's scripts: launchers that find the environment, links that see dead links, setup that refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


def load(path: Path, name: str) -> ModuleType:
    """Imports a script that has no .py ending, leaving no bytecode beside it."""
    loader = SourceFileLoader(name, str(path))
    spec = spec_from_loader(name, loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(("script", "module"), [("temporal", "temporal_cli"), ("dev-server", "dev_server")])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_launcher_runs_its_module_by_the_named_environment(
    tmp_path: Path, script: str, module: str, absolute: bool
) -> None:
    python = tmp_path / "environment/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    venv = str(tmp_path / "environment") if absolute else os.path.relpath(tmp_path / "environment", ROOT)
    (tmp_path / "linked").symlink_to(ROOT / "scripts" / script)
    done = subprocess.run(
        [tmp_path / "linked", "a", "b c"], capture_output=True, text=True, check=True, env={**os.environ, "VENV": venv}
    )
    assert done.stdout == f"-m inturn_worker.{module} a b c\n"


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

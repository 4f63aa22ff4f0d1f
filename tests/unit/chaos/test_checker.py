"""The checker finds what it is there for: every planted bug, by the check that is named; and nothing in a good run."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.campaign.planted import PLANTED, Evidence, Planted
from tests.chaos.campaign.record import RECORDED
from tests.chaos.checker.checks import CHECKS
from tests.chaos.checker.recording import read
from tests.chaos.checker.replaying import replay
from tests.chaos.checker.verdict import judge
from tests.support.processes.server import ROOT

CHECKER = ROOT / "tests/chaos/checker"
RELEASED = next((ROOT / "tests/replay/histories").glob("*/tools~1.json"))


def test_a_good_run_breaks_no_check() -> None:
    verdict = judge(read(RECORDED))
    assert verdict.broken() == [], [finding for finding in verdict.findings if finding.violations]
    for name in ("gaps", "turns", "effects", "model_calls", "answers", "repeated_attempts", "resent"):
        assert verdict.counts[name] > 0, name


@pytest.mark.parametrize("bug", [bug for bug in PLANTED if bug.caught_by != "replay"], ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught_by_the_check_it_names(bug: Planted, tmp_path: Path) -> None:
    evidence = Evidence.read(RECORDED)
    bug.plant(evidence)
    evidence.write(tmp_path / "planted")
    assert bug.caught_by in judge(read(tmp_path / "planted")).broken()


@pytest.mark.parametrize("bug", [bug for bug in PLANTED if bug.caught_by == "replay"], ids=lambda bug: bug.name)
async def test_a_planted_bug_is_caught_by_the_replay_of_a_released_history(bug: Planted, tmp_path: Path) -> None:
    assert await replay([RELEASED]) == []
    evidence = Evidence([], [], [], {RELEASED.name: json.loads(RELEASED.read_text())["events"]})
    bug.plant(evidence)
    evidence.write(tmp_path / "planted")
    assert len(await replay([tmp_path / "planted" / "histories" / RELEASED.name])) == 1


def test_every_check_has_a_planted_bug_that_it_catches() -> None:
    assert {check.name for check in CHECKS} | {"replay"} == {bug.caught_by for bug in PLANTED}


def test_the_checker_imports_nothing_of_the_project_but_for_the_replay() -> None:
    for path in sorted(CHECKER.glob("*.py")):
        tree = ast.parse(path.read_text())
        modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        ours = {name for name in modules if name.split(".")[0] in {"inturn", "workflows", "activities", "worker"}}
        assert not ours or path.name == "replaying.py", (path.name, ours)
        assert all(name.startswith("tests.chaos.checker") for name in modules if name.startswith("tests")), path.name


@pytest.mark.parametrize(("bug", "code"), [(None, 0), ("doubled turn", 1)])
def test_the_program_says_by_its_exit_code_whether_anything_was_violated(
    bug: str | None, code: int, tmp_path: Path
) -> None:
    evidence = Evidence.read(RECORDED)
    for planted in PLANTED:
        if planted.name == bug:
            planted.plant(evidence)
    evidence.write(tmp_path / "judged")
    program = [sys.executable, "-m", "tests.chaos.checker", str(tmp_path / "judged"), "--json", "--no-replay"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert bool(json.loads(done.stdout)["violations"]) == bool(code)

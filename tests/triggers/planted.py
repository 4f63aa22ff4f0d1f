"""Runs a test on code without a mend, in a process of its own, and in all that this one starts.

Invariant: nothing is written anywhere: a module is compiled from its changed text when it is imported. `site` stands
first on the path of these processes, so that it comes before anything of the project's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any, Final

from tests.triggers.table import TRIGGERS
from tests.triggers.trigger import ROOT, Plant, Trigger

FAILED: Final = 1
"""Pytest's exit code where tests ran, and some failed; a module that cannot be imported has another one."""
LONGEST: Final = 240.0
"""Seconds for one test."""
SITE: Final = ROOT / "tests/triggers/site"


def fails(trigger: Trigger, bug: Plant) -> bool:
    """Return whether a trigger's test fails without a mend.

    Raises:
        RuntimeError: It could not be run.
        ValueError: The mend does not stand where it is said to.
    """
    bug.sources()
    env = {**os.environ, "INTURN_TEST_PLANTED": f"{trigger.name}/{trigger.plants.index(bug)}", "PYTHONPATH": str(SITE)}
    how = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist"]
    args = [sys.executable, "-m", "pytest", *how, trigger.node(bug.fails)]
    done = subprocess.run(args, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LONGEST, check=False)
    if done.returncode not in (0, FAILED):
        raise RuntimeError(f"{bug.fails} could not be run: {done.stdout[-1_000:]}{done.stderr[-1_000:]}")
    return done.returncode == FAILED


def named(name: str) -> Plant:
    """Return a plant by its trigger's name and its place there: `A1/0`."""
    trigger, _, number = name.rpartition("/")
    return next(t for t in TRIGGERS if t.name == trigger).plants[int(number)]


def plant(bug: Plant) -> None:
    """Have this process run without a mend, once it imports what has it."""
    changed, get_code = {str(path): text for path, text in bug.sources().items()}, SourceFileLoader.get_code

    def planted(self: Any, fullname: str) -> CodeType | None:
        text = changed.get(self.path)
        return get_code(self, fullname) if text is None else compile(text, self.path, "exec", dont_inherit=True)

    SourceFileLoader.get_code = planted  # type: ignore[method-assign]

"""`python -m tests.triggers [NAME …]`: takes each mend out; exit code 1 where a test passes without it."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from tests.triggers.planted import fails
from tests.triggers.table import TRIGGERS
from tests.triggers.trigger import Plant, Trigger


def main(names: list[str]) -> int:
    """Look at the named triggers, or at all."""
    chosen = [trigger for trigger in TRIGGERS if not names or trigger.name in names]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(_look, [(trigger, bug) for trigger in chosen for bug in trigger.plants]))
    return 0 if all(found) else 1


def _look(pair: tuple[Trigger, Plant]) -> bool:
    trigger, bug = pair
    try:
        failed = fails(trigger, bug)
        said = "fails" if failed else "PASSES"
    except (RuntimeError, ValueError) as error:
        failed, said = False, f"CANNOT BE SAID: {error}"
    print(f"{trigger.name:>4}  {said}  {bug.fails}  without  {bug.edit.mend.strip()[:60]!r}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

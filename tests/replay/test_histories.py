"""Every history that a release recorded replays on the current code.

The files in `histories/` come from `scripts/record-histories` and are never edited: a history that no longer replays
means that a deploy would break running sessions. Mend the code (`inturn_workflows.patches`), not the file. Before the
first release nothing runs yet: where a sequence of commands is meant to change, record anew.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, Final

import pytest
from temporalio.client import WorkflowHistory

from inturn_worker.replaying import replayer
from inturn_workflows.session import Session

HISTORIES: Final = sorted((Path(__file__).parent / "histories").rglob("*.json"))
KINDS: Final = {
    "approval",
    "bad-signals",
    "continue-as-new-in-mid-turn",
    "closed-journal",
    "closed-while-waiting",
    "cut-and-failed",
    "decisions-at-the-end",
    "derived-ids",
    "duplicates",
    "expired-ask",
    "expired-interrupt",
    "failing-fast",
    "flood",
    "flooded-run",
    "gap-in-a-turn",
    "interrupt",
    "late-answer",
    "merged-and-steered",
    "notice",
    "notice-addresses",
    "numbered-interrupts",
    "operator-cancel",
    "ordering-signals",
    "parallel-tools",
    "plain",
    "poison",
    "sequences",
    "tools",
    "two-interrupts",
}


def _history(text: str) -> WorkflowHistory:
    started = json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], text)


def test_every_kind_of_history_is_recorded() -> None:
    assert KINDS <= {path.stem.partition("~")[0] for path in HISTORIES}


@pytest.mark.promise("SUR-7")
@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_a_recorded_history_replays_on_the_current_code(path: Path) -> None:
    await replayer().replay_workflow(_history(path.read_text()))


@pytest.mark.promise("SUR-7")
async def test_a_history_with_a_changed_step_does_not_replay() -> None:
    path = next(path for path in HISTORIES if path.stem.startswith("tools"))
    changed = path.read_text().replace('"run_tool"', '"run_other"')
    with pytest.raises(Exception, match=r"(?i)nondeterminis"):
        await replayer().replay_workflow(_history(changed))


@pytest.mark.promise("SUR-7")
async def test_a_task_that_takes_longer_than_the_sdk_allows_one_replays_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = next(path for path in HISTORIES if path.stem.startswith("plain"))
    init = Session.__init__

    def slow(self: Session, *args: Any, **options: Any) -> None:
        threading.Event().wait(2.2)
        init(self, *args, **options)

    monkeypatch.setattr(Session, "__init__", slow)
    await replayer().replay_workflow(_history(path.read_text()))

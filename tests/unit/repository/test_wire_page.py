"""docs/wire.md names all that a foreign SDK may send, and all that it may be told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from inturn import names
from inturn.events import Event, WhenBusy
from inturn_workflows.controls import Control, Op

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "wire.md").read_text()
NAMED = set(re.findall(r"`([^`]+)`", PAGE))


def test_every_field_of_an_event_and_every_way_when_busy_is_on_the_page() -> None:
    assert {*Event.model_fields, *get_args(WhenBusy)} - NAMED == set()


def test_every_control_and_its_fields_are_on_the_page() -> None:
    assert set(get_args(Op)) - NAMED == set()
    assert [field for field in Control.model_fields if field not in PAGE] == []


def test_every_name_that_a_foreign_sdk_uses_is_on_the_page() -> None:
    used = {names.SESSION_WORKFLOW, names.TASK_QUEUE, names.SUBMIT, names.CONTROL, names.STATUS}
    refusals = {names.INVALID_EVENT, names.UNKNOWN_NAME, names.BACKPRESSURE, names.SESSION_BUSY}
    assert (used | refusals | {names.SESSION_CLOSED, names.APPROVAL_CONFLICT}) - NAMED == set()

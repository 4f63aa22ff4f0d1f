"""The public namespace: everything in one place, and cheap to import."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

import inturn


@pytest.mark.parametrize("name", inturn.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(inturn, name) is not None
    assert name in dir(inturn)


def test_the_names_of_the_contract_are_exported() -> None:
    contract = """Agent Budget Client InboxPolicy Session Tool ToolContext ToolError Retry tool current
        Event EventOptions
        InturnError InvalidEvent SessionNotFound SessionClosed Refused SessionBusy Backpressure TurnFailed TurnTimeout
        ApprovalConflict VersionConflict Unavailable JournalUnavailable
        Receipt Turn Usage SessionStatus Entry Delta Parked Audit Approval Notice SessionInfo"""
    assert set(contract.split()) <= set(inturn.__all__)


CALLS = {
    "send": "",
    "submit": "",
    "ask": "timeout cancel_on_exit",
    "wait": "timeout",
    "cancel": "reason",
    "interrupt": "event_id reason clear_queue",
    "approve": "by reason via wait",
    "deny": "by reason via wait",
    "pause": "",
    "resume": "",
    "close": "pending timeout",
    "parked": "",
    "redrive": "force",
    "discard": "reason",
    "status": "",
    "audit": "deep",
    "entries": "event_id follow",
    "transcript": "",
    "stream": "after deltas",
    "read_blob": "",
}


@pytest.mark.parametrize("call", CALLS)
def test_the_calls_of_the_contract_take_their_options_by_keyword(call: str) -> None:
    parameters = inspect.signature(getattr(inturn.Session, call)).parameters.values()
    assert " ".join(p.name for p in parameters if p.kind is p.KEYWORD_ONLY) == CALLS[call]


@pytest.mark.parametrize("call", ["send", "submit", "ask"])
def test_an_event_is_sent_with_the_options_of_the_contract(call: str) -> None:
    options = get_type_hints(getattr(inturn.Session, call), include_extras=True)["options"]
    assert get_args(options) == (inturn.EventOptions,)
    contract = "event_id aliases source sequence sequencing sender sent_at when_busy expires_after model metadata"
    assert list(inturn.EventOptions.__annotations__) == contract.split()


def test_all_is_sorted_and_without_repeats() -> None:
    assert sorted(set(inturn.__all__)) == list(inturn.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = inturn.Nothing


def test_importing_it_connects_to_nothing_and_loads_no_client() -> None:
    code = "import sys, inturn; print(sorted(m for m in sys.modules if m.startswith('temporalio')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_importing_it_and_the_client_loads_no_sql() -> None:
    code = "import sys, inturn; inturn.Client; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sql = ("sqlite3", "inturn.journal.journal", "inturn.journal.store", "inturn.journal.ledger")
    assert [name for name in out.stdout.split() if name.startswith(sql)] == []


def test_errors_form_one_tree() -> None:
    errors = [getattr(inturn, n) for n in inturn.__all__ if isinstance(getattr(inturn, n), type)]
    errors = [e for e in errors if issubclass(e, BaseException)]
    assert all(issubclass(e, inturn.InturnError) for e in errors)
    assert issubclass(inturn.InvalidEvent, ValueError)
    assert issubclass(inturn.TurnTimeout, TimeoutError)
    assert issubclass(inturn.JournalUnavailable, inturn.Unavailable)
    assert issubclass(inturn.Backpressure, inturn.Refused)
    assert issubclass(inturn.SessionBusy, inturn.Refused)

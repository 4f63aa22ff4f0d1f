"""Every name that crosses a process boundary, pinned: running sessions and stored histories use them."""

from __future__ import annotations

from inturn import names

WIRE = {
    "TASK_QUEUE": "inturn",
    "SESSION_WORKFLOW": "Session",
    "TICK_WORKFLOW": "Tick",
    "SCHEDULE": "inturn/",
    "TICKS": "inturn-tick/",
    "SUBMIT": "submit",
    "CONTROL": "control",
    "AFTER": "after",
    "AGAIN": "again",
    "SEALED": "sealed:",
    "TURNED_AWAY": "inturn-{said}-{number}",
    "STRANGE_RESULT": "inturn-strange-{number}",
    "CLEAR_START": "inturn-clear-start",
    "COUNTED": ("event.rejected", "event.expired", "event.cancelled"),
    "STATUS": "status",
    "CALL_MODEL": "call_model",
    "RUN_TOOL": "run_tool",
    "DELIVER": "deliver",
    "RECORD": "record",
    "TICK": "tick",
    "AGENT_ATTRIBUTE": "InturnAgent",
    "TENANT_ATTRIBUTE": "InturnTenant",
    "STATE_ATTRIBUTE": "InturnState",
    "PARKED_ATTRIBUTE": "InturnParked",
    "INVALID_EVENT": "InvalidEvent",
    "BACKPRESSURE": "Backpressure",
    "SESSION_BUSY": "SessionBusy",
    "SESSION_CLOSED": "SessionClosed",
    "APPROVAL_CONFLICT": "ApprovalConflict",
    "UNKNOWN_NAME": "UnknownName",
    "OWN_FAILURE": "OwnFailure",
    "CONTENT_LOST": "ContentLost",
    "UNKNOWN_FAILURE": "UnknownFailure",
    "OUTAGE": "Outage",
    "ACCOUNT": "Account",
    "SUPERSEDED": "Superseded",
    "JOURNAL_BEHIND": "JournalBehind",
    "NOT_YET": "NotYet",
}


def test_no_name_ever_changes() -> None:
    defined = {name: value for name, value in vars(names).items() if name.isupper()}
    assert {name: defined.get(name) for name in WIRE} == WIRE


def test_a_new_name_is_pinned_here() -> None:
    assert {name for name in vars(names) if name.isupper()} == set(WIRE)


def test_the_workflow_is_registered_under_its_name() -> None:
    from temporalio import workflow

    from inturn_workflows.session import Session

    definition = workflow._Definition.must_from_class(Session)
    assert definition.name == "Session"
    assert "status" in definition.queries

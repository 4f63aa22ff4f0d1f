"""Names that cross a process boundary.

Invariant: a name here never changes its meaning. Running sessions, other SDKs and stored histories use them; a test
pins every one. Renaming a Python class or function never touches the wire.
"""

from typing import Final

TASK_QUEUE: Final = "inturn"

SESSION_WORKFLOW: Final = "Session"

TICK_WORKFLOW: Final = "Tick"
SCHEDULE: Final = "inturn/"
"""What the ids of Temporal's schedules begin with; tenant and schedule follow."""
TICKS: Final = "inturn-tick/"
"""What the workflow ids of ticks begin with."""

SUBMIT: Final = "submit"
"""Signal and update: one JSON object, an event."""
CONTROL: Final = "control"
"""Signal and update: one JSON object, an operator's or user's control. Query: by its id, what came of one."""
AFTER: Final = "after"
"""In a signal: the event or control that its sender handed over last as an update; it is taken behind that one."""
AGAIN: Final = "again"
"""In a signal that the session's own step sends: an event that an earlier run, ended from outside, had accepted."""
SEALED: Final = "sealed:"
"""What the id begins with of a signal whose key the worker did not have: its own is encrypted with it."""
TURNED_AWAY: Final = "inturn-{said}-{number}"
"""The marker in a run's history of a signal that a worker with keys did not take: why, and which of the run's."""
STRANGE_RESULT: Final = "inturn-strange-{number}"
"""The marker of a step's result that a worker with keys did not take: which of the results that were in question."""
CLEAR_START: Final = "inturn-clear-start"
"""The marker of a run whose start came in clear to a worker with keys, which did not read it."""
COUNTED: Final = ("event.rejected", "event.expired", "event.cancelled")
"""Entries of the journal that may count many events, too many to be told one by one."""
STATUS: Final = "status"
"""Query: the session's status."""

CALL_MODEL: Final = "call_model"
RUN_TOOL: Final = "run_tool"
DELIVER: Final = "deliver"
RECORD: Final = "record"
TICK: Final = "tick"
"""A local activity: sends the event of one tick."""

AGENT_ATTRIBUTE: Final = "InturnAgent"
TENANT_ATTRIBUTE: Final = "InturnTenant"
STATE_ATTRIBUTE: Final = "InturnState"
PARKED_ATTRIBUTE: Final = "InturnParked"

# Types of ApplicationError: raised by workflow and activities, read by the client.
INVALID_EVENT: Final = "InvalidEvent"
BACKPRESSURE: Final = "Backpressure"
SESSION_BUSY: Final = "SessionBusy"
SESSION_CLOSED: Final = "SessionClosed"
APPROVAL_CONFLICT: Final = "ApprovalConflict"
UNKNOWN_NAME: Final = "UnknownName"
"""An update or control of an unknown name."""
OWN_FAILURE: Final = "OwnFailure"
"""The event's, the tool's or the request's own fault: repeating cannot help."""
CONTENT_LOST: Final = "ContentLost"
"""What the event says was to be in the journal, and is not."""
UNKNOWN_FAILURE: Final = "UnknownFailure"
"""Nobody knows whose fault: repeated a few times."""
OUTAGE: Final = "Outage"
"""Somebody else is down: repeated with patience."""
ACCOUNT: Final = "Account"
"""No model call of anybody's works until a person mends the account or the configuration: probed once a minute."""
SUPERSEDED: Final = "Superseded"
"""This attempt's claim was settled or taken over: it may commit nothing."""
JOURNAL_BEHIND: Final = "JournalBehind"
"""The worker's journal is not the session's, or ends before what the session has seen: it waits for the right one."""
NOT_YET: Final = "NotYet"
"""Nothing failed; the attempt comes again later (a lease to wait out, a lock to wait for)."""

"""AI agents as durable sessions on Temporal: events in turn, one at a time, none lost.

Everything that users need is in this namespace. What talks to the server is imported at first use, so that declaring
agents and tools costs little, and neither a worker's sandbox nor a tool's test pays for a client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from inturn.agents import Agent
from inturn.errors import (
    ApprovalConflict,
    Backpressure,
    InturnError,
    InvalidEvent,
    JournalUnavailable,
    Misconfigured,
    ModelError,
    Refused,
    Retry,
    ScheduleNotFound,
    SessionBusy,
    SessionClosed,
    SessionNotFound,
    ToolError,
    TurnFailed,
    TurnTimeout,
    Unavailable,
    VersionConflict,
)
from inturn.events import Event, EventOptions
from inturn.models.server_tools import CodeExecution, ServerTool, WebFetch, WebSearch
from inturn.models.settings import ModelSettings
from inturn.policy import InboxPolicy
from inturn.tools import Tool, tool
from inturn.tools.context import ToolContext, current
from inturn.tools.shared_state import State
from inturn.turns.budget import Budget
from inturn.turns.compaction import Compaction
from inturn.values import (
    Approval,
    Audit,
    Delta,
    Document,
    DocumentInfo,
    Entry,
    Notice,
    Parked,
    PendingApproval,
    QueueClaim,
    QueuedEvent,
    Receipt,
    SessionInfo,
    SessionStatus,
    Turn,
    TurnProgress,
    TurnToolCall,
    UnknownOutcome,
    Usage,
    Versioned,
)

if TYPE_CHECKING:
    from inturn.client.client import Client
    from inturn.client.control.steering import ControlOptions
    from inturn.client.reader import Cursor
    from inturn.client.schedules import ScheduleInfo, ScheduleOptions
    from inturn.client.session import Session

__version__ = "0.3.0.dev0"

__all__ = [
    "Agent",
    "Approval",
    "ApprovalConflict",
    "Audit",
    "Backpressure",
    "Budget",
    "Client",
    "CodeExecution",
    "Compaction",
    "ControlOptions",
    "Cursor",
    "Delta",
    "Document",
    "DocumentInfo",
    "Entry",
    "Event",
    "EventOptions",
    "InboxPolicy",
    "InturnError",
    "InvalidEvent",
    "JournalUnavailable",
    "Misconfigured",
    "ModelError",
    "ModelSettings",
    "Notice",
    "Parked",
    "PendingApproval",
    "QueueClaim",
    "QueuedEvent",
    "Receipt",
    "Refused",
    "Retry",
    "ScheduleInfo",
    "ScheduleNotFound",
    "ScheduleOptions",
    "ServerTool",
    "Session",
    "SessionBusy",
    "SessionClosed",
    "SessionInfo",
    "SessionNotFound",
    "SessionStatus",
    "State",
    "Tool",
    "ToolContext",
    "ToolError",
    "Turn",
    "TurnFailed",
    "TurnProgress",
    "TurnTimeout",
    "TurnToolCall",
    "Unavailable",
    "UnknownOutcome",
    "Usage",
    "VersionConflict",
    "Versioned",
    "WebFetch",
    "WebSearch",
    "current",
    "tool",
]

_LAZY = {
    "Client": "inturn.client.client",
    "ControlOptions": "inturn.client.control.steering",
    "Cursor": "inturn.client.reader",
    "ScheduleInfo": "inturn.client.schedules",
    "ScheduleOptions": "inturn.client.schedules",
    "Session": "inturn.client.session",
}


def __getattr__(name: str) -> Any:
    """Import what talks to the server when it is first named."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value


def __dir__() -> list[str]:
    """List the lazy names, too."""
    return sorted({*globals(), *__all__})

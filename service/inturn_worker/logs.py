"""Logs: one line per record, with the ids of the step it comes from.

Invariant: the ids come from the context that logs (Temporal's and the tool call's context variables), never from a
global, so lines of sessions that run at once are never mixed up; threads that a tool starts with its context keep them.
No line shows a secret that lives in the process.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from opentelemetry import trace
from temporalio import activity, workflow

from inturn.errors import InturnError
from inturn.keys import SessionKey, StepKey
from inturn.terminal import as_json, clean
from inturn.tools.context import current
from inturn.tools.secrets import redact
from inturn_worker import hiding
from inturn_worker.settings import LogFormat

_IDS: Final = "inturn_ids"


def configure_logs(chosen: LogFormat, level: str, stream: TextIO | None = None, *, hide: bool = False) -> None:
    """Send all logs to `stream` (stderr), as JSON lines or for people to read; `auto`: JSON unless it is a terminal.

    With `hide` an error is shown by its types and where it was raised: its text may be what a user or a model said.
    """
    to: TextIO = stream or sys.stderr
    as_json = chosen == "json" or (chosen == "auto" and not to.isatty())
    handler = logging.StreamHandler(to)
    handler.addFilter(add_ids)
    handler.setFormatter(JsonFormatter(hide=hide) if as_json else ConsoleFormatter(hide=hide))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    # The SDKs are told once what we say better ourselves.
    for noisy in ("httpx", "anthropic", "temporalio.worker", "temporalio.core"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    for temporal in (activity.logger, workflow.logger):
        name = "activity" if temporal is activity.logger else "workflow"
        setattr(temporal, f"{name}_info_on_message", False)
        setattr(temporal, f"{name}_info_on_extra", False)


def add_ids(record: logging.LogRecord) -> bool:
    """Add the ids of the running session, turn, step and call to a record; a filter of handlers."""
    if not hasattr(record, _IDS):
        setattr(record, _IDS, _ids())
    return True


class HidingFormatter(logging.Formatter):
    """What both kinds of lines have in common: with `hide` no text of an error (`inturn_worker.hiding`)."""

    def __init__(self, layout: str | None = None, *, datefmt: str | None = None, hide: bool = False) -> None:
        super().__init__(layout, datefmt=datefmt)
        self._hide = hide

    def message(self, record: logging.LogRecord) -> str:
        """Return what a record says."""
        return hiding.message(record) if self._hide else record.getMessage()

    def formatException(self, ei: Any) -> str:
        """Return an error's trace."""
        return hiding.trace(ei[1]) if self._hide else super().formatException(ei)


class JsonFormatter(HidingFormatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message(record),
            **getattr(record, _IDS, {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return redact(as_json(line, default=str))


class ConsoleFormatter(HidingFormatter):
    """Time, level, ids, message; without what a terminal would act on."""

    def __init__(self, *, hide: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", datefmt="%H:%M:%S", hide=hide)

    def format(self, record: logging.LogRecord) -> str:
        if self._hide:
            record = logging.makeLogRecord(
                {**record.__dict__, "msg": self.message(record), "args": None, "exc_text": None}
            )
        ids: dict[str, Any] = getattr(record, _IDS, {})
        shown = " ".join(f"{name}={value}" for name, value in ids.items())
        text = clean(super().format(record) + (f"  [{shown}]" if shown else ""))
        return redact(text.replace("\n", "\n    "))  # no line of a text looks like a record of its own


def _ids() -> dict[str, Any]:
    ids: dict[str, Any] = {}
    try:
        if activity.in_activity():
            info = activity.info()
            ids = _step_ids(info.workflow_id or "", info.activity_id)
            if info.attempt > 1:
                ids["attempt"] = info.attempt
        elif workflow.in_workflow():
            ids = _session_ids(workflow.info().workflow_id)
    except Exception:  # a log line without ids is better than none
        return ids
    try:
        ids["call"] = current().call_id
    except InturnError:
        pass
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        ids["trace_id"] = trace.format_trace_id(span.trace_id)
        ids["span_id"] = trace.format_span_id(span.span_id)
    return ids


def _step_ids(workflow_id: str, activity_id: str) -> dict[str, Any]:
    try:
        step = StepKey.parse(activity_id)
    except ValueError:
        return _session_ids(workflow_id)
    name = step.step if step.index is None else f"{step.step}/{step.index}"
    return {"tenant": step.session.tenant, "session": step.session.session_id, "turn": step.turn.turn, "step": name}


def _session_ids(workflow_id: str) -> dict[str, Any]:
    try:
        session = SessionKey.parse(workflow_id)
    except ValueError:
        return {"workflow": workflow_id}
    return {"tenant": session.tenant, "session": session.session_id}

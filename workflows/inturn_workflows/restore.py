"""How a run begins: whose session it is, and what it carries.

Invariant: state that cannot be read fails the task, never the session: a worker that can read it goes on. What a
session is started with is read loosely.
"""

from __future__ import annotations

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from inturn import names, sizes
from inturn.decoding import Undecodable, decode
from inturn.keys import SessionKey, is_id
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.sealed import takes_start
from inturn_workflows.state import Limits, SessionInput, SessionState


def session_key() -> SessionKey:
    """Return the session that the workflow's id names.

    Raises:
        ApplicationError: No session can have that name, so it was started by hand: no retry can mend that.
    """
    try:
        return SessionKey.parse(workflow.info().workflow_id)
    except ValueError as error:
        raise ApplicationError(str(error), type=names.INVALID_EVENT, non_retryable=True) from error


def check_start() -> None:
    """Refuse a run that a server begins by itself: by a cron schedule, or as a retry.

    Its input is of whoever started the first one, and looks as if a run of ours had left it that.

    Raises:
        ApplicationError: It is one. What it took is sent again to the next that begins as sessions do.
    """
    if _begun_by_server():
        message = (
            "a session has no cron schedule, and no run of it is retried: start it without these, or send an event"
        )
        raise ApplicationError(message, type=names.INVALID_EVENT, non_retryable=True)


def restored(start: RawValue) -> SessionState:
    """Return the state to begin with: read strictly where a run carries it to the next.

    Raises:
        ValueError: It carries state that this version cannot read.
    """
    carried = bool(workflow.info().continued_run_id) and not _begun_by_server()
    try:
        given = decode([start], sizes.PAYLOAD if carried else sizes.READ_START, ours=carried)
        if not (carried or takes_start(start)):
            given = {}
    except Undecodable:
        if carried:
            raise
        given = {}
    if carried and "state" in given:
        return SessionState.model_validate(given["state"])
    try:
        return _fresh(SessionInput.model_validate(given))
    except ValidationError:
        return _fresh(SessionInput())


def _begun_by_server() -> bool:
    info = workflow.info()
    return bool(info.cron_schedule) or info.attempt > 1


def _fresh(start: SessionInput) -> SessionState:
    salt = f"{workflow.random().getrandbits(64):016x}"
    chain = workflow.info().first_execution_run_id[-8:]  # its start is the time: chains of one minute share it
    wanted = start.agent if is_id(start.agent) else None
    inbox = Inbox(dedup=DedupWindow(salt=salt))
    return SessionState(inbox=inbox, wanted=wanted, chain=chain, limits=start.limits or Limits())

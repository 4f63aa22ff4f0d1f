"""One tick of a schedule: its event is sent to the session.

Invariant: the event's id is its nominal time's, so a tick that runs twice adds nothing. A session that was closed takes
no more: the schedule is paused, and says why.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from temporalio import activity

from inturn import names
from inturn.client.submitter import Submitter
from inturn.client.temporal.connection import Connection
from inturn.client.temporal.transport import SessionTransport
from inturn.errors import InvalidEvent, SessionClosed
from inturn.events import make_event
from inturn.journal import Journal
from inturn.keys import SessionKey
from inturn.ticks import tick_id
from inturn_activities import failures
from inturn_activities.messages import TickInput, TickResult

logger = logging.getLogger("inturn.worker")


class Ticks:
    """Sends the events of schedules."""

    def __init__(self, journal: Journal) -> None:
        """Send them with a journal for what is large."""
        self._journal = journal

    @activity.defn(name=names.TICK)
    async def tick(self, input: TickInput) -> TickResult:
        """Send one tick's event, under the id of its time."""
        connection = Connection(temporal=activity.client(), journal=self._journal)
        key, queue = SessionKey(input.tenant, input.session_id), activity.info().task_queue
        nominal = datetime.fromtimestamp(input.nominal, UTC)
        event_id = tick_id(input.schedule_id, nominal, input.timezone, input.dst)
        try:
            sent = {**input.event, "event_id": event_id, "sent_at": input.nominal}
            event = make_event(**sent)
            await Submitter(SessionTransport(connection, key, queue, input.agent)).send(event)
        except InvalidEvent as error:
            raise failures.final(names.OWN_FAILURE, str(error)) from None
        except SessionClosed:
            note = f"session {input.session_id} is closed"
            schedule = f"{names.SCHEDULE}{input.tenant}/{input.schedule_id}"
            logger.warning("schedule %s is paused: %s", schedule, note)
            await activity.client().get_schedule_handle(schedule).pause(note=note)
            return TickResult(event_id=event_id, paused=note)
        return TickResult(event_id=event_id)

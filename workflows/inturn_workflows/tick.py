"""One tick of a schedule: a workflow that the server starts at its time, and that sends one event.

Invariant: which tick it is, the server says: schedule and nominal time are search attributes that it alone sets.
"""

from __future__ import annotations

from typing import Final

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from inturn import names
    from inturn.keys import is_id
    from inturn_activities.messages import TickInput, TickResult
    from inturn_workflows import policies

_AT: Final = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
_BY: Final = SearchAttributeKey.for_keyword("TemporalScheduledById")


@workflow.defn(name=names.TICK_WORKFLOW)
class Tick:
    """Sends the event of one tick."""

    @workflow.run
    async def run(self, plan: TickInput) -> TickResult:
        """Send it, however long that takes.

        Raises:
            ApplicationError: No schedule of ours started this, or what it says is no event.
        """
        attributes = workflow.info().typed_search_attributes
        at, by = attributes.get(_AT), attributes.get(_BY)
        tenant, _, schedule_id = (by or "").removeprefix(names.SCHEDULE).partition("/")
        if plan.refused:
            raise _no_tick("what it is to send came in clear, or for something else (INTURN_ENCRYPTION_KEYS)")
        if at is None or not (is_id(tenant) and is_id(schedule_id) and is_id(plan.session_id)):
            raise _no_tick("only a schedule that inturn made starts this")
        told = {"tenant": tenant, "schedule_id": schedule_id, "nominal": float(int(at.timestamp()))}
        result: TickResult = await workflow.execute_local_activity(
            names.TICK, plan.model_copy(update=told), result_type=TickResult, **policies.tick()
        )
        return result


def _no_tick(why: str) -> ApplicationError:
    return ApplicationError(why, type=names.INVALID_EVENT, non_retryable=True)

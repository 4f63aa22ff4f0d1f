"""Routes of schedules: events that come by the clock.

Invariant: a caller that is bound to some sessions, or to an agent, sees and touches the schedules of those alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import AwareDatetime, Field
from starlette.responses import Response

from inturn.client.schedules import ScheduleInfo, Schedules
from inturn.errors import ScheduleNotFound
from inturn.ticks import MAX_SCHEDULE_ID
from inturn_gateway import bounds
from inturn_gateway.auth.caller import Caller
from inturn_gateway.problems import Json
from inturn_gateway.service import Needs, service_of
from inturn_gateway.v1.incoming import Id, Incoming, Reason

Operator = Annotated[Caller, Depends(Needs("operate"))]


class Planned(Incoming):
    """What a schedule is made of; see `inturn.ScheduleOptions`."""

    session_id: Id
    content: str | list[dict[str, Any]] = Field(max_length=256 * 1024)
    agent: Id | None = None
    cron: str | None = Field(default=None, max_length=256)
    every: float | None = None
    timezone: str | None = Field(default=None, max_length=128)
    when_busy: Literal["queue", "reject", "interrupt", "steer", "merge"] | None = None
    expires_after: float | None = None
    metadata: dict[str, Any] | None = None
    catch_up: float | None = None
    jitter: float | None = None
    dst: Literal["once", "both"] | None = None
    starts: AwareDatetime | None = None
    ends: AwareDatetime | None = None
    paused: bool | None = None

    def options(self) -> dict[str, Any]:
        """Return the options that were given."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in given.items() if value is not None}


class Why(Incoming):
    """Why a schedule is paused, or resumed."""

    reason: Reason = None


class Window(Incoming):
    """The times that are made up for."""

    start: AwareDatetime
    end: AwareDatetime


async def put(request: Request, caller: Operator, schedule_id: str, planned: Planned) -> Response:
    """Make a schedule, or change it."""
    service, options = service_of(request), planned.options()
    session = service.session(caller, planned.session_id, agent=planned.agent)
    if session.agent is not None:
        options["agent"] = session.agent
    schedules = service.of(caller).schedules
    if caller.bound:  # another one's of this name is not to be changed
        try:
            await _seen(schedules, caller, schedule_id)
        except ScheduleNotFound:
            if await _there(schedules, schedule_id):
                raise
    return Json((await schedules.put(_id(schedule_id), **options, by=caller.who)).model_dump(mode="json"))


async def shown(request: Request, caller: Operator, schedule_id: str) -> Response:
    """Show a schedule."""
    found = await _seen(service_of(request).of(caller).schedules, caller, schedule_id)
    return Json(found.model_dump(mode="json"))


async def listed(request: Request, caller: Operator) -> Response:
    """List the tenant's schedules."""
    data = list[dict[str, Any]]()
    async for each in service_of(request).of(caller).schedules.list():
        if _sees(caller, each):
            data.append(each.model_dump(mode="json"))
        if len(data) == bounds.LONGEST_PAGE:
            break
    return Json({"data": data, "next_page": None})


async def deleted(request: Request, caller: Operator, schedule_id: str) -> Response:
    """Delete a schedule; what it sent stays."""
    schedules = service_of(request).of(caller).schedules
    await _seen(schedules, caller, schedule_id)
    await schedules.delete(schedule_id, by=caller.who)
    return Response(status_code=204)


async def paused(request: Request, caller: Operator, schedule_id: str, why: Why) -> Response:
    """Have a schedule send nothing for now."""
    schedules = service_of(request).of(caller).schedules
    await _seen(schedules, caller, schedule_id)
    await schedules.pause(schedule_id, reason=why.reason, by=caller.who)
    return Json({"schedule_id": schedule_id, "paused": True})


async def resumed(request: Request, caller: Operator, schedule_id: str, why: Why) -> Response:
    """Have a schedule send again."""
    schedules = service_of(request).of(caller).schedules
    await _seen(schedules, caller, schedule_id)
    await schedules.resume(schedule_id, reason=why.reason, by=caller.who)
    return Json({"schedule_id": schedule_id, "paused": False})


async def triggered(request: Request, caller: Operator, schedule_id: str) -> Response:
    """Have a schedule send once, now."""
    schedules = service_of(request).of(caller).schedules
    await _seen(schedules, caller, schedule_id)
    await schedules.trigger(schedule_id, by=caller.who)
    return Json({"schedule_id": schedule_id}, 202)


async def backfilled(request: Request, caller: Operator, schedule_id: str, window: Window) -> Response:
    """Make up for times that passed; those that were sent add nothing."""
    schedules = service_of(request).of(caller).schedules
    await _seen(schedules, caller, schedule_id)
    await schedules.backfill(schedule_id, window.start, window.end, by=caller.who)
    return Json({"schedule_id": schedule_id}, 202)


def _id(schedule_id: str) -> str:
    if len(schedule_id) > MAX_SCHEDULE_ID:
        raise ScheduleNotFound(f"no schedule {schedule_id!r:.100}")
    return schedule_id


async def _there(schedules: Schedules, schedule_id: str) -> bool:
    try:
        await schedules.get(_id(schedule_id))
    except ScheduleNotFound:
        return False
    return True


async def _seen(schedules: Schedules, caller: Caller, schedule_id: str) -> ScheduleInfo:
    """Return a schedule that the caller sees.

    Raises:
        ScheduleNotFound: There is none.
    """
    found = await schedules.get(_id(schedule_id))
    if not _sees(caller, found):
        raise ScheduleNotFound(f"no schedule {schedule_id!r:.100}")
    return found


def _sees(caller: Caller, schedule: ScheduleInfo) -> bool:
    agent = caller.agent is None or schedule.agent in (None, caller.agent)
    return agent and caller.sees(schedule.session_id or "")


_ROUTES: Final[tuple[tuple[str, str, Callable[..., Awaitable[Response]], int], ...]] = (
    ("GET", "", listed, 200),
    ("PUT", "/{schedule_id}", put, 200),
    ("GET", "/{schedule_id}", shown, 200),
    ("DELETE", "/{schedule_id}", deleted, 204),
    ("POST", "/{schedule_id}/pause", paused, 200),
    ("POST", "/{schedule_id}/resume", resumed, 200),
    ("POST", "/{schedule_id}/trigger", triggered, 202),
    ("POST", "/{schedule_id}/backfill", backfilled, 202),
)


def routes() -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1/schedules")
    for method, path, route, status in _ROUTES:
        router.add_api_route(path, route, methods=[method], status_code=status, response_model=None)
    return router

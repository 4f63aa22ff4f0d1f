"""Schedules: events that come by the clock.

Invariant: a schedule is Temporal's, so it fires with no client and no worker running, and what it fires is late then,
not lost. It only starts a tick, which sends the event as anybody would: overlap is the session's `when_busy`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn, Required, TypedDict, Unpack

from pydantic import TypeAdapter
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client as Temporal,
)
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.converter import WorkflowSerializationContext
from temporalio.service import RPCError, RPCStatusCode

from inturn import names
from inturn.client.temporal.connection import Connection
from inturn.client.temporal.rpc_errors import short, translate_error
from inturn.errors import InvalidEvent, JournalUnavailable, ScheduleNotFound
from inturn.events import Content, WhenBusy, make_event
from inturn.journal.values import NewEntry
from inturn.keys import is_id
from inturn.ticks import MAX_SCHEDULE_ID, Dst, is_cron, missing_times, usual_dst
from inturn.values import Value

_ALL: Final = ScheduleOverlapPolicy.ALLOW_ALL
_SOONEST: Final = 1.0
"""Seconds between two ticks, at least."""
_LONGEST: Final = 366 * 24 * 3600.0
_SAID: Final = ("content", "when_busy", "expires_after", "metadata", "agent")
"""Options that are the event's."""
_PLAN: Final = TypeAdapter(dict[str, Any])
Plan = dict[str, Any]
"""What a tick is told, as JSON (`inturn_activities.messages.TickInput`)."""


class ScheduleInfo(Value):
    """A schedule, as it stands.

    Attributes:
        content: What its events say; `None` where that cannot be read here.
        note: Why it is paused, or what was last said of it.
        next_at: When it fires next.
        last_at: The time of its last tick, as planned.
        fired: Its ticks, ever.
        missed: Its times that were not made up for, since the server was away for longer than `catch_up`.
        warnings: What it will not do though it looks so.
    """

    schedule_id: str
    tenant: str
    session_id: str | None = None
    agent: str | None = None
    content: Any = None
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    dst: Dst = "both"
    paused: bool = False
    note: str | None = None
    next_at: tuple[datetime, ...] = ()
    last_at: datetime | None = None
    fired: int = 0
    missed: int = 0
    warnings: tuple[str, ...] = ()


class ScheduleOptions(TypedDict, total=False):
    """What a schedule is made of; times are in seconds."""

    session_id: Required[str]
    """The session that gets its events."""
    content: Required[Content]
    """What they say."""
    agent: str | None
    """Who answers; `None`: the session's own agent, or the worker's only one."""
    cron: str | None
    """Five fields: minute, hour, day of the month, month, day of the week."""
    every: float | None
    """Seconds between two events, at least 1; instead of `cron`."""
    timezone: str
    """In which `cron` is meant; `UTC` by default. Its rules are the server's."""
    when_busy: WhenBusy
    expires_after: float | None
    metadata: dict[str, Any] | None
    catch_up: float
    """What was due while the server was away is made up for within so long, at least 10; an hour by default."""
    jitter: float
    """Fires up to so much later, at random; the event's id and time are as planned."""
    dst: Dst | None
    """Of an hour that the zone has twice: `once`, the default where minute and hour are numbers, or `both`.
    """
    starts: datetime | None
    ends: datetime | None
    paused: bool | None
    """Unset: as it was."""
    by: str | None
    """Who makes it, for the journal."""


@dataclass(frozen=True)
class Schedules:
    """A tenant's schedules; `Client.schedules`."""

    connection: Connection
    tenant: str
    task_queue: str | None = None

    async def put(self, schedule_id: str, **options: Unpack[ScheduleOptions]) -> ScheduleInfo:
        """Make a schedule, or change it; see `Client.schedule`."""
        cron, every, timezone = options.get("cron"), options.get("every"), options.get("timezone", "UTC")
        agent, paused, by = options.get("agent"), options.get("paused"), options.get("by")
        spec = _spec(cron, every, timezone, options)
        said = {name: value for name in _SAID if (value := options.get(name)) is not None}
        event = make_event(source=_source(schedule_id), **said).wire()
        plan: Plan = {"session_id": _id("session id", options["session_id"]), "event": event, "timezone": timezone}
        plan |= (
            {"dst": options.get("dst") or usual_dst(cron)}
            | ({"agent": agent} if agent else {})
            | ({"cron": cron} if cron else {})
        )
        window = timedelta(seconds=_seconds("catch_up", options.get("catch_up", 3_600), at_least=10))
        temporal, key = await self.connection.temporal(), self._key(schedule_id)
        action = ScheduleActionStartWorkflow(
            names.TICK_WORKFLOW,
            await _encoded(temporal, plan),
            id=f"{names.TICKS}{self.tenant}/{schedule_id}",
            task_queue=self.task_queue or self.connection.settings.task_queue,
        )
        policy = SchedulePolicy(overlap=_ALL, catchup_window=window)
        schedule = Schedule(action, spec, policy=policy, state=ScheduleState(paused=bool(paused)))

        def changed(before: ScheduleUpdateInput) -> ScheduleUpdate:
            if paused is None:
                schedule.state = before.description.schedule.state
            return ScheduleUpdate(schedule)

        handle = temporal.get_schedule_handle(key)
        with _translated(schedule_id):
            try:
                await temporal.create_schedule(key, schedule)
            except ScheduleAlreadyRunningError:
                await handle.update(changed)
        told = {"cron": cron, "every": every, "session": options["session_id"], "paused": paused}
        await self._note("schedule.put", schedule_id, by, **told)
        return (await self.get(schedule_id)).model_copy(update={"warnings": _warnings(cron, timezone)})

    async def get(self, schedule_id: str) -> ScheduleInfo:
        """Return a schedule: when it fires next, how often it has, what it missed.

        Raises:
            ScheduleNotFound: There is none.
        """
        handle = await self._handle(schedule_id)
        with _translated(schedule_id):
            return await self._info(schedule_id, await handle.describe())

    async def list(self) -> AsyncIterator[ScheduleInfo]:
        """Yield the tenant's schedules (some seconds behind).

        Raises:
            Unavailable: The server did not answer.
        """
        temporal, prefix = await self.connection.temporal(), f"{names.SCHEDULE}{self.tenant}/"
        with _translated():
            async for found in await temporal.list_schedules():
                if found.id.startswith(prefix) and is_id(name := found.id.removeprefix(prefix)):
                    with suppress(ScheduleNotFound):  # it was deleted meanwhile
                        yield await self.get(name)

    async def pause(self, schedule_id: str, *, reason: str | None = None, by: str | None = None) -> None:
        """Fire it no more, until it is resumed; what its time brings meanwhile is not made up for."""
        handle = await self._handle(schedule_id)
        with _translated(schedule_id):
            await handle.pause(note=_note(reason, by))
        await self._note("schedule.paused", schedule_id, by, reason=reason)

    async def resume(self, schedule_id: str, *, reason: str | None = None, by: str | None = None) -> None:
        """Fire it again."""
        handle = await self._handle(schedule_id)
        with _translated(schedule_id):
            await handle.unpause(note=_note(reason, by))
        await self._note("schedule.resumed", schedule_id, by, reason=reason)

    async def trigger(self, schedule_id: str, *, by: str | None = None) -> None:
        """Fire it now; twice in one second is once."""
        handle = await self._handle(schedule_id)
        with _translated(schedule_id):
            await handle.trigger(overlap=_ALL)
        await self._note("schedule.triggered", schedule_id, by)

    async def backfill(self, schedule_id: str, start: datetime, end: datetime, *, by: str | None = None) -> None:
        """Fire it for all of its times behind `start`, up to `end`; those that it was fired for add nothing.

        Raises:
            InvalidEvent: A time has no zone, or the end is not behind the start.
        """
        if start.tzinfo is None or end.tzinfo is None or end <= start:
            raise InvalidEvent("a backfill goes from a time to a later one, both aware (with a time zone)")
        handle = await self._handle(schedule_id)
        with _translated(schedule_id):
            await handle.backfill(ScheduleBackfill(start_at=start, end_at=end, overlap=_ALL))
        span = {"start": start.isoformat(), "end": end.isoformat()}
        await self._note("schedule.backfilled", schedule_id, by, **span)

    async def delete(self, schedule_id: str, *, by: str | None = None) -> None:
        """Delete it; ticks that it has started send their events all the same."""
        handle = await self._handle(schedule_id)
        with _translated(schedule_id):
            await handle.delete()
        await self._note("schedule.deleted", schedule_id, by)

    # Inside.

    def _key(self, schedule_id: str) -> str:
        _source(schedule_id)
        return f"{names.SCHEDULE}{self.tenant}/{schedule_id}"

    async def _handle(self, schedule_id: str) -> ScheduleHandle:
        key = self._key(schedule_id)
        return (await self.connection.temporal()).get_schedule_handle(key)

    async def _info(self, schedule_id: str, seen: ScheduleDescription) -> ScheduleInfo:
        schedule, info = seen.schedule, seen.info
        plan = await _decoded(await self.connection.temporal(), schedule.action)
        intervals = schedule.spec.intervals
        return ScheduleInfo(
            schedule_id=schedule_id,
            tenant=self.tenant,
            session_id=plan.get("session_id"),
            agent=plan.get("agent"),
            content=(plan.get("event") or {}).get("content"),
            cron=plan.get("cron"),
            every=intervals[0].every.total_seconds() if intervals else None,
            timezone=schedule.spec.time_zone_name or "UTC",
            dst=plan.get("dst") or "both",
            paused=schedule.state.paused,
            note=schedule.state.note or None,
            next_at=tuple(info.next_action_times[:10]),
            last_at=info.recent_actions[-1].scheduled_at if info.recent_actions else None,
            fired=info.num_actions,
            missed=info.num_actions_missed_catchup_window,
        )

    async def _note(self, type_: str, schedule_id: str, by: str | None, **about: Any) -> None:
        """Note who did it, where there is a journal; without one, or while it is away, it is done all the same."""
        body = {"schedule": schedule_id, "by": by, **about}
        with suppress(JournalUnavailable):
            if (journal := await self.connection.journal()) is not None:
                told = {name: value for name, value in body.items() if value is not None}
                await journal.note(self.tenant, NewEntry(type_, told))


class _translated:
    """Raises what an error of Temporal's means."""

    def __init__(self, schedule_id: str = "") -> None:
        self._schedule_id = schedule_id

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RPCError):
            self._raise(error)

    def _raise(self, error: RPCError) -> NoReturn:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise ScheduleNotFound(f"no schedule {self._schedule_id}") from error
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            raise InvalidEvent(f"the server takes no such schedule: {short(error)}") from error
        raise translate_error(error).error from error


def _source(schedule_id: str) -> str:
    """Return the source of a schedule's events.

    Raises:
        InvalidEvent: The schedule's id is none.
    """
    if not is_id(schedule_id) or len(schedule_id) > MAX_SCHEDULE_ID:
        raise InvalidEvent(f"schedule id {schedule_id!r:.200} is no id of at most {MAX_SCHEDULE_ID} characters")
    return f"schedule:{schedule_id}"


def _id(what: str, value: str) -> str:
    if not is_id(value):
        raise InvalidEvent(f"{what} {value!r:.200} is no id")
    return value


def _spec(cron: str | None, every: float | None, timezone: str, options: ScheduleOptions) -> ScheduleSpec:
    starts, ends = options.get("starts"), options.get("ends")
    if (cron is None) == (every is None):
        raise InvalidEvent("a schedule has either cron= or every=")
    if cron is not None and not is_cron(cron):
        raise InvalidEvent(f"cron {cron!r:.200} has not the five fields: minute, hour, day, month, day of the week")
    if any(time is not None and time.tzinfo is None for time in (starts, ends)):
        raise InvalidEvent("starts and ends must be aware (have a time zone)")
    if not (0 < len(timezone) <= 64 and timezone.isascii() and timezone.isprintable()):
        raise InvalidEvent(f"timezone {timezone!r:.100} is no zone's name")
    spread = _seconds("jitter", options.get("jitter", 0), at_least=0)
    intervals: Sequence[ScheduleIntervalSpec] = ()
    if every is not None:
        intervals = [ScheduleIntervalSpec(timedelta(seconds=_seconds("every", every, at_least=_SOONEST)))]
    return ScheduleSpec(
        cron_expressions=[] if cron is None else [cron],
        intervals=intervals,
        time_zone_name=timezone,
        start_at=starts,
        end_at=ends,
        jitter=timedelta(seconds=spread) if spread else None,
    )


def _seconds(what: str, value: float, *, at_least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not at_least <= value <= _LONGEST:
        raise InvalidEvent(f"{what} is {value!r:.100}, it must be {at_least:g} to {_LONGEST:g} seconds")
    return float(value)


def _warnings(cron: str | None, timezone: str) -> tuple[str, ...]:
    """Return what a schedule will not do though it looks so."""
    if cron is None:
        return ()
    missing = missing_times(cron, timezone, datetime.now(UTC).date())
    return tuple(f"{time:%Y-%m-%d %H:%M} does not exist in {timezone}: nothing is fired then" for time in missing)


def _note(reason: str | None, by: str | None) -> str | None:
    told = [text for text in (reason, f"by {by}" if by else None) if text]
    return ", ".join(told)[:200] or None


async def _encoded(temporal: Temporal, plan: Plan) -> Payload:
    """Return what a tick is told, bound to the namespace: the ids of its workflows are the server's to say."""
    context = WorkflowSerializationContext(namespace=temporal.namespace, workflow_id="")
    [payload] = await temporal.data_converter.with_context(context).encode([plan])
    return payload


async def _decoded(temporal: Temporal, action: Any) -> Plan:
    """Return what a tick is told; nothing where that cannot be read here."""
    context = WorkflowSerializationContext(namespace=temporal.namespace, workflow_id="")
    converter = temporal.data_converter.with_context(context)
    with suppress(Exception):  # anybody may have made it, with any key
        payloads = [arg for arg in action.args if isinstance(arg, Payload)]
        [plan] = await converter.decode(payloads, [dict])
        return _PLAN.validate_python(plan)
    return {}

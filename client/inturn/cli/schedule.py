"""schedule: events that come by the clock.

Invariant: `put` says all of a schedule, and changes one that is there to just that; each other command names one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from inturn.cli.options import AgentName, Reason, options_of
from inturn.cli.output import ago, console, document, note, say, table, until
from inturn.cli.running import run

if TYPE_CHECKING:
    from inturn.client.client import Client
    from inturn.client.schedules import ScheduleInfo, Schedules

commands: Final = typer.Typer(
    help="Have events come by the clock.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
ScheduleId = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Its id.", show_default=False)]
By = Annotated[str | None, typer.Option(help="Who does it.", envvar="USER")]
Busy = Literal["queue", "reject", "interrupt", "steer", "merge"]
_AWARE: Final = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]
Time = Annotated[datetime, typer.Option(formats=_AWARE, help="With its zone, as 2027-03-14T09:00+01:00.")]


@commands.command()
def put(
    ctx: typer.Context,
    schedule: ScheduleId,
    session: Annotated[str, typer.Option(help="The session that gets the events.")],
    content: Annotated[str, typer.Option(help="What they say.")],
    cron: Annotated[str | None, typer.Option(help="Minute, hour, day, month, day of the week.")] = None,
    every: Annotated[float | None, typer.Option(help="Seconds between two; instead of --cron.")] = None,
    timezone: Annotated[str, typer.Option(help="In which --cron is meant.")] = "UTC",
    agent: AgentName = None,
    when_busy: Annotated[Busy, typer.Option(help="What one does that finds the session busy.")] = "queue",
    expires_after: Annotated[float | None, typer.Option(help="Seconds after which one is too late.")] = None,
    catch_up: Annotated[float, typer.Option(help="Seconds within which missed ones are made up for.")] = 3_600,
    jitter: Annotated[float, typer.Option(help="Seconds by which one may be later.")] = 0,
    dst: Annotated[Literal["once", "both"] | None, typer.Option(help="Of an hour that comes twice.")] = None,
    paused: Annotated[bool | None, typer.Option(help="Make it paused, or not; unset: as it was.")] = None,
    by: By = None,
) -> None:
    """Make a schedule, or change it."""

    async def work(client: Client) -> None:
        info = await client.schedule(
            schedule,
            session_id=session,
            content=content,
            cron=cron,
            every=every,
            timezone=timezone,
            agent=agent,
            when_busy=when_busy,
            expires_after=expires_after,
            catch_up=catch_up,
            jitter=jitter,
            dst=dst,
            paused=paused,
            by=by,
        )
        _show(ctx, info)

    run(ctx, work)


@commands.command()
def ls(ctx: typer.Context) -> None:
    """List the tenant's schedules."""

    async def work(client: Client) -> None:
        found = [info async for info in client.schedules.list()]
        if options_of(ctx).json:
            document(found)
        elif found:
            columns = ("schedule", "session", "when", "next", "fired", "missed", "")
            console().print(table("", columns, [_row(info) for info in found]))
        else:
            note(f"tenant {options_of(ctx).tenant}: no schedules")

    run(ctx, work)


@commands.command()
def show(ctx: typer.Context, schedule: ScheduleId) -> None:
    """Show a schedule: when it fires, and what it missed."""

    async def work(client: Client) -> None:
        _show(ctx, await client.schedules.get(schedule))

    run(ctx, work)


@commands.command()
def pause(ctx: typer.Context, schedule: ScheduleId, reason: Reason = None, by: By = None) -> None:
    """Fire it no more until it is resumed."""
    _act(ctx, schedule, lambda schedules: schedules.pause(schedule, reason=reason, by=by), "paused")


@commands.command()
def resume(ctx: typer.Context, schedule: ScheduleId, reason: Reason = None, by: By = None) -> None:
    """Fire it again."""
    _act(ctx, schedule, lambda schedules: schedules.resume(schedule, reason=reason, by=by), "resumed")


@commands.command()
def trigger(ctx: typer.Context, schedule: ScheduleId, by: By = None) -> None:
    """Fire it now, beside its times."""
    _act(ctx, schedule, lambda schedules: schedules.trigger(schedule, by=by), "fired")


@commands.command()
def backfill(ctx: typer.Context, schedule: ScheduleId, start: Time, end: Time, by: By = None) -> None:
    """Fire it for all of its times between two; those that it was fired for add nothing."""
    _act(ctx, schedule, lambda schedules: schedules.backfill(schedule, start, end, by=by), "backfilled")


@commands.command()
def delete(ctx: typer.Context, schedule: ScheduleId, by: By = None) -> None:
    """Delete it."""
    _act(ctx, schedule, lambda schedules: schedules.delete(schedule, by=by), "deleted")


def _act(ctx: typer.Context, schedule: str, call: Callable[[Schedules], Awaitable[None]], done: str) -> None:
    async def work(client: Client) -> None:
        await call(client.schedules)
        if options_of(ctx).json:
            document({"ok": True})
        else:
            say(f"{schedule}: {done}")

    run(ctx, work)


def _show(ctx: typer.Context, info: ScheduleInfo) -> None:
    if options_of(ctx).json:
        document(info)
        return
    columns = ("schedule", "session", "when", "next", "fired", "missed", "")
    console().print(table("", columns, [_row(info)]))
    for at in info.next_at[:3]:
        note(f"  {at:%Y-%m-%d %H:%M:%S %Z}")
    for warning in info.warnings:
        note(warning, style="yellow")


def _row(info: ScheduleInfo) -> tuple[Any, ...]:
    when = info.cron or (f"every {info.every:g} s" if info.every else "")
    following = until(info.next_at[0]) if info.next_at and not info.paused else ""
    state = f"paused: {info.note}" if info.paused and info.note else "paused" if info.paused else ago(info.last_at)
    return info.schedule_id, info.session_id or "", f"{when} {info.timezone}", following, info.fired, info.missed, state

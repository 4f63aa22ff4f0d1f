"""What the server's histories say was accepted.

Invariant: read from the server's own record, not from anything that a session or the journal counted; and from every
run of the workflow id that is retained, not only those that led to the present one: a session that was terminated began
anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from temporalio.client import WorkflowHistory
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode

from inturn import names, sizes
from inturn.client.temporal.retries import retry_rpc
from inturn.client.temporal.transport import SessionTransport
from inturn.decoding import Undecodable, decode, is_claimed, only_waits, read_event
from inturn.encryption.converter import Undecryptable
from inturn.histories import (
    Came,
    Fields,
    SetAside,
    Times,
    Unnamed,
    came,
    carried,
    decoded,
    ended_by,
    named_run,
    refused,
    state_of,
)
from inturn.journal.views.turns import FOR_GOOD, Ends
from inturn.signals import Signal

_PATIENCE: Final = 30.0
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass
class Accepted:
    """Accepted events by id, with the run that took each; and runs that the server no longer has."""

    events: dict[str, str] = field(default_factory=dict[str, str])
    came: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """When each came last."""
    signals: dict[str, Signal] = field(default_factory=dict[str, Signal])
    """Which brought those that came last by one."""
    named: set[str] = field(default_factory=set[str])
    """Ids that came with something else than an event: that is parked under its id, if it is still free."""
    others: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Other ids of those that have some."""
    claimed: set[str] = field(default_factory=set[str])
    """Events whose content the journal was to keep."""
    gone: list[str] = field(default_factory=list[str])
    chains: set[str] = field(default_factory=set[str])
    """The chains of runs that were read, as `turn.started` names them."""
    ended: dict[str, str] = field(default_factory=dict[str, str])
    """Runs that were ended from outside, and how."""

    def take(
        self, event_id: str, run_id: str, at: datetime, signal: Signal | None = None, others: Sequence[str] = ()
    ) -> None:
        """Note an event that came. `others`: its other ids."""
        self.events.setdefault(event_id, run_id)
        if others:
            self.others[event_id] = (*self.others.get(event_id, ()), *others)
        if at < self.came.get(event_id, at):
            return
        self.came[event_id] = at
        self.signals.pop(event_id, None)
        if signal is not None:
            self.signals[event_id] = signal

    def run_of(self, event_id: str) -> str:
        """Return the run that took an event, for people."""
        run_id = self.events[event_id]
        return f"{run_id} (which was {self.ended[run_id]})" if run_id in self.ended else run_id

    def after(self, ends: Ends, open_: Collection[str], aliases: Mapping[str, str]) -> list[str]:
        """Return the events that have not ended, or came again since: one that was rejected may.

        Those are left out that were duplicates of another by one of their ids: of one that has ended for good or is
        open, or of an earlier one of these.

        Args:
            ends: The ends that the journal has.
            open_: Events that wait or run: they are none of these.
            aliases: The journal's events by their other ids.
        """
        answered = {event_id for event_id, until in ends.told.items() if until == FOR_GOOD} | set(open_)
        known = answered | {alias for alias, event_id in aliases.items() if event_id in answered}
        known.update(other for event_id in answered for other in self.others.get(event_id, ()))
        left = set[str]()
        for event_id in sorted(self.events, key=lambda event_id: self.came.get(event_id, _LONG_AGO)):
            if event_id in open_ or ends.has(event_id, self.came.get(event_id), self.signals.get(event_id)):
                continue
            ids = {event_id, *self.others.get(event_id, ())}
            if known.isdisjoint(ids):
                left.add(event_id)
                known |= ids
        return [event_id for event_id in self.events if event_id in left]


@dataclass
class HistoryReader:
    """Reads the runs of one session, from the latest back to the first."""

    transport: SessionTransport

    async def accepted(self) -> Accepted:
        """Return what the retained runs accepted.

        Raises:
            SessionNotFound: No such session.
            Unavailable: The server did not answer.
        """
        found, read = Accepted(), set[str]()
        seen = await retry_rpc(self.transport.describe, patience=_PATIENCE, session=str(self.transport.key))
        for latest in [seen.run_id, *await self._listed()]:  # the list is some seconds behind
            run_id = latest
            while run_id and run_id not in read:
                read.add(run_id)
                run_id = await self.read(run_id, found)
        return found

    async def read(self, run_id: str, into: Accepted) -> str:
        """Read one run; return the one before it in its chain, empty where there is none.

        Raises:
            Unavailable: The server did not answer.
        """
        history = await self._history(run_id)
        if history is None or not history.events:
            into.gone.append(run_id)
            return ""
        started = history.events[0].workflow_execution_started_event_attributes
        into.chains.add(started.first_execution_run_id[-8:])
        if (end := ended_by(history.events[-1])) is not None:
            into.ended[run_id] = end
        temporal = await self.transport.connection.temporal()
        times, state = Times(), await state_of(temporal, str(self.transport.key), history.events[0])
        for event_id, others in _begun_with(state):
            into.take(event_id, run_id, times.of(history.events[0]), others=others)
        chain, set_aside = started.first_execution_run_id, SetAside()
        unnamed, run = Unnamed.of(state, chain), named_run(state, chain)
        out = {refused(event) for event in history.events} - {None}
        for event in history.events:
            set_aside.note(event)
        for event in history.events:
            at, message = times.of(event), came(event)
            if message is None or message.update_id in out or event in set_aside:
                continue
            if _is_for_inbox(message):
                try:
                    args = await decoded(temporal, str(self.transport.key), message.payloads)
                except Undecryptable:
                    if message.update_id is None and run_id in into.ended and not set_aside.handled(event):
                        continue  # nobody had read it when the run was ended: it was no event to it
                    raise
                signal = None if message.update_id else Signal(run, set_aside.number_of(event))
                _take(into, run_id, at, message, args, unnamed, signal)
        return started.continued_execution_run_id

    async def _listed(self) -> list[str]:
        """Return all runs of the workflow id that the server's visibility knows, the latest first."""
        temporal, query = await self.transport.connection.temporal(), f"WorkflowId = '{self.transport.key}'"

        async def listed() -> list[str]:
            return [run.run_id async for run in temporal.list_workflows(query)]

        return await retry_rpc(listed, patience=_PATIENCE, session=str(self.transport.key))

    async def _history(self, run_id: str) -> WorkflowHistory | None:
        async def fetch() -> WorkflowHistory | None:
            try:
                return await (await self.transport.handle(run_id)).fetch_history()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                raise

        return await retry_rpc(fetch, patience=_PATIENCE, session=str(self.transport.key))


def _take(
    into: Accepted,
    run_id: str,
    at: datetime,
    message: Came,
    args: Sequence[RawValue],
    unnamed: Unnamed,
    signal: Signal | None,
) -> None:
    """Note what a message brought, read as the session reads it. An update was accepted; a signal may be anything."""
    try:
        fields = decode(args, sizes.READ_EVENT)
        if message.update_id is not None and only_waits(fields):
            return
        event = read_event(fields)
    except Undecodable as invalid:
        into.named |= {invalid.event_id} if invalid.event_id else set()
        return
    if message.name != names.SUBMIT:
        into.named |= {event.event_id} if event.event_id else set()
        return
    event_id = event.event_id or unnamed.id_of(event, message.update_id)
    into.take(event_id, run_id, at, signal, event.aliases)
    into.claimed |= {event_id} if is_claimed(fields) else set()


def _is_for_inbox(message: Came) -> bool:
    return message.name == names.SUBMIT or (message.update_id is None and message.name != names.CONTROL)


def _begun_with(state: Fields) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the events that a run began with, and their other ids: what waited, or ran, when the last one ended."""
    turn, waiting = carried(state)
    for item in [*waiting, *([turn] if turn else [])]:
        others = item.get("aliases") or (item.get("event") or {}).get("aliases") or ()
        yield str(item.get("turn", "")).partition("~")[0], others
    yield from ((event_id, ()) for event_id in turn.get("merged") or ())

"""A session's transport with a script: what each call of Temporal's gives, and what it was called with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from inturn.client.hub import Hub
from inturn.client.settings import ClientSettings
from inturn.errors import JournalUnavailable
from inturn.keys import SessionKey

Outcome = BaseException | dict[str, Any] | Callable[[], Any]


def rpc_error(status: RPCStatusCode, message: str = "no") -> RPCError:
    """What the SDK raises for a refused call."""
    return RPCError(message, status, b"")


def refused(type_: str, *details: Any) -> WorkflowUpdateFailedError:
    """What the SDK raises for an update that the session refused."""
    return WorkflowUpdateFailedError(ApplicationError("refused", *details, type=type_))


def reworded_cancel() -> WorkflowUpdateRPCTimeoutOrCancelledError:
    """What the SDK makes of a cancel in the middle of an update."""
    error = WorkflowUpdateRPCTimeoutOrCancelledError()
    error.__cause__ = asyncio.CancelledError()
    return error


class FakeUpdate:
    """An accepted update."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    async def result(self) -> Any:
        return await _play(self._outcome)


class FakeTransport:
    """Plays its script, in order, and keeps the calls as `(kind, message, update id)`.

    A script's item is what the call raises or gives; for an update `accepted(…)` gives what its result is.
    """

    def __init__(self, *script: Outcome, journal: Any = None, **settings: Any) -> None:
        self.key = SessionKey("t", "s")
        self.agent: str | None = None
        self.script = list(script)
        self.calls: list[tuple[str, dict[str, Any], str | None]] = []
        self.state: Outcome = {"state": "idle"}
        self.answers = False
        made = ClientSettings(_env_file=None, **settings)
        self.connection = SimpleNamespace(
            settings=made,
            journal=self._journal,
            any_journal=self._any_journal,
            hub=self._hub,
            unlooked={},
        )
        self.patience = made.patience
        self._its_journal = journal
        self.follows = asyncio.Event()
        """Set whenever somebody begins to wait for the journal."""

    async def signal_with_start(self, event: dict[str, Any]) -> None:
        await self._next("signal_with_start", event)

    async def signal(self, name: str, message: dict[str, Any]) -> None:
        await self._next(f"signal {name}", message)

    async def update_with_start(self, event: dict[str, Any], update_id: str) -> FakeUpdate:
        return FakeUpdate(await self._next("update_with_start", event, update_id))

    async def update(self, name: str, message: dict[str, Any], update_id: str) -> FakeUpdate:
        return FakeUpdate(await self._next(f"update {name}", message, update_id))

    async def status(self, timeout: float) -> Any:
        return await _play(self.state)

    async def control_result(self, control_id: str) -> Any:
        return await self._next("query control", {"control_id": control_id}) or None

    async def ended(self) -> None:
        await self._next("ended", {})

    async def describe(self) -> Any:
        raise rpc_error(RPCStatusCode.UNAVAILABLE)

    async def alive(self) -> bool:
        return self.answers

    async def _next(self, kind: str, message: dict[str, Any], update_id: str | None = None) -> Any:
        self.calls.append((kind, message, update_id))
        outcome = self.script.pop(0) if self.script else {}
        return await _play(outcome) if not isinstance(outcome, _Accepted) else outcome.result

    async def _journal(self) -> Any:
        return self._its_journal

    async def _any_journal(self) -> Any:
        if self._its_journal is None:
            raise JournalUnavailable("none here")
        return self._its_journal

    async def _hub(self) -> Hub:
        return _Hub(await self._any_journal(), self.follows)


class _Hub(Hub):
    def __init__(self, journal: Any, follows: asyncio.Event) -> None:
        super().__init__(journal)
        self._follows = follows

    async def wait(self, session: SessionKey, *, after: int) -> int:
        self._follows.set()
        return await super().wait(session, after=after)


class _Accepted:
    def __init__(self, result: Outcome) -> None:
        self.result = result


def accepted(result: Outcome) -> Any:
    """An update that is accepted, with what its result gives or raises."""
    return _Accepted(result)


async def never() -> None:
    """An answer that does not come."""
    await asyncio.Event().wait()


async def _play(outcome: Outcome) -> Any:
    if isinstance(outcome, BaseException):
        raise outcome
    if callable(outcome):
        return await outcome()
    return outcome

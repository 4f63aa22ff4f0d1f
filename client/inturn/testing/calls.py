"""The tool calls of one step, in the test's own process.

Invariant: a call is checked, approved, run, tried again and written down by the rules of a worker; only nothing waits
between two attempts.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from inturn.journal.log import codec
from inturn.testing.contexts import make_context
from inturn.testing.locks import CallLocks, LockTable
from inturn.testing.memory import Memory
from inturn.tools import Tool
from inturn.tools.calling import CallPolicy, attempt_call, check_checkpoint, run_body, tool_policy
from inturn.tools.checks import CHECKED_WITHIN, CheckedCall, checked_call
from inturn.tools.context import ToolContext
from inturn.tools.secrets import CallSecrets
from inturn.tools.threads import NOBODY, Threads
from inturn.turns.answers import ToolUse
from inturn.turns.call_results import (
    CANCELLED,
    FAILED,
    GIVEN_UP,
    MAX_PARALLEL_CALLS,
    UNCHECKED,
    CallResult,
    denied,
    error_result,
    unknown_tool,
)

Ask = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Shared:
    """What the calls of a turn share."""

    memory: Memory = field(default_factory=Memory)
    locks: LockTable = field(default_factory=LockTable)


class Body:
    """A function under a policy: attempt after attempt, until it has a result."""

    def __init__(self, fields: Mapping[str, Any], shared: Shared, policy: CallPolicy) -> None:
        """Run by a policy, with contexts of these fields."""
        self._fields = fields
        self._shared = shared
        self._policy = policy
        self._checkpoint: dict[str, Any] = {}
        self.error: Exception | None = None
        """What the last attempt raised."""

    async def run(self, call: Callable[[ToolContext], Any], locks: Mapping[str, bool] | None = None) -> CallResult:
        """Call a function with the context of each attempt, and return its result.

        Args:
            call: The function.
            locks: What each attempt holds, and whether it is only read.
        """
        for attempts in itertools.count(1):
            async with self._shared.locks.hold(self, locks or {}) as fence:
                ended = await attempt_call(partial(self._attempt, call, fence), self._policy)
            if isinstance(ended, CallResult):
                return ended
            if attempts > self._policy.retries:
                return ended.result(attempts)
        raise AssertionError("unreachable: attempts end")

    async def _attempt(self, call: Callable[[ToolContext], Any], fence: int) -> Any:
        secrets = CallSecrets()
        made = {
            "fence": fence,
            "_secrets": secrets,
            "_checkpoint": partial(self._keep, secrets),
            "_loop": asyncio.get_running_loop(),
            "_locks": CallLocks(self._shared.locks, self),
        }
        context = make_context({**made, **self._fields, **self._checkpoint}, self._shared.memory)
        try:
            if not self._policy.threaded:
                return await run_body(context, None, partial(call, context))
            async with Threads(1).slot(wait=1) as slot:
                return await run_body(context, slot, partial(call, context))
        except Exception as error:
            self.error = error
            raise

    async def _keep(self, secrets: CallSecrets, value: Any) -> None:
        check_checkpoint(value, secrets)
        self._checkpoint = {"last_checkpoint": codec.copied(value)}


class Call:
    """One call of a step."""

    def __init__(
        self, tool: Tool[..., Any] | None, use: ToolUse, fields: Mapping[str, Any], shared: Shared, ask: Ask
    ) -> None:
        """Make a call of an answer's; `ask` asks a person for it."""
        self._tool = tool
        self._use = use
        self._fields = fields
        self._shared = shared
        self._ask = ask
        self._asking: asyncio.Future[bool] | None = None
        self._withdrawn = False
        self._allowed = False
        self.waits = False
        """A person is to answer first."""

    async def run(self, slots: asyncio.Semaphore) -> CallResult:
        """Return the call's result."""
        tool = self._tool
        if self._use.error is not None:
            return error_result(self._use.error)
        if tool is None:
            return unknown_tool(self._use.tool)
        planned = await self._checked(tool)
        asks = bool(tool.approval) if planned is None else isinstance(planned, CheckedCall) and planned.approval
        while True:
            if asks and (refused := await self._refused()) is not None:
                return refused
            async with slots:
                checked = await self._checked(tool)
                if checked is None:
                    return UNCHECKED
                if isinstance(checked, CallResult):
                    return checked
                asks = checked.approval and not self._allowed
                if not asks:
                    return await self._run(tool, checked)

    async def _checked(self, tool: Tool[..., Any]) -> CheckedCall | CallResult | None:
        """Return what the tool's declaration says of the call; `None` where that is not found out in time."""
        return await checked_call(tool, self._use.input, Threads(1), NOBODY, timeout=CHECKED_WITHIN)

    def withdraw(self) -> None:
        """Ask no more: the call is denied."""
        self._withdrawn = True
        if self._asking is not None:
            self._asking.cancel()

    async def _refused(self) -> CallResult | None:
        self.waits = True
        asking = self._asking = asyncio.ensure_future(self._ask())
        try:
            self._allowed = await asking
            return None if self._allowed else denied("denied")
        except asyncio.CancelledError:
            if not self._withdrawn:
                raise
            return denied(f"expired: {GIVEN_UP}")
        finally:
            self.waits = False

    async def _run(self, tool: Tool[..., Any], checked: CheckedCall) -> CallResult:
        names = dict.fromkeys(checked.reads, True) | dict.fromkeys(checked.locks, False)

        def call(context: ToolContext) -> Any:
            return tool.fn(**checked.arguments, **({tool.context_parameter: context} if tool.context_parameter else {}))

        return await Body(self._fields, self._shared, tool_policy(tool)).run(call, names)


async def settle(calls: Sequence[Call], bears: int | None) -> list[CallResult]:
    """Run all calls of a step; where as many failed as the agent bears, the others are given up."""
    slots = asyncio.Semaphore(MAX_PARALLEL_CALLS)
    tasks = [asyncio.ensure_future(call.run(slots)) for call in calls]

    def failed(task: asyncio.Task[CallResult]) -> bool:
        return task.done() and not task.cancelled() and not task.exception() and task.result().status in FAILED

    def ended(_: asyncio.Task[CallResult]) -> None:
        if bears is None or sum(map(failed, tasks)) < bears:
            return
        for call, task in zip(calls, tasks, strict=True):
            if call.waits:
                call.withdraw()
            else:
                task.cancel()

    for task in tasks:
        task.add_done_callback(ended)
    await asyncio.gather(*tasks, return_exceptions=True)
    return [CallResult("cancelled", CANCELLED) if task.cancelled() else task.result() for task in tasks]

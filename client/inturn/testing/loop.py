"""One turn of an agent in the test's own process: no server, no journal, no worker.

Invariant: the agent's tools really run, by the rules of a real turn: arguments validated, approval first where it is
asked for, calls in parallel, results in call order, every failure a result that the model sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from inturn.agents import Agent
from inturn.errors import InturnError, Retry, ToolError
from inturn.events import Content, Event, explain
from inturn.journal.state.changes import Scope
from inturn.keys import SessionKey, TurnKey
from inturn.models import Model, ModelMessage, ModelRequest
from inturn.models.scripted import Entry, ScriptedModel
from inturn.testing.memory import Memory
from inturn.tools import Tool, arguments_hash, call_async
from inturn.tools import context as _context
from inturn.tools.context import ToolContext
from inturn.tools.shared_state import Attempt, State
from inturn.values import Approval, StopReason, Turn, TurnToolCall, Usage

Approve = bool | Callable[[Approval], bool | Awaitable[bool]] | None

_Settled = tuple[str, str]
_FAILED = ("error", "timeout", "unknown")
_STOPS: dict[str | None, StopReason] = {
    "end_turn": "end_turn",
    "stop_sequence": "end_turn",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "refusal": "refusal",
}


def context(key: str = "test/session/event/0/0", **overrides: Any) -> ToolContext:
    """Make the context that a tool gets, for calling a tool directly.

    Its shared state is in memory. Contexts share it where one is given the other's, and one with the same key is then
    the next attempt of the same call:

    ```python
    first = context("k")
    await my_tool("1001", first)
    await my_tool("1001", context("k", state=first.state, shared=first.shared))  # changes nothing more
    ```

    Args:
        key: The call's idempotency key.
        **overrides: Any other field of `ToolContext`.
    """
    return _context_of({"key": key, **overrides}, Memory())


async def run(
    agent: Agent,
    content: Content,
    *,
    script: Iterable[Entry] | None = None,
    approve: Approve = None,
    model: Model | None = None,
    messages: list[dict[str, Any]] | None = None,
    **overrides: Any,
) -> Turn:
    """Run one turn of an agent.

    Args:
        agent: The agent; its tools really run.
        content: What the user says.
        script: The model's answers in order; without one it answers by rule (see `inturn.testing.answers`).
        approve: The answer to calls that need approval: yes, no, or by a function of the `Approval`.
        model: Another model to ask, instead of a script.
        messages: An earlier conversation; the turn's messages are appended to it.
        **overrides: Fields of the `ToolContext` that the tools get (`tenant`, `resources`, ...). Shared state is in
            memory and ends with the turn, unless another context's is given: `shared=ctx.shared`.

    Raises:
        InturnError: A call needs approval and there is no `approve`, or the script is exhausted.
    """
    turn = _PlainTurn(agent, model or ScriptedModel(script), approve, [] if messages is None else messages, overrides)
    return await turn.run(content)


class _PlainTurn:
    def __init__(
        self, agent: Agent, model: Model, approve: Approve, messages: list[dict[str, Any]], overrides: dict[str, Any]
    ) -> None:
        self.agent = agent
        self.model = model
        self.approve = approve
        self.messages = messages
        self.overrides = overrides
        self.calls: list[TurnToolCall] = []
        self.usage = Usage()
        self.memory = Memory()

    async def run(self, content: Content) -> Turn:
        self.event = self.overrides.pop("event", None) or Event(event_id="event", content=content)
        self.messages.append({"role": "user", "content": content})
        manifest = self.agent.manifest()
        stop, text = None, ""
        while stop is None:
            if self._over_budget():
                stop = "budget_reached"
                break
            request = ModelRequest(
                self.agent.model, manifest["system"], list(self.messages), manifest["tools"], self.agent.max_tokens
            )
            message = await self.model.respond(request, lambda _: None)
            self._count(message.usage)
            self.messages.append({"role": "assistant", "content": message.content})
            text = "".join(b["text"] for b in message.content if b["type"] == "text") or text
            stop = await self._after(message)
        turn = Turn(
            event_id=str(self.event.event_id),
            text=text,
            stop_reason=stop,
            usage=self.usage,
            tool_calls=tuple(self.calls),
        )
        if self.agent.deliver is not None:
            await call_async(self.agent.deliver, turn, self._context("deliver", "deliver", None))
        return turn

    async def _after(self, message: ModelMessage) -> StopReason | None:
        """Do what the stop reason asks for; `None` goes on."""
        if message.stop_reason == "pause_turn":
            return None
        uses = [b for b in message.content if b["type"] == "tool_use"]
        if message.stop_reason == "tool_use" and uses:
            results = await self._settle(uses)
            self.messages.append({"role": "user", "content": results})
            return None
        if uses:  # cut off or refused: never executed, but answered, so that the conversation stays valid
            self.messages.append({"role": "user", "content": [_result(b["id"], "error", "not executed") for b in uses]})
        return _STOPS.get(message.stop_reason, "end_turn")

    async def _settle(self, uses: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        step = str(self.usage.steps - 1)
        calls = [asyncio.ensure_future(self._call(use, step, index)) for index, use in enumerate(uses)]
        settled = await _all_of(calls, self.agent.budget.failures)
        for use, (status, text) in zip(uses, settled, strict=True):
            self.calls.append(
                TurnToolCall(call_id=use["id"], tool=use["name"], args=use["input"], status=status, result=text)
            )
        return [_result(use["id"], status, text) for use, (status, text) in zip(uses, settled, strict=True)]

    async def _call(self, use: dict[str, Any], step: str, index: int) -> tuple[str, str]:
        tool = self.agent.tool(use["name"])
        if tool is None:
            return "error", f"unknown tool {use['name']!r}"
        try:
            args = tool.validate_arguments(use["input"])
        except ValidationError as error:
            return "error", f"invalid arguments: {explain(error)}"
        if tool.needs_approval(args) and not await self._approved(use):
            return "denied", "A person denied this call."
        return await _execute(tool, args, lambda: self._context(use["id"], step, index))

    async def _approved(self, use: dict[str, Any]) -> bool:
        if self.approve is None:
            raise InturnError(f"{use['name']} asks for approval: pass approve=True, False or a function to run()")
        if isinstance(self.approve, bool):
            return self.approve
        approval_id = f"{use['id']}:{arguments_hash(use['input'])}"
        asked = Approval(approval_id=approval_id, call_id=use["id"], tool=use["name"], args=use["input"])
        return bool(await call_async(self.approve, asked))

    def _context(self, call_id: str, step: str, index: int | None) -> ToolContext:
        made = _context_of({"call_id": call_id, "event": self.event, **self.overrides}, self.memory)
        turn = TurnKey(SessionKey(made.tenant, made.session_id), str(self.event.event_id))
        return made if "key" in self.overrides else _keyed(made, str(turn.step(step, index)))

    def _over_budget(self) -> bool:
        budget, used = self.agent.budget, self.usage
        return any(
            limit is not None and spent >= limit
            for limit, spent in (
                (budget.steps, used.steps),
                (budget.tokens, used.input_tokens + used.output_tokens),
                (budget.usd, used.usd),
            )
        )

    def _count(self, usage: Usage) -> None:
        names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "usd")
        sums = {name: getattr(self.usage, name) + getattr(usage, name) for name in names}
        self.usage = Usage(steps=self.usage.steps + 1, **sums)


def _context_of(overrides: dict[str, Any], memory: Memory) -> ToolContext:
    values: dict[str, Any] = {
        "tenant": "test",
        "session_id": "session",
        "call_id": "call",
        "event": Event(event_id="event", content="test"),
        "key": "",
    }
    values |= overrides
    values.setdefault("state", State(memory, Scope(values["tenant"], values["session_id"])))
    values.setdefault("shared", State(memory, Scope(values["tenant"])))
    made = ToolContext(**values)
    return _keyed(made, made.key)


def _keyed(made: ToolContext, key: str) -> ToolContext:
    """Give the context of another attempt of the call with this key."""
    attempt = Attempt(SessionKey(made.tenant, made.session_id).turn(key).step("test"), None)
    return replace(made, key=key, state=made.state.within(attempt), shared=made.shared.within(attempt))


async def _all_of(calls: Sequence[asyncio.Task[_Settled]], bears: int | None) -> list[_Settled]:
    """Wait for all calls; where as many failed as the agent bears, the others are cancelled."""

    def failed(call: asyncio.Task[_Settled]) -> bool:
        return call.done() and not call.cancelled() and not call.exception() and call.result()[0] in _FAILED

    def ended(call: asyncio.Task[_Settled]) -> None:
        if bears is not None and failed(call) and sum(map(failed, calls)) >= bears:
            for other in calls:
                other.cancel()

    for call in calls:
        call.add_done_callback(ended)
    await asyncio.gather(*calls, return_exceptions=True)
    return [("cancelled", "Another call of the step failed.") if c.cancelled() else c.result() for c in calls]


async def _execute(
    tool: Tool[..., Any], args: dict[str, Any], context_of: Callable[[], ToolContext]
) -> tuple[str, str]:
    """Run a tool's body as often as its retries allow; give its status and text."""
    for attempt in range(tool.retries + 1):
        try:
            value = await asyncio.wait_for(_body(tool, args, context_of()), tool.timeout)
        except ToolError as error:
            return "error", str(error)
        except TimeoutError:
            return "timeout", f"{tool.name} did not finish within {tool.timeout:g} s"
        except Retry as error:
            if attempt == tool.retries:
                return "error", str(error)
        except Exception as error:  # a failing tool is a result, not the end of the turn
            return "error", f"{type(error).__name__}: {error}"
        else:
            return "ok", value if isinstance(value, str) else to_json(value, fallback=str).decode()
    raise AssertionError("unreachable: the last attempt returns")


async def _body(tool: Tool[..., Any], args: dict[str, Any], ctx: ToolContext) -> Any:
    token = _context._current.set(ctx)  # pyright: ignore[reportPrivateUsage]
    try:
        given = {**args, tool.context_parameter: ctx} if tool.context_parameter else args
        if tool.is_async:
            return await call_async(tool.fn, **given)
        return await asyncio.to_thread(tool.fn, **given)
    finally:
        _context._current.reset(token)  # pyright: ignore[reportPrivateUsage]


def _result(call_id: str, status: str, text: str) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id, "content": text}
    return block if status == "ok" else {**block, "is_error": True}

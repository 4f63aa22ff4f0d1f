"""A secret that a tool was given is in nothing that leaves the worker: beats, spans, logs, errors, entries."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.exceptions import ApplicationError

from inturn.errors import Retry, ToolError
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn.tools.context import ToolContext
from inturn.tools.secrets import Secret
from inturn_activities import heartbeat
from inturn_activities.bounds import Bounds
from inturn_activities.limits.limits import Limits
from inturn_activities.messages import ToolInput
from inturn_activities.telemetry import spans
from inturn_worker.logs import configure_logs
from inturn_worker.telemetry import TurnIds
from tests.support.steps import SESSION, WAIT, environment, rig
from tests.support.waiting import until

pytestmark = pytest.mark.promise("SEC-3")
CANARY = Secret("canary-5f0c-hunter2")
RAW = CANARY.get_secret_value()
KEY = SESSION.turn("e1").step(0, 0)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that the worker's own logging writes."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    text = io.StringIO()
    configure_logs("json", "debug", text)
    yield text
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans of this process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(id_generator=TurnIds(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("inturn"))
    return exporter


async def test_no_beat_shows_what_a_step_waits_for_where_that_is_a_secret() -> None:
    made, beats = environment(KEY), list[Any]()
    made.on_heartbeat = lambda *details: beats.append(details)

    async def said_twice() -> bool:
        return len([beat for beat in beats if beat]) >= 2

    async def waits() -> None:
        with heartbeat.Heartbeat(every=0.01):
            heartbeat.waits_for(f"waiting for lock token:{RAW}, held by acme/s2")
            await until(said_twice, within=WAIT)

    await made.run(waits)
    assert RAW not in repr(beats)
    assert "held by acme/s2" in repr(beats), "what is no secret of it is shown"


@tool
async def say(how: str, ctx: ToolContext) -> Any:
    """Bring the secret wherever a tool can."""
    ctx._secrets.add(CANARY)
    logging.getLogger("shop").warning("paying with %s", RAW)
    await ctx.progress(f"paying with {RAW}")
    match how:
        case "return":
            return {"token": RAW, "list": [RAW, {RAW: 1}]}
        case "tool_error":
            raise ToolError(f"refused {RAW}")
        case "retry":
            raise Retry(f"try {RAW}", after=0)
        case "cause":
            raise RuntimeError("refused") from ValueError(RAW)
        case "group":
            raise ExceptionGroup(RAW, [ValueError(RAW)])
        case _:
            raise SystemExit(RAW)


@pytest.mark.parametrize("how", ["return", "tool_error", "retry", "cause", "group", "exit"])
async def test_whatever_a_tool_does_with_a_secret_it_is_in_no_span_log_error_or_entry(
    tmp_path: Path, how: str, logged: io.StringIO, exported: InMemorySpanExporter
) -> None:
    async with rig(tmp_path, [ToolCall("say", how=how)], tools=[say]) as r:
        (call,) = (await r.ask()).calls
        ends = [await _ended(r.tool(call=call.id, attempt=attempt)) for attempt in range(1, 5)]
        assert RAW not in repr(ends)
        entries = [entry.body for entry in await r.entries()]
    (written,) = [entry for entry in entries if "status" in entry]
    assert RAW not in json.dumps(entries)
    assert RAW not in logged.getvalue()
    assert "paying with [secret]" in logged.getvalue()
    found = [span.to_json() for span in exported.get_finished_spans()]
    assert any('"execute_tool say"' in span for span in found)
    assert RAW not in "".join(found)
    assert written["status"] == ("ok" if how == "return" else "error")


async def test_a_step_that_waits_for_a_lock_named_by_a_secret_shows_it_nowhere(
    tmp_path: Path, logged: io.StringIO
) -> None:
    @tool(locks=["account:{token}"])
    async def pay(token: str) -> str:
        """Pay."""
        return "paid"

    script = [[ToolCall("pay", token=RAW), ToolCall("pay", token=RAW)]]
    bounds, limits = Bounds(beat=0.01, lease=30, claim_wait=0.1), Limits(stuck_after=0.01)
    async with rig(tmp_path, script, tools=[pay], bounds=bounds, limits=limits) as r:
        first, second = (await r.ask()).calls
        await r.journal.claim_call(
            KEY,
            lease=30,
            begin=True,
            wants=r.steps._tools._limits.of_call(
                "acme",
                "support",
                "pay",
                await r.steps._tools._bodies.check(KEY, pay, {"token": RAW}),  # type: ignore[arg-type]
            ),
        )
        beats = list[Any]()
        made = environment(SESSION.turn("e1").step(0, 1))
        made.on_heartbeat = lambda *details: beats.append(details)
        with pytest.raises(ApplicationError) as waits:
            await asyncio.wait_for(made.run(r.steps.run_tool, ToolInput(call=second.id)), WAIT)
        assert first.id != second.id
        assert "waiting for" in waits.value.message
        assert RAW not in repr(_sent(waits.value)) + repr(beats) + logged.getvalue()


async def _ended(step: Awaitable[Any]) -> list[Any]:
    """Run a step; return what Temporal is sent of its end."""
    try:
        return [await step]
    except ApplicationError as error:
        return _sent(error)


def _sent(error: BaseException | None) -> list[Any]:
    """Return what Temporal is sent of an error."""
    sent: list[Any] = []
    while error is not None:
        sent += [str(error), getattr(error, "details", ())]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return sent

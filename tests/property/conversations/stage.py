"""Where plans are played: a session's steps on workers without a Temporal server, driven as the workflow drives them.

Invariant: nothing good is set aside, no request is refused for what was committed, and the session answers whatever
comes next.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Final

from temporalio.exceptions import ApplicationError

from inturn.agents import Agent
from inturn.errors import ToolError
from inturn.journal import Journal
from inturn.journal.views.transcript import TYPES, Transcript
from inturn.keys import SessionKey, StepKey, TurnKey
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.models.facts import ModelFacts, facts
from inturn.models.server_tools import CodeExecution, WebSearch
from inturn.tools import Tool, tool
from inturn.turns.compaction import Compaction
from inturn.turns.stop_reasons import ends_turn
from inturn_activities.bounds import Bounds
from inturn_activities.messages import Decision, ModelInput, ModelResult, RecordInput, ToolInput
from inturn_activities.model.transcript_cache import Transcripts
from inturn_activities.registry import Steps
from tests.property.conversations.plans import AGENTS, RESULTS, Turn
from tests.property.conversations.strict import Strict
from tests.support.steps import environment

SMALL: Final = Compaction(window=40_000, soft=0.3)
TINY: Final = Compaction(window=14_000, soft=0.1, keep_turns=2)
BOUNDS: Final = Bounds(beat=0.05, lease=5)
MAX_STEPS: Final = 14
MAX_ATTEMPTS: Final = 6
UNSEEN: Final = ("Unable to download the file", "messages: image dimensions exceed", "messages: too many images")
FOREIGN: Final = ("Invalid `signature`", "Invalid `data`")
"""With those, why the API may refuse what was committed: what nobody can know without asking it."""

TOO_LARGE: Final = (
    "too large for what the model still takes",
    "outgrown the model",
    "too large for the model's window",
)
"""What becomes of an event whose images are too many in this conversation: nothing older pays for it."""


class Broken(AssertionError):
    """The session did what it must not."""


PLAYER: Final[ContextVar[Player]] = ContextVar("player")
"""Whose session a step belongs to: workers serve those of all players."""


class Shared:
    """The model of the workers: each player's own."""

    def facts(self, model: str) -> ModelFacts:
        """Return what holds for a model."""
        return facts(model)

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Answer as planned for the player whose request it is."""
        return await PLAYER.get().model.respond(request, on_delta)

    async def compact(self, request: ModelRequest, instructions: str | None) -> ModelMessage | None:
        """Summarise as planned for the player whose request it is."""
        return await PLAYER.get().model.compact(request, instructions)


class Workers:
    """One worker for each version of the agent, on one journal.

    Attributes:
        journal: It.
        compacted: How often conversations were compacted, and by whom.
    """

    def __init__(self, journal: Journal) -> None:
        """Start them."""
        self.journal = journal
        self.compacted: Counter[str] = Counter()
        self._model = Shared()
        self._versions = agents()
        self._warm = [self.fresh(version) for version in range(len(self._versions))]

    def warm(self, version: int) -> Steps:
        """Return the worker of a version."""
        return self._warm[version]

    def fresh(self, version: int) -> Steps:
        """Return a worker of a version that has read nothing."""
        return Steps(self.journal, self._model, [self._versions[version]], bounds=BOUNDS)


def agents() -> list[Agent]:
    """Return the versions of the agent: other models, instructions and tools."""

    def given(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    @tool(idempotent=True)
    async def look(n: int = 0) -> Any:
        """Look."""
        return given(next(PLAYER.get().results))

    @tool
    async def pay(n: int = 0) -> Any:
        """Pay."""
        return given(next(PLAYER.get().results))

    @tool(idempotent=True, name="gone")
    async def gone_tool() -> str:
        """Be there today."""
        return "there"

    @tool(idempotent=True, name="raise")
    async def raises() -> str:
        """Fail."""
        raise ToolError("no")

    every: list[Tool[..., Any]] = [look, pay, gone_tool, raises]

    def version(
        model: str,
        instructions: str = "Be brief.",
        tools: list[Any] | None = None,
        compaction: Compaction | None = SMALL,
        **more: Any,
    ) -> Agent:
        given = every if tools is None else tools
        return Agent("support", model=model, instructions=instructions, tools=given, compaction=compaction, **more)

    made = [
        version("claude-sonnet-5-5"),
        version("claude-sonnet-5-5", "Be long.", server_tools=[WebSearch(), CodeExecution()]),
        version("claude-sonnet-5-5", tools=[look, pay], compaction=TINY),
        version("claude-opus-5-5", compaction=None),
        version("claude-sonnet-4-6", compaction=TINY),
        version("claude-haiku-4-5", "Be long.", compaction=SMALL),
        version("claude-sonnet-5", tools=[look], compaction=replace(SMALL, model="claude-haiku-4-5")),
        version("claude-opus-9", "Be odd.", compaction=TINY),
    ]
    assert len(made) == AGENTS
    return made


@dataclass
class Player:
    """Plays a plan on one session."""

    workers: Workers
    session: SessionKey
    model: Strict = field(default_factory=Strict)
    results: Iterator[Any] = field(default_factory=lambda: itertools.cycle(RESULTS))
    steps: int = 0
    _urls: set[str] = field(default_factory=set)
    _foreign: bool = False
    _called: bool = False

    async def play(self, plan: list[Turn]) -> int:
        """Play a plan, and two plain events behind it; return the steps done.

        Raises:
            Broken: The session did what it must not.
        """
        PLAYER.set(self)
        for number, turn in enumerate(plan):
            await self._turn(turn, f"e{number}")
        agent = plan[-1].agent if plan else 0
        await self._turn(Turn("are you there?", agent=agent), "last")
        await self._turn(Turn("and now?", agent=agent), "very-last", calm=True)
        made = await self.workers.journal.read(self.session, types=("session.compacted",))
        self.workers.compacted.update(f"{e.body['by']}{'' if e.body['kept_from'] else ' of all'}" for e in made)
        return self.steps

    async def _same(self, worker: Steps) -> None:
        """Look whether a worker that has read all of it at once sends what this one sends."""
        kept = worker._models._transcripts._kept.get(self.session)
        if kept is None:
            return
        entries = await self.workers.journal.read(self.session, types=TYPES)
        cold = Transcript([entry for entry in entries if entry.seq <= kept.upto])
        sent = kept.transcript.request_messages()
        if sent != cold.request_messages():
            raise Broken("a cold worker sends something else")
        short = Transcripts(self.workers.journal, sessions=1, size=10**9, long=0)
        behind = await short.load(self.session, await self.workers.journal.head(self.session))
        warm = await worker._models._transcripts.load(self.session, behind.seq)
        if warm.request_messages() != behind.request_messages() or warm.manifest != behind.manifest:
            raise Broken("a worker that reads no more than it has to sends something else")

    async def _turn(self, turn: Turn, event_id: str, *, calm: bool = False) -> None:
        model = self.model
        model.said.clear()
        model.said.extend(turn.says)
        model.summaries = deque(turn.summaries)
        model.refusals.clear()
        model.withheld = 0
        self._urls |= {url for content in (turn.content, *turn.merged, *turn.steered) for url in _urls(content)}
        self._called = False
        self._foreign |= "another's" in repr(turn.says)
        if turn.gone:
            model.api.memory.gone |= self._urls
        worker = (self.workers.fresh if turn.cold else self.workers.warm)(turn.agent)
        parked = await self._drive(turn, worker, self.session.turn(event_id))
        self._judge(turn, event_id, parked, calm=calm)
        await self._same(worker)
        if parked and turn.redriven:
            model.said.clear()
            await self._drive(turn, worker, self.session.turn(event_id, 1), redriven=True)
            self._judge(turn, event_id, None, calm=False)

    def _judge(self, turn: Turn, event_id: str, parked: str | None, *, calm: bool) -> None:
        model = self.model
        if model.repeated:
            raise Broken(f"{event_id}: refused twice: {model.repeated[-1]}")
        own = {url for content in (turn.content, *turn.merged, *turn.steered) for url in _urls(content)}
        bad = turn.bad or bool(own & model.api.memory.gone)
        ours = [why for why in model.refusals if not self._unknowable(why)]
        if ours and not bad:
            raise Broken(f"{event_id}: refused for what was committed: {ours[0]}")
        if calm and model.refusals:
            raise Broken(f"{event_id}: still refused: {model.refusals[0]}")
        if model.withheld and not bad:
            raise Broken(f"{event_id}: what was refused is still said")
        fatal = any(said.failures.count("unknown") >= 3 for said in turn.says)
        if parked and not bad and not fatal and not self._one_too_many(turn, parked):
            raise Broken(f"{event_id}: a good event was set aside: {parked}")

    def _one_too_many(self, turn: Turn, parked: str) -> bool:
        """Return whether a turn was set aside for images of its own: its event's, or what its tools returned."""
        contents = (turn.content, *turn.merged, *turn.steered)
        images = self._called or any(isinstance(content, list) for content in contents)
        return images and any(reason in parked for reason in TOO_LARGE)

    def _unknowable(self, why: str) -> bool:
        """Return whether nobody could know that this would be refused, without asking."""
        return why.startswith(UNSEEN) or (self._foreign and any(reason in why for reason in FOREIGN))

    async def _drive(self, turn: Turn, worker: Steps, key: TurnKey, *, redriven: bool = False) -> str | None:
        """Run a turn's steps; return why it was set aside, if it was."""
        self.model.forget()
        event = None if redriven else _event(key.event_id, turn.content)
        joined = [] if redriven else _joined(key, "m", turn.merged)
        for step in range(MAX_STEPS):
            compact = "" if turn.compacts and step == 0 else None
            input = ModelInput(event=event if step == 0 else None, joined=joined, n=1, compact=compact)
            try:
                result = await self._ask(worker, key.step(step), input)
            except ApplicationError as error:
                await self._end(worker, key, "turn.failed", "parked", error.message, turn)
                return error.message
            joined = []
            if ends_turn(result.stop):
                return None
            stopped = turn.stops == step
            await self._calls(worker, key, step, result, turn, turn.ran if stopped else None)
            if stopped:
                await self._end(worker, key, "turn.interrupted", "cancelled", "stopped", turn)
                return None
            if step == 0 and result.calls and not redriven:
                joined = _joined(key, "s", turn.steered)
        await self._end(worker, key, "turn.interrupted", "cancelled", "too many steps", turn)
        return None

    async def _ask(self, worker: Steps, key: StepKey, input: ModelInput) -> ModelResult:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            self.steps += 1
            try:
                return await environment(key, attempt).run(worker.call_model, input)
            except asyncio.CancelledError:
                continue  # its worker was stopped: another attempt follows
            except ApplicationError as error:
                if error.non_retryable or attempt == MAX_ATTEMPTS:
                    raise
            except (ValueError, TypeError, KeyError) as error:
                raise Broken(f"{key}: {type(error).__name__}: {error}") from error
        raise AssertionError("unreachable")

    async def _calls(
        self, worker: Steps, key: TurnKey, step: int, result: ModelResult, turn: Turn, ran: int | None
    ) -> None:
        for index, call in enumerate(result.calls):
            if ran is not None and index >= ran:
                return
            self.steps += 1
            self._called = True
            try:
                await environment(key.step(step, index)).run(
                    worker.run_tool, ToolInput(call=call.id, result=call.result, denied="no" if turn.denies else None)
                )
            except ApplicationError:
                pass  # it fails for good: the transcript gives the call an error result

    async def _end(self, worker: Steps, key: TurnKey, type_: str, disposition: str, reason: str, turn: Turn) -> None:
        self.steps += 1
        name = "error" if disposition == "parked" else "reason"
        body: dict[str, Any] = {name: reason, "turn": key.turn, "event": _event(key.event_id, turn.content)}
        end = Decision(type=type_, turn=key.turn, key=f"{key.turn}/end", disposition=disposition, body=body)
        ends = [end]
        if disposition == "parked":
            ends.append(end.model_copy(update={"type": "event.parked", "key": f"{key.turn}/parked"}))
        record = RecordInput(decisions=ends, settle=[key.turn])
        await environment(StepKey.parse(f"{self.session}/~record/{self.steps}")).run(worker.record, record)


def _event(event_id: str, content: Any) -> dict[str, Any]:
    return {"event_id": event_id, "content": content}


def _joined(key: TurnKey, label: str, contents: list[Any]) -> list[dict[str, Any]]:
    return [_event(f"{key.event_id}{label}{n}", content) for n, content in enumerate(contents)]


def _urls(content: Any) -> list[str]:
    blocks = content if isinstance(content, list) else []
    sources = [block.get("source") for block in blocks if isinstance(block, dict)]
    return [source["url"] for source in sources if isinstance(source, dict) and isinstance(source.get("url"), str)]

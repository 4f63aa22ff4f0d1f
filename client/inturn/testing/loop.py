"""One turn of an agent in the test's own process: no server, no journal, no worker.

Invariant: what a test sees is what a worker does: the turn's stop reasons, budget, calls and their results follow the
same rules, and its requests and its `Turn` are the journal's own views of the same entries.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from inturn.agents import Agent
from inturn.errors import InturnError, ModelError
from inturn.events import Content, Event
from inturn.journal.log import codec
from inturn.journal.log import uploads as uploaded
from inturn.journal.views.doubts import doubt
from inturn.journal.views.requests import Form
from inturn.journal.views.transcript import Transcript
from inturn.journal.views.turns import turn_of
from inturn.keys import SessionKey, StepKey
from inturn.models import Model, ModelMessage, ModelRequest, OnDelta, provider_of
from inturn.models.facts import facts
from inturn.models.prices import Prices
from inturn.models.scripted import Entry as ScriptEntry
from inturn.models.scripted import ScriptedModel, ScriptExhausted
from inturn.testing.calls import Body, Call, Shared, settle
from inturn.testing.documents import Documents
from inturn.testing.earlier import Message, earlier_entries
from inturn.testing.previews import output_of, preview
from inturn.testing.spending import Spending
from inturn.testing.uploads import Uploads
from inturn.tools import Tool, arguments_hash, call_async
from inturn.tools.calling import delivery_policy
from inturn.tools.context import EVENT_FIELDS
from inturn.tools.pins import check_pin
from inturn.tools.results import render_result
from inturn.tools.secrets import CallSecrets
from inturn.turns.answers import KeptAnswer, ToolUse, keep, provided
from inturn.turns.budget import UNKNOWN_ATTEMPTS, add, added, counts, exceeded, total
from inturn.turns.compaction import Room
from inturn.turns.doubts import Doubts, Outgrown, of_event, of_more
from inturn.turns.fallbacks import first_answer, refuses
from inturn.turns.references import references
from inturn.turns.room.making_room import RoomMaker
from inturn.turns.room.summaries import Summariser
from inturn.turns.showing import shown
from inturn.turns.stop_reasons import Stop, ends_turn
from inturn.values import Approval, Delta, Entry, StopReason, Turn, Usage

Approve = bool | Callable[[Approval], bool | Awaitable[bool]] | None


async def run(
    agent: Agent,
    content: Content,
    *,
    script: Iterable[ScriptEntry] | None = None,
    approve: Approve = None,
    model: Model | None = None,
    messages: list[Message] | None = None,
    on_delta: Callable[[Delta], None] | None = None,
    uploads: Uploads | None = None,
    documents: dict[str, str] | None = None,
    prices: Prices | None = None,
    **overrides: Any,
) -> Turn:
    """Run one turn of an agent, by a worker's rules: a failed attempt is followed by the next at once.

    Where the model refuses the request (a `ModelError` of kind `own`), what it takes no more of the conversation is
    looked for, left out as `(left out)`, in `messages`, too, and the turn goes on. The small requests of that search
    take lines of the script like any other; where there are none left, the refusal stands. A line that is a function
    of the request, or a `model`, can refuse by what a request holds.

    Args:
        agent: The agent; its tools and its `deliver` really run. Limits bind nothing.
        content: What the user says.
        script: The model's answers in order; without one it answers by rule (see `inturn.models.scripted_answers`).
        approve: The answer to calls that need approval, and to a budget that asks (`on_limit`): yes, no, or by a
            function of the `Approval`.
        model: Another model to ask, instead of a script.
        messages: An earlier conversation; it is brought into the form that the API takes, and the turn's messages are
            appended to it. Of a turn that fails only what an answer has taken up stays.
        on_delta: Called with what the model says as it says it: what `Session.stream` would yield between entries.
        uploads: What the content and the tools' results may refer to.
        documents: What the agent remembers, by the documents' names; each is at version 1, and what the agent writes is
            put there.
        prices: What models cost; the known prices by default. A script costs what the agent's model would.
        **overrides: Fields of the `ToolContext` that the tools get (`tenant`, `resources`, ...). Shared state is in
            memory and ends with the turn, unless another context's is given: `shared=ctx.shared`.

    Raises:
        InturnError: A call needs approval and there is no `approve`, the script is exhausted, or `deliver` failed.
        ModelError: The model gave no answer.
        Misconfigured: There is a budget in money, and nobody knows what the model costs.
    """
    spending, asked = Spending(agent, model, prices), model or ScriptedModel(script)
    told, known = on_delta if agent.stream != "never" else None, [] if messages is None else messages
    turn = _TestTurn(agent, asked, approve, known, told, uploads, documents, spending, overrides)
    return await turn.run(content)


class _TestTurn:
    def __init__(
        self,
        agent: Agent,
        model: Model,
        approve: Approve,
        messages: list[Message],
        told: Callable[[Delta], None] | None,
        uploads: Uploads | None,
        documents: dict[str, str] | None,
        spending: Spending,
        overrides: Mapping[str, Any],
    ) -> None:
        self._spending = spending
        self._agent = agent
        self._model = model
        self._approve = approve
        self._messages = messages
        self._told = told
        self._attempts = 0
        self._overrides = dict(overrides)
        self._shared = Shared(memory=uploads.memory) if uploads else Shared()
        self._entries: list[Entry] = []
        self._transcript = Transcript(earlier_entries(messages))
        self._used = Usage()
        self._output: Any = None
        self._beside = Usage()  # what the step's compactions used
        self._session = SessionKey(overrides.get("tenant", "test"), overrides.get("session_id", "session"))
        self._documents = Documents(self._shared.memory, self._session.tenant, documents)

    async def run(self, content: Content) -> Turn:
        given = self._overrides.pop("event", None) or Event(content=content)
        carried: dict[str, Any] = {name: getattr(given, name) for name in EVENT_FIELDS} | {"content": content}
        self._event = Event(event_id=given.event_id or "event", **carried)
        self._agent = self._agent.named(given.model)
        self._key = self._session.turn(str(self._event.event_id))
        await self._documents.show(self._agent)
        self._append("user.message", await self._settled(carried))
        try:
            while not ends_turn(stop := await self._step()):
                pass
        except Exception:
            self._append("turn.failed", {})
            raise
        turn = self._ended(stop)
        await self._deliver(turn, self._key.step("deliver"))
        return turn

    async def _step(self) -> Stop:
        """Ask the model once, and settle the calls of its answer."""
        step, spending = self._key.step(self._used.steps), self._spending
        maker, self._beside = self._room_maker(step), Usage()
        spent = exceeded(self._agent.budget, self._used, raised=spending.raised)
        if not spent:
            await maker.make_room(self._transcript, step.turn.event_id, first=step.step == "0", asked=False)
        if spent or not maker.request(self._transcript).max_tokens:
            self._used = added(self._used, counts(self._beside))
            if not await self._may_use_more(step):
                return "budget_reached"
            spending.raised += 1
            return await self._step()
        message = await self._first_answer(maker, step)
        said = self._transcript
        self._used = add(self._used, total((message.usage, self._beside)))
        declared = [tool["name"] for tool in self._agent.manifest()["tools"]]
        kept = keep(message.content, message.stop_reason, step=step, taken=said.call_ids, declared=declared)
        room, calls = maker.results(message, said.size, len(kept.calls))
        kept.run_at_most(calls)
        kept.bound(pauses=said.pauses(step.turn.event_id), nudged=said.nudged, after_tools=said.owes_results)
        self._output = output_of(kept, self._agent.output, said, self._event.event_id)
        self._append("agent.message", self._answer(message, kept))
        if kept.stop == "tool_use":
            await self._settle(step, kept.calls, room)
        return kept.stop

    @property
    def _form(self) -> Form:
        return self._form_of(self._agent.model)

    def _form_of(self, model: str) -> Form:
        return Form.of(model, facts(model), provider_of(self._model))

    async def _first_answer(self, maker: RoomMaker, step: StepKey) -> ModelMessage:
        """Ask the model, or those that stand in for it: where it is away, a test's minute has passed at once."""
        agent = self._agent

        async def ask(by: Agent) -> ModelMessage:
            if by is agent:
                return await self._respond(maker)
            return await self._ask_model(self._request(by, step), self._preview())

        try:
            first = await first_answer(agent, ask, refuses, away=False)
        except ModelError as error:
            if error.kind != "outage" or not agent.fallback:
                raise
            first = await first_answer(agent, ask, refuses, away=True)
        self._agent = first.by
        return first.answer

    def _request(self, agent: Agent, step: StepKey) -> ModelRequest:
        form, manifest = self._form_of(agent.model), agent.manifest()
        room = Room.of(facts(agent.model), agent.max_tokens, agent.compaction)
        messages = self._transcript.request_messages(form)
        made = ModelRequest(
            model=agent.model,
            system=self._documents.system,
            messages=messages,
            tools=manifest["tools"],
            max_tokens=room.answer_to(self._transcript.size),
            user_id=str(self._session),
            settings=agent.settings_at(step.step),
            container=self._transcript.committed.container_at(time.time(), form),
            native=self._transcript.natives(messages, form),
            load=self._load,
        )
        return self._spending.bounded(made, self._used, self._beside)

    async def _respond(self, maker: RoomMaker, attempts: int = UNKNOWN_ATTEMPTS) -> ModelMessage:
        """Ask the model; where it refuses what is committed, once more without the blocks that are to blame."""
        request = maker.request(self._transcript)
        try:
            return await self._ask_model(request, self._preview())
        except ModelError as error:
            if error.kind != "own":
                raise
            refusal = error
        try:
            finding = await Doubts(self._ask_model, request, self._transcript, self._form).find(refusal)
        except ScriptExhausted:
            raise refusal from None
        except Outgrown:
            if await maker.compact(self._transcript) is None:
                raise
            return await self._respond(maker, attempts)
        self._append("transcript.doubted", doubt(finding.places, finding.why))
        if not finding.all:
            if attempts == 1:
                raise of_more(refusal)
            return await self._respond(maker, attempts - 1)
        try:
            return await self._ask_model(maker.request(self._transcript), self._preview())
        except ModelError as error:
            raise of_event(error) from None

    async def _ask_model(self, request: ModelRequest, on_delta: OnDelta = lambda *piece: None) -> ModelMessage:
        paid = await shown(self._paid(request))
        return self._spending.priced(await self._model.respond(paid, on_delta))

    def _paid(self, request: ModelRequest) -> ModelRequest:
        bounded = self._spending.bounded(request, self._used, self._beside)
        if not bounded.max_tokens:
            raise ModelError("no money is left in the budget to ask the model for this")
        return bounded

    def _preview(self) -> OnDelta:
        """Return what tells of an attempt's words, from its start on."""
        self._attempts += 1
        return preview(self._told, str(self._event.event_id), str(self._used.steps), self._attempts)

    def _room_maker(self, step: StepKey) -> RoomMaker:
        agent, known = self._agent, facts(self._agent.model)
        room = Room.of(known, agent.max_tokens, agent.compaction)

        async def write(body: dict[str, Any], number: int, used: Usage) -> Transcript:
            self._beside = add(self._beside, used)
            self._append("session.compacted", body | {"usage": counts(used)})
            return self._transcript

        async def leave_out(body: dict[str, Any]) -> Transcript:
            self._append("transcript.doubted", body)
            return self._transcript

        def request(transcript: Transcript) -> ModelRequest:
            return self._request(agent, step)

        by = Summariser.of(agent, ask=self._ask_model, compact=self._compact, facts=facts, form=self._form_of)
        return RoomMaker(room, agent.compaction, by, step.within_session, request, write, leave_out)

    async def _compact(self, request: ModelRequest, instructions: str | None) -> ModelMessage | None:
        compact: Callable[..., Awaitable[ModelMessage | None]] | None = getattr(self._model, "compact", None)
        made = None if compact is None else await compact(await shown(self._paid(request)), instructions)
        return None if made is None else self._spending.priced(made)

    async def _may_use_more(self, step: StepKey) -> bool:
        if self._agent.budget.on_limit == "end":
            return False
        asked = self._spending.question(step, datetime.now(UTC))
        return await self._answered(asked, step.turn.step(f"ask-{step.step}"))

    async def _settle(self, step: StepKey, uses: Sequence[ToolUse], room: int | None) -> None:
        keys = [step.turn.step(step.step, index) for index in range(len(uses))]
        for index, use in enumerate(uses):
            self._append("agent.tool_use", use.body(index), step=keys[index])
        calls = [self._call(key, use) for key, use in zip(keys, uses, strict=True)]
        results = await settle(calls, self._agent.budget.failures)
        for key, use, result in zip(keys, uses, results, strict=True):
            rendered = await render_result(result.value, self._put_blob, room, put_upload=self._put_upload)
            body = {"call_id": use.id, "tool": use.tool, "status": result.status, **rendered}
            self._append("agent.tool_result", await self._settled(body), step=key)

    def _call(self, step: StepKey, use: ToolUse) -> Call:
        ask = partial(self._ask, step, use)
        return Call(self._agent.tool(use.tool), use, self._fields(step, use.id), self._shared, ask)

    def _fields(self, step: StepKey, call_id: str) -> dict[str, Any]:
        key: dict[str, Any] = {"key": str(step), "turn": step.turn.turn, "call_id": call_id, "event": self._event}
        key |= {"_pin": self._pin, "_result": self._result, "_remember": self._documents.remember}
        return key | self._overrides

    async def _ask(self, step: StepKey, use: ToolUse) -> bool:
        now = time.time()
        asked = Approval(
            approval_id=f"{use.id}:{arguments_hash(use.input)}",
            call_id=use.id,
            tool=use.tool,
            args=codec.copied(use.input),
            asked_at=datetime.fromtimestamp(now, UTC),
            expires_at=datetime.fromtimestamp(now + self._agent.budget.approval_timeout, UTC),
        )
        return await self._answered(asked, step.turn.step(f"ask-{step.step}-{step.index}"))

    async def _answered(self, asked: Approval, delivery: StepKey) -> bool:
        if self._approve is None:
            raise InturnError(f"{asked.tool} asks for approval: pass approve=True, False or a function to run()")
        await self._deliver(asked, delivery)
        if isinstance(self._approve, bool):
            return self._approve
        return bool(await call_async(self._approve, asked))

    async def _deliver(self, out: Turn | Approval, step: StepKey) -> None:
        deliver = self._agent.deliver
        if deliver is None:
            return
        fn = deliver.fn if isinstance(deliver, Tool) else deliver
        body = Body(self._fields(step, step.within_session), self._shared, delivery_policy(deliver))
        result = await body.run(lambda context: fn(out, context))
        if result.status != "ok":
            raise InturnError(f"delivery failed: {result.value}") from body.error

    def _answer(self, message: ModelMessage, kept: KeptAnswer) -> dict[str, Any]:
        usage = message.usage.model_copy(update={"steps": 1}).model_dump(mode="json", exclude_defaults=True)
        said = {**kept.body(), "stop": message.stop_reason, "usage": usage, "asked": self._agent.model}
        return said | provided(kept, provider_of(self._model), container=message.container, native=message.native)

    def _ended(self, stop: StopReason) -> Turn:
        self._append("turn.completed", {"stop": stop} | ({} if self._output is None else {"output": self._output}))
        turn = turn_of(self._entries)
        assert turn is not None  # it has just been completed
        return turn.model_copy(update={"seqs": None})  # no journal has it

    def _append(self, type_: str, body: dict[str, Any], *, step: StepKey | None = None) -> None:
        entry = Entry(
            seq=self._transcript.seq + 1,
            type=type_,
            event_id=self._event.event_id,
            step=step and step.within_turn,
            at=datetime.now(UTC),
            body=codec.copied(body),
            hash="",
            prev="",
        )
        self._entries.append(entry)
        self._transcript.apply(entry)
        self._messages[:] = self._transcript.request_messages()

    async def _pin(self, text: str) -> None:
        pinned = [entry.text or "" for entry in self._entries if entry.type == "session.pinned"]
        if check_pin(text, pinned, CallSecrets()):
            self._append("session.pinned", {"text": text})

    async def _settled(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return an entry's body with its references settled."""
        if not any(references(body.get("content"))):
            return body
        return await (await self._shared.memory()).look_within(lambda tx: uploaded.settled(tx, self._session, body))

    async def _load(self, ref: str) -> bytes | None:
        return await (await self._shared.memory()).blob(self._session, ref)

    async def _result(self, ref: str) -> bytes | None:
        return await (await self._shared.memory()).result(self._session, ref)

    async def _put_upload(self, data: bytes, media_type: str) -> str:
        return await (await self._shared.memory()).put_upload(self._session.tenant, data, media_type)

    async def _put_blob(self, data: bytes) -> str:
        return await (await self._shared.memory()).put_blob(self._session, data)

"""Making room in a conversation: who summarises what, and what follows where that fails.

    the API's own summary ──► a request of ours for one ──► one of words alone ──► the oldest half is left out

Invariant: there is always a next one, and the last asks nobody: whatever a model makes of a summary, the session goes
on. What is written down is all that any worker needs to send the same; who summarises is paid once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self, cast

from inturn.agents import Agent
from inturn.errors import ModelError
from inturn.journal.views.compactions import By, Cut
from inturn.journal.views.requests import NO_ANSWER, Form, Message, with_application
from inturn.journal.views.transcript import Transcript
from inturn.models import ModelMessage, ModelRequest
from inturn.turns import tokens
from inturn.turns.answers import THINKING
from inturn.turns.blocks import Block, text
from inturn.turns.budget import add
from inturn.turns.compaction import Compaction, Room
from inturn.values import Usage

WORTH: Final = 10
"""A summary takes up this part of the window at least, where there is no need for one yet."""
MAX_WHY: Final = 200
_ENOUGH: Final = frozenset({"end_turn", "stop_sequence", "tool_use", None})
_ASKED: Final = """\
Summarise this conversation so that it can go on from your summary alone: what was asked and why, what was decided, \
found and done, names, numbers and ids to the letter, what is open, and what comes next. \
Answer with the summary and nothing else. Call no tool."""

Ask = Callable[[ModelRequest], Awaitable[ModelMessage]]
Compact = Callable[[ModelRequest, str | None], Awaitable[ModelMessage | None]]


@dataclass(frozen=True, slots=True)
class Summariser:
    """Who summarises, and how.

    Attributes:
        ask: Asks the model.
        compact: Asks the model for a summary of its own.
        form: What the agent's model takes.
        other: What the model takes that the agent names for its summaries, where that is another one.
        settings: The agent's.
        instructions: What is asked for.
        agent: What the agent is today: where the beginning is written anew, this takes full effect.
    """

    ask: Ask
    compact: Compact
    form: Form
    other: Form | None
    settings: Compaction
    instructions: str | None
    agent: dict[str, Any]
    agent_hash: str

    @classmethod
    def of(
        cls, agent: Agent, *, ask: Ask, compact: Compact, form: Callable[[str], Form], instructions: str | None
    ) -> Self:
        """Return who summarises the sessions of an agent; `form`: what a model takes."""
        settings = agent.compaction or Compaction()
        other = settings.model if settings.model not in (None, agent.model) else None
        return cls(
            ask=ask,
            compact=compact,
            form=form(agent.model),
            other=None if other is None else form(other),
            settings=settings,
            instructions=instructions or settings.instructions,
            agent=agent.manifest(),
            agent_hash=agent.manifest_hash,
        )


class Compacting:
    """Makes room in one conversation, once.

    Attributes:
        used: What the answers used that came.
        failures: Why those before the last rung gave nothing.
    """

    def __init__(
        self, by: Summariser, request: ModelRequest, transcript: Transcript, room: Room, *, tight: bool = False
    ) -> None:
        """Compact the conversation that a request is to be made of; `tight`: keep as little as can be."""
        self._by = by
        self._request = request
        self._transcript = transcript
        self._said = transcript.committed
        self._room = room
        self._tight = tight
        self._fixed = tokens.of_value(request.system) + tokens.of_value(request.tools) + transcript.pending_size()
        self.used = Usage()
        self.failures: list[str] = []

    async def body(self, *, needed: bool = True, asks: bool = True) -> dict[str, Any] | None:
        """Return the body of the entry; `None`: there is nothing to leave out.

        Args:
            needed: There is no room without it; else nothing is left out that nobody summarised.
            asks: The model is asked for a summary.

        Raises:
            ModelError: The model is away, or its account is in trouble: that passes.
        """
        cut = self._cut()
        if cut is None and not self._said.length:
            return None
        if asks:
            made = await self._by_the_api(cut) if cut is not None else None
            made = made or await self._by_ourselves(cut)
            if made is not None:
                return made
        return self._left_out() if needed else None

    def worth_it(self) -> bool:
        """Return whether what would be left out is enough to be paid for, while there is room yet."""
        cut = self._cut()
        return cut is not None and (self._said.size - self._said.size_from(cut.at)) * WORTH >= self._room.window

    def _cut(self) -> Cut | None:
        """Return where to cut: before the last turns, as many as are to stay and fit; `None`: all of it goes."""
        fitting = [cut for cut in self._said.cuts if self._keeps(cut, self._room.summary)]
        few = [cut for cut in fitting if self._said.size_from(cut.at) <= self._room.kept]
        if self._tight or not few:
            return fitting[-1] if fitting else None
        turns = list(dict.fromkeys(cut.event_id for cut in reversed(few)))[: max(1, self._by.settings.keep_turns)]
        return next(cut for cut in few if cut.event_id in turns)

    def _keeps(self, cut: Cut, head: int) -> bool:
        """Return whether what is behind a cut fits, with so much before it."""
        return self._room.fits(self._fixed + head + self._said.size_from(cut.at))

    async def _by_the_api(self, cut: Cut) -> dict[str, Any] | None:
        by = self._by
        if not by.form.compacted or by.other is not None:
            return None
        messages = self._said.before(cut, by.form)
        settings = self._request.settings.free()
        request = replace(self._request, messages=messages, native=(), settings=settings)
        answer = await self._asked(by.compact(request, by.instructions))
        if answer is None:
            return None
        blocks = [block for block in answer.content if block["type"] == "compaction"]
        if len(blocks) != 1 or not _says(blocks[0].get("content")):
            self.failures.append(f"no summary: it ended with {answer.stop_reason}")
            return None
        block = {name: value for name, value in blocks[0].items() if value is not None}
        return self._body("claude", cut, block, model=self._request.model)

    async def _by_ourselves(self, cut: Cut | None) -> dict[str, Any] | None:
        by, consumed = self._by, list[str]()
        form = by.other or by.form
        if self._transcript.owes_results:
            # What the open answer thought would be cut from its calls: they go along, and their results with them.
            cut, consumed = None, self._transcript.consumed()
        messages = self._said.before(cut, form) if cut is not None else self._transcript.said_so_far(form)
        model, most = by.settings.model or self._request.model, min(self._request.max_tokens, self._room.summary)
        request = replace(self._request, model=model, max_tokens=most, settings=self._request.settings.in_words())
        for said in (messages, in_plain_words(messages)):
            asked = with_instructions(said, by.instructions or _ASKED)
            answer = await self._asked(by.ask(replace(request, messages=asked, native=())))
            if answer is None:
                continue
            if answer.stop_reason in _ENOUGH and (summary := _text(answer.content)):
                return self._body("summary", cut, text(summary), model=answer.model, consumed=consumed)
            self.failures.append(f"no summary: it ended with {answer.stop_reason}")
        return None

    def _left_out(self) -> dict[str, Any] | None:
        """Leave the oldest half out, and more where that is not enough."""
        cuts, half = self._said.cuts, self._said.size // 2
        fitting = [cut for cut in cuts if self._keeps(cut, 0)]
        smaller = [cut for cut in fitting if self._said.size_from(cut.at) <= half]
        cut = None if self._tight else next(iter([*smaller, *fitting[-1:]]), None)
        if cut is None and self._transcript.owes_results:  # the calls stay beside their results
            if not cuts:
                return None
            cut = cuts[-1]
        return self._body("cut", cut, {}, left_out=self._said.left_out(cut))

    async def _asked(self, answer: Awaitable[ModelMessage | None]) -> ModelMessage | None:
        try:
            message = await answer
        except ModelError as error:
            if error.kind in ("outage", "account"):
                raise
            self.failures.append(str(error))
            return None
        except Exception as error:  # whatever a model's author got wrong
            self.failures.append(f"{type(error).__name__}: {error}")
            return None
        if message is not None:
            self.used = add(self.used, message.usage)
        return message

    def _body(self, by: By, cut: Cut | None, block: Block, **more: Any) -> dict[str, Any]:
        seqs, again = self._transcript.restated(cut, change=by == "claude")
        kept = self._fixed + (0 if cut is None else self._said.size_from(cut.at))
        body: dict[str, Any] = {
            "by": by,
            "seen": self._transcript.seq if cut is None else cut.seen,
            "kept_from": None if cut is None else cut.seq,
            "block": block,
            "tokens": [self._transcript.size, kept + tokens.of_value(block) + tokens.of_value(again)],
            "manifest": self._transcript.manifest_hash if by == "claude" else self._by.agent_hash,
            **{name: value for name, value in more.items() if value},
        }
        if again:
            body |= {"restated": seqs, "text": again}
        if self.failures:
            body["failures"] = [why[:MAX_WHY] for why in self.failures]
        before = {name: (self._transcript.manifest or {}).get(name) for name in ("system", "tools")}
        frozen = before if by == "claude" else self._frozen(cut, before["tools"] or [])
        if frozen != before or self._transcript.refrozen:  # whoever begins here has not read what was frozen before
            body["frozen"] = frozen
        return body

    def _frozen(self, cut: Cut | None, before: Sequence[Any]) -> dict[str, Any]:
        """Return what the agent is today, with the tools besides that are called in what is kept."""
        agent, used = self._by.agent, self._said.tools_used(cut)
        offered = {tool["name"] for tool in agent["tools"]}
        kept = [tool for tool in before if tool["name"] in used and tool["name"] not in offered]
        return {"system": agent["system"], "tools": [*agent["tools"], *kept]}


def in_plain_words(messages: list[Message]) -> list[Message]:
    """Return messages without what a model may refuse: what it thought, what it is shown, and summaries it signed."""
    return [{**message, "content": _plain(message["content"])} for message in messages]


def _plain(content: list[Block]) -> list[Block]:
    said = [_named(block) for block in content if block["type"] not in THINKING]
    return said or [text(NO_ANSWER)]


def _named(block: Block) -> Block:
    """Return a block, or one that names it: a result's are within it."""
    if block["type"] in ("image", "document"):
        return text(f"[{block['type']}]")
    inside = block.get("content")
    if block["type"] == "tool_result" and isinstance(inside, list):
        return {**block, "content": [_named(item) for item in cast("list[Block]", inside)]}
    return block


def with_instructions(messages: list[Message], instructions: str) -> list[Message]:
    """Return messages that end with the application asking for something."""
    asked = text(instructions)
    last = messages[-1]
    if last["role"] == "assistant":
        return [*messages, {"role": "user", "content": [asked]}]
    if last["role"] == "system":  # nothing may stand behind it but an answer
        return with_instructions([*messages[:-2], with_application(messages[-2], last["content"])], instructions)
    return [*messages[:-1], {**last, "content": [*last["content"], asked]}]


def _text(content: list[Block]) -> str:
    said = [str(block.get("text") or "") for block in content if block["type"] not in THINKING]
    return "\n".join(part for part in said if part.strip()).strip()


def _says(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())

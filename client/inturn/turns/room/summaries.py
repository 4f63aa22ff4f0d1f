"""One summary of a conversation: who is asked for it, in which words, and whether what came is one.

Invariant: what a model, its account, or the way to it makes of a request for a summary is a summary, or a reason why
there is none. What passes by waiting is waited for, but only so often, and only where nothing goes on without it: that
the model is away must cost a session nothing, and that it never summarises must not stop one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self, cast

from inturn.agents import Agent
from inturn.errors import ModelError
from inturn.journal.views.compactions import By, Cut
from inturn.journal.views.requests import NO_ANSWER, Form, Message, summary_in_words, with_application
from inturn.models import ModelMessage, ModelRequest
from inturn.models.facts import ModelFacts
from inturn.turns import tokens
from inturn.turns.answers import THINKING
from inturn.turns.blocks import Block, text
from inturn.turns.compaction import Compaction, Room

TRIES: Final = 3
"""Attempts of a step that end because the model is away while it summarises: then it is summarised in another way."""
ASKED: Final = """\
Summarise this conversation so that it can go on from your summary alone: what was asked and why, what was decided, \
found and done, names, numbers and ids to the letter, what is open, and what comes next. Be brief: {words:,} words at \
most. Answer with the summary and nothing else. Call no tool."""
_WHOLE: Final = frozenset({"end_turn", "stop_sequence", "tool_use", "compaction", None})
_CUT_SHORT: Final = frozenset({"max_tokens", "model_context_window_exceeded"})

Ask = Callable[[ModelRequest], Awaitable[ModelMessage]]
Compact = Callable[[ModelRequest, str | None], Awaitable[ModelMessage | None]]


class NoSummary(ModelError):
    """The model is away while a summary is asked of it, and nothing goes on without one: it passes by itself."""

    def __init__(self, error: ModelError) -> None:
        """Make the error of what the model raised."""
        super().__init__(f"no summary: {error}", kind="outage", retry_after=error.retry_after)


@dataclass(frozen=True, slots=True)
class Summariser:
    """Who summarises, and how.

    Attributes:
        ask: Asks a model, for a bounded time.
        compact: Asks a model for a summary of its own, likewise.
        facts: What holds for a model.
        form: What a model takes.
        model: The agent's.
        settings: The agent's.
        instructions: What is asked for.
        agent: What the agent is today: where the beginning is written anew, this takes full effect.
        failed: Attempts of this step that ended with `NoSummary`.
    """

    ask: Ask
    compact: Compact
    facts: Callable[[str], ModelFacts]
    form: Callable[[str], Form]
    model: str
    settings: Compaction
    instructions: str | None
    agent: dict[str, Any]
    agent_hash: str
    failed: int = 0

    @classmethod
    def of(
        cls,
        agent: Agent,
        *,
        ask: Ask,
        compact: Compact,
        facts: Callable[[str], ModelFacts],
        form: Callable[[str], Form],
        instructions: str | None = None,
        failed: int = 0,
    ) -> Self:
        """Return who summarises the sessions of an agent."""
        settings = agent.compaction or Compaction()
        return cls(
            ask=ask,
            compact=compact,
            facts=facts,
            form=form,
            model=agent.model,
            settings=settings,
            instructions=(instructions or "").strip() or settings.instructions,
            agent=agent.manifest(),
            agent_hash=agent.manifest_hash,
            failed=failed,
        )

    @property
    def other(self) -> str | None:
        """The model that the agent names for its summaries, where that is not its own."""
        return self.settings.model if self.settings.model != self.model else None

    def window(self, room: Room) -> int:
        """Return the tokens of the largest conversation that is summarised as the agent wants it."""
        return room.window if self.other is None else min(room.window, self.room(self.other, room).window)

    def room(self, model: str, room: Room) -> Room:
        """Return the room of a model's summaries, by that of the agent's requests."""
        return room if model == self.model else Room.of(self.facts(model), room.longest_summary, Compaction())

    def asked(self, room: Room) -> str:
        """Return what is asked for."""
        return self.instructions or ASKED.format(words=room.summary // 2)


@dataclass(frozen=True, slots=True)
class Means:
    """A means to a summary.

    Attributes:
        by: Who makes it.
        model: Who is asked.
        cut: Where what is summarised ends; `None`: all of it.
        messages: What is summarised, as the model takes it.
        tokens: How many these are at most.
        consumed: The events of whose calls it takes results.
    """

    by: By
    model: str
    cut: Cut | None
    messages: Callable[[], list[Message]]
    tokens: int
    consumed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """A summary."""

    means: Means
    block: Block
    model: str


class Ladder:
    """Asks for one summary, by one means after the other.

    Attributes:
        answers: All that came.
        failures: Why the others gave nothing.
    """

    def __init__(self, by: Summariser, request: ModelRequest, room: Room, *, needed: bool) -> None:
        """Ask in the way of a request; `needed`: nothing goes on without one."""
        self._by = by
        self._request = request
        self._room = room
        self._needed = needed
        self._part: Made | None = None
        self._passes: ModelError | None = None
        self.answers: list[ModelMessage] = []
        self.failures: list[str] = []

    async def summary(self, ways: Sequence[Means]) -> Made | None:
        """Return the first summary that one of the means gives; `None`: none does, whoever waits.

        Raises:
            ModelError: It is needed, and the model is away, or its account is in trouble: that passes.
        """
        try:
            return await self._first(ways)
        except NoSummary as away:
            if self._needed:
                raise
            self.failures.append(str(away))
            return None  # as long as there is room, later is early enough

    async def _first(self, ways: Sequence[Means]) -> Made | None:
        for number, means in enumerate(ways, 1):
            if self._by.failed >= number * TRIES:
                self.failures.append(f"no summary by {means.model} within {TRIES} attempts")
            elif (made := await self._made(means, waits=self._by.failed + 1 < number * TRIES)) is not None:
                return made
        if not self._needed:
            return None
        if self._passes is not None or self._by.failed:
            await self._look()
        return self._part

    async def _made(self, means: Means, *, waits: bool) -> Made | None:
        answer = await self._answer(means, waits=waits)
        if answer is None:
            return None
        self.answers.append(answer)
        block, stop = _block(means, answer.content), answer.stop_reason
        size = tokens.of_value(block)
        if block is not None and size > self._room.longest_summary:
            self.failures.append(f"no summary: {size:,} tokens are one of nothing")
        elif block is not None and stop in _WHOLE:
            return Made(means, block, answer.model)
        else:
            self.failures.append(f"no summary: it ended with {stop}")
            if block is not None and stop in _CUT_SHORT and means.by == "summary" and self._part is None:
                self._part = Made(means, block, answer.model)
        return None

    async def _answer(self, means: Means, *, waits: bool) -> ModelMessage | None:
        room, own = self._by.room(means.model, self._room), means.model == self._by.model
        most = room.summary_of(means.tokens)
        if not own and means.tokens + most + room.margin > room.window:
            self.failures.append(f"no summary: about {means.tokens:,} tokens are too many for {means.model}")
            return None
        try:
            return await self._asked(means, most)
        except ModelError as error:
            passes = error.kind == "outage" or (own and error.kind == "account")
            if passes and (not self._needed or (waits and error.kind == "outage")):
                raise NoSummary(error) from error
            if own:
                self._passes = error if passes else None
            self.failures.append(str(error))
        except Exception as error:  # whatever a model's author got wrong, or it took too long
            self.failures.append(f"{type(error).__name__}: {error}")
        return None

    async def _asked(self, means: Means, most: int) -> ModelMessage | None:
        settings, messages = self._request.settings, means.messages()
        request = replace(self._request, model=means.model, max_tokens=most, messages=messages, native=())
        if means.by == "claude":
            return await self._by.compact(replace(request, settings=settings.free()), self._by.instructions)
        asked = with_instructions(messages, self._by.asked(self._room))
        return await self._by.ask(replace(request, settings=settings.in_words(), messages=asked))

    async def _look(self) -> None:
        """Look whether the model answers at all: while it does not, nothing is left out.

        Raises:
            ModelError: It does not.
        """
        said = [{"role": "user", "content": [text("hi")]}]
        settings = self._request.settings.in_words()
        try:
            await self._by.ask(replace(self._request, messages=said, max_tokens=1, native=(), settings=settings))
        except TimeoutError as error:
            raise NoSummary(ModelError("the model does not answer", kind="outage")) from error
        except ModelError as error:
            if error.kind == "outage":
                raise NoSummary(error) from error
            if error.kind == "account":
                raise


def _block(means: Means, content: list[Block]) -> Block | None:
    """Return the summary that an answer holds, whole or in part."""
    if means.by != "claude":
        said = [str(block.get("text") or "") for block in content if block["type"] not in THINKING]
        whole = "\n".join(part for part in said if part.strip()).strip()
        return text(whole) if whole else None
    blocks = [block for block in content if block["type"] == "compaction"]
    said_so = blocks[0].get("content") if len(blocks) == 1 else None
    if not isinstance(said_so, str) or not said_so.strip():
        return None
    return {name: value for name, value in blocks[0].items() if value is not None}


def in_plain_words(messages: list[Message]) -> list[Message]:
    """Return messages without what a model may refuse: what it thought, what it is shown, and summaries it signed."""
    return [summary_in_words({**message, "content": _plain(message["content"])}) for message in messages]


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

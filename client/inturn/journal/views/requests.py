"""A session's messages as one model takes them.

Invariant: what a model was sent stays as it was sent for as long as that model is asked; another model gets the same
conversation in the form that it takes: without thinking that was signed for others, and with the application's words as
text where it takes no system messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self, cast

from inturn.journal.views.doubts import Place
from inturn.models.encoding import Committed
from inturn.models.facts import ModelFacts
from inturn.turns.answers import THINKING
from inturn.turns.blocks import Block, text
from inturn.turns.server_blocks import in_words, is_made

Message = dict[str, Any]
Said = tuple[Block, Place | None]
"""A block, and where the journal has what it says."""

NO_ANSWER: Final = "(no answer)"
"""Ends an answer without text: the API refuses assistant messages that are empty or end in thinking."""
NO_IMAGE: Final = "[image: more than this model takes in one conversation]"
APPLICATION: Final = "[From the application, not from the user]"
SUMMARISED: Final = f"{APPLICATION}\nTo make room, what was said before this was summarised:\n\n"


@dataclass(frozen=True, slots=True)
class Form:
    """What a model takes.

    Attributes:
        model: Its name; `None`: no matter whose thinking it is.
        system: It takes messages of role `system`.
        images: How many it takes in one request; `None`: no matter.
        provider: Whose model it is; `None`: no matter.
        compacted: It takes summaries of the API's own.
    """

    model: str | None = None
    system: bool = True
    images: int | None = None
    provider: str | None = None
    compacted: bool = True

    @classmethod
    def of(cls, model: str, known: ModelFacts, provider: str | None = None) -> Self:
        """Return what a model of a provider takes, by its facts."""
        return cls(
            model,
            system=not known.says_system_as_text,
            images=known.max_images,
            provider=provider,
            compacted=known.compaction,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A message of the conversation.

    Attributes:
        places: Of each of its blocks: where the journal has what it says.
        owner: The model that made it, where one did.
        provider: Whose model that was, where only that takes it as it is.
        native: What it gave to get back with it.
    """

    message: Message
    places: Sequence[Place | None]
    owner: str | None = None
    provider: str | None = None
    native: Any = None

    @classmethod
    def answer(cls, said: Sequence[Said], body: Mapping[str, Any]) -> Self:
        """Make the one of an answer's entry."""
        made = cls.of("assistant", said, body.get("asked", body.get("model")))
        return replace(made, provider=body.get("provider"), native=body.get("native"))

    @classmethod
    def of(cls, role: str, said: Sequence[Said], owner: str | None = None) -> Self:
        """Make one of blocks with their places."""
        return cls({"role": role, "content": [block for block, _ in said]}, [place for _, place in said], owner)

    @property
    def said(self) -> list[Said]:
        """Its blocks with their places."""
        return list(zip(self.message["content"], self.places, strict=True))

    def committed(self) -> Self:
        """Return it as one that nothing changes any more."""
        return replace(self, message=Committed(self.message))


@dataclass(slots=True)
class View:
    """The messages of a conversation in one form, grown with it."""

    form: Form = field(default_factory=Form)
    messages: list[Message] = field(default_factory=list[Message])
    positions: list[int] = field(default_factory=list[int])
    """Of each message: which one of the conversation it is."""
    _upto: int = 0
    _images: int = 0

    def extend(self, said: Sequence[Part]) -> None:
        """Take what is new of the conversation."""
        for at in range(self._upto, len(said)):
            self._add(self._provided(said[at]), said[at].owner)
            self.positions += [at] * (len(self.messages) - len(self.positions))
        self._upto = len(said)

    def _provided(self, part: Part) -> Message:
        """Return a message in words where it is of another provider's own making."""
        made, ours = part.provider, self.form.provider
        if None in (made, ours) or made == ours:
            return part.message
        content: list[Block] = part.message["content"]
        said = [in_words(block) if is_made(block) else block for block in content]
        return Committed({**part.message, "content": said})

    def _add(self, message: Message, owner: str | None) -> None:
        if message["role"] == "system" and not self.form.system:
            self.messages[-1] = Committed(with_application(self.messages[-1], message["content"]))
        elif not self.form.compacted and is_block(message):
            self.messages.append(Committed(summary_in_words(message)))
        elif message["role"] == "assistant" and self.form.model and owner and owner != self.form.model:
            self.messages.append(without_thinking(message))
        else:
            self.messages.append(self._fitting(message))

    def _fitting(self, message: Message) -> Message:
        """Return what was said to another model without the images that are more than this one takes."""
        shown = sum(map(_images, message["content"])) if self.form.images is not None else 0
        if not shown or self.form.images is None:
            return message
        if self._images + shown <= self.form.images:
            self._images += shown
            return message
        return Committed({**message, "content": [_without_images(block) for block in message["content"]]})

    def rendered(self, tail: Sequence[Part]) -> list[Message]:
        """Return the messages of a request: those so far, and what is asked now."""
        last = View(replace(self.form, images=None))  # what is too much of it, its event is told
        last.extend(tail)
        return [*self.messages, *last.messages]


def is_block(message: Mapping[str, Any]) -> bool:
    """Return whether a message begins with a summary of the API's own."""
    content = message.get("content")
    return isinstance(content, list) and bool(content) and content[0].get("type") == "compaction"


def summary_in_words(message: Message) -> Message:
    """Return a summary of the API's own as the application's words, for whom it was not signed; others as they are."""
    if not is_block(message):
        return message
    said = text(f"{SUMMARISED}{message['content'][0].get('content') or ''}")
    return {"role": "user", "content": [said]}


def with_application(message: Message, words: Sequence[Block]) -> Message:
    """Return a user's message with the application's words in it: behind the results, before the user's own."""
    content: list[Block] = message["content"]
    said = [text(f"{APPLICATION}\n{block['text']}") for block in words]
    at = next((n for n, block in enumerate(content) if block["type"] != "tool_result"), len(content))
    return {**message, "content": [*content[:at], *said, *content[at:]]}


def without_thinking(message: Message) -> Message:
    """Return an answer without what it thought; itself where it thought nothing."""
    content: list[Block] = message["content"]
    kept = [block for block in content if block["type"] not in THINKING]
    return message if len(kept) == len(content) else Committed({**message, "content": kept or [text(NO_ANSWER)]})


def _images(block: Block) -> int:
    inside = block.get("content")
    if isinstance(inside, list):  # a tool's result
        return sum(map(_images, cast("list[Block]", inside)))
    return int(block["type"] == "image")


def _without_images(block: Block) -> Block:
    if block["type"] == "image":
        return text(NO_IMAGE)
    inside = block.get("content")
    if not isinstance(inside, list):
        return block
    return {**block, "content": [_without_images(item) for item in cast("list[Block]", inside)]}

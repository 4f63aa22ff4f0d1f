"""A session's messages as one model takes them.

Invariant: what a model was sent stays as it was sent for as long as that model is asked; another model gets the same
conversation in the form that it takes: without thinking that was signed for others, and with the application's words as
text where it takes no system messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from inturn.models.encoding import Committed
from inturn.turns.answers import THINKING
from inturn.turns.blocks import Block, text

Message = dict[str, Any]

NO_ANSWER: Final = "(no answer)"
"""Ends an answer without text: the API refuses assistant messages that are empty or end in thinking."""
APPLICATION: Final = "[From the application, not from the user]"


@dataclass(frozen=True, slots=True)
class Form:
    """What a model takes.

    Attributes:
        model: Its name; `None`: no matter whose thinking it is.
        system: It takes messages of role `system`.
    """

    model: str | None = None
    system: bool = True


@dataclass(slots=True)
class View:
    """The messages of a conversation in one form, grown with it."""

    form: Form = field(default_factory=Form)
    messages: list[Message] = field(default_factory=list[Message])
    _upto: int = 0

    def extend(self, said: Sequence[Message], owners: Sequence[str | None]) -> None:
        """Take what is new of the conversation; `owners`: the models that made its answers."""
        for at in range(self._upto, len(said)):
            self._add(said[at], owners[at])
        self._upto = len(said)

    def _add(self, message: Message, owner: str | None) -> None:
        if message["role"] == "system" and not self.form.system:
            self.messages[-1] = Committed(with_application(self.messages[-1], message["content"]))
        elif message["role"] == "assistant" and self.form.model and owner and owner != self.form.model:
            self.messages.append(without_thinking(message))
        else:
            self.messages.append(message)

    def rendered(self, tail: Sequence[Message]) -> list[Message]:
        """Return the messages of a request: those so far, and what is asked now."""
        last = View(self.form)
        last.extend(tail, [None] * len(tail))
        return [*self.messages, *last.messages]


def with_application(message: Message, words: Sequence[Block]) -> Message:
    """Return a user's message with the application's words behind it."""
    said = [text(f"{APPLICATION}\n{block['text']}") for block in words]
    return {**message, "content": [*message["content"], *said]}


def without_thinking(message: Message) -> Message:
    """Return an answer without what it thought; itself where it thought nothing."""
    content: list[Block] = message["content"]
    kept = [block for block in content if block["type"] not in THINKING]
    return message if len(kept) == len(content) else Committed({**message, "content": kept or [text(NO_ANSWER)]})

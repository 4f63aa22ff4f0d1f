"""Why the model refuses a request that it should take: which committed blocks it takes no more.

Invariant: nothing is doubted before two requests of one token have said that neither the agent's own configuration nor
this event is to blame, nor is anything doubted for its size. What is found is written down before it is relied on, so
no worker looks for it again; a session goes on without a block, never without its memory.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inturn.errors import ModelError
from inturn.journal.views.doubts import Place
from inturn.journal.views.requests import Form
from inturn.journal.views.transcript import Transcript
from inturn.models import ModelRequest
from inturn.turns.blocks import text

MAX_REFUSALS: Final = 8
"""Requests of one step that may be refused while it looks for what is to blame."""

_SIZE: Final = re.compile(
    r"too (long|large|many|big)|exceed|at most|maximum|context (window|length|limit)|request_too_large|\b413\b", re.I
)
_PLACE: Final = re.compile(r"\bmessages\.(\d+)(?:\.content\.(\d+))?")
_ADDRESS: Final = re.compile(r"\burl\b|download|fetch", re.I)

Ask = Callable[[ModelRequest], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is refused.

    Attributes:
        places: The blocks to leave out; without any, it is what old answers thought.
        why: What the API said.
        all: Without them the conversation is taken; else there are more.
    """

    places: list[Place]
    why: str
    all: bool


class Doubts:
    """One step's search."""

    def __init__(self, ask: Ask, request: ModelRequest, transcript: Transcript, form: Form) -> None:
        """Look into a request that was refused; `ask` asks the model."""
        self._ask = ask
        self._request = request
        self._transcript = transcript
        self._form = form
        self._said = ""  # of the last refusal
        self._refused: list[list[dict[str, Any]]] = []
        self._taken: list[list[dict[str, Any]]] = []

    @property
    def _tries(self) -> int:
        return MAX_REFUSALS - len(self._refused)

    async def find(self, refusal: ModelError) -> Finding:
        """Return what is to blame of what is committed.

        Raises:
            ModelError: Nothing of it: the refusal itself, where the event is to blame; of kind `account`, where no
                request of this agent's is taken.
        """
        if is_about_size(str(refusal)):
            raise await self._too_large(refusal)
        if not await self._takes([{"role": "user", "content": [text("hi")]}]):
            message = f"the model refuses the agent's own instructions and tools: {self._said}"
            raise ModelError(message, kind="account") from refusal
        if not self._transcript.committed_places() or await self._takes(self._transcript.probe(self._form)):
            raise refusal
        if is_about_size(self._said):
            raise await self._too_large(refusal)
        found = await self._search(self._said)
        if found is None:
            raise refusal
        return found

    async def _search(self, why: str) -> Finding | None:
        if await self._takes_without(()):
            return Finding([], why, all=True)
        found = await self._named()
        if found and await self._takes_without(found):
            return Finding(found, why, all=True)
        suspects = [place for place in self._suspects() if place not in found]
        if not await self._takes_without([*found, *suspects]):
            suspects = [place for place in self._transcript.committed_places() if place not in found]
            if not await self._takes_without([*found, *suspects]):
                return None
        while self._tries > 0:
            last = await self._last_guilty(found, suspects)
            if last is None:
                break
            found.append(suspects[last])
            suspects = suspects[:last]
            if await self._takes_without(found):
                return Finding(found, why, all=True)
        return Finding(found, why, all=False) if found else None

    async def _named(self) -> list[Place]:
        """Return the blocks that refusals name, as long as each one that is left out changes what they name."""
        found: list[Place] = []
        while self._tries > MAX_REFUSALS // 2:
            named = [place for place in self._places_in(self._said) if place not in found]
            before = self._said
            if not named:
                break
            if await self._takes_without([*found, *named]):
                return [*found, *named]
            if self._said == before:
                break  # it is not what it says
            found += named
        return found

    async def _last_guilty(self, found: Sequence[Place], suspects: Sequence[Place]) -> int | None:
        """Return the last of the suspects that has to be left out; all of them are known to be enough."""
        low, high = 0, len(suspects)
        while high - low > 1:
            if self._tries <= 0:
                return None
            middle = (low + high) // 2
            if await self._takes_without([*found, *suspects[:middle]]):
                high = middle
            else:
                low = middle
        return high - 1

    async def _too_large(self, refusal: ModelError) -> ModelError:
        """Return the error that says what is too large: this event, or what the session has grown to."""
        if self._transcript.committed_places() and not await self._takes(self._transcript.probe(self._form)):
            message = f"the conversation has outgrown the model; begin another session to go on: {refusal}"
        else:
            message = f"the event is too large for what the model still takes in this conversation: {refusal}"
        return ModelError(message, kind="own")

    async def _takes_without(self, places: Collection[Place]) -> bool:
        return await self._takes(self._transcript.probe(self._form, without=set(places)))

    async def _takes(self, messages: list[dict[str, Any]]) -> bool:
        if messages in self._refused or messages in self._taken:
            return messages in self._taken
        try:
            await self._ask(dataclasses.replace(self._request, messages=messages, max_tokens=1))
        except ModelError as error:
            if error.kind != "own":
                raise
            self._said = str(error)
            self._refused.append(messages)
            return False
        self._taken.append(messages)
        return True

    def _places_in(self, said: str) -> list[Place]:
        """Return the committed blocks that a refusal names."""
        named = _PLACE.search(said)
        if named is None:
            return []
        return self._transcript.places_of(int(named[1]), None if named[2] is None else int(named[2]))

    def _suspects(self) -> list[Place]:
        """Return the committed blocks that may be meant, oldest first."""
        places = self._transcript.committed_places()
        if not _ADDRESS.search(self._said):
            return places
        return self._transcript.committed_places(addresses=True) or places


def is_about_size(said: str) -> bool:
    """Return whether a refusal is about how much there is: leaving old blocks out would only hide that."""
    return _SIZE.search(said) is not None

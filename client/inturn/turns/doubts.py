"""Why the model refuses a request that it should take: which committed blocks it takes no more.

Invariant: nothing is doubted before two requests of one token have said that neither the agent's own configuration nor
this event is to blame, nor is anything doubted for the conversation's size. What lies outside comes first, then what is
shown, and words only where nothing else can be meant: whoever has a picture refused now and then has nobody's words
left out. What is found is written down before it is relied on, so no worker looks for it again; a session goes on
without a block, never without its memory.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inturn.errors import ModelError
from inturn.journal.views.doubts import Place, has_address, is_shown
from inturn.journal.views.requests import Form
from inturn.journal.views.transcript import Transcript
from inturn.models import ModelRequest
from inturn.turns.blocks import text
from inturn.turns.pictures import length, longest_side

MAX_REFUSALS: Final = 8
"""Requests of one step that may be refused while it looks for what is to blame."""

_SIZE: Final = re.compile(
    r"too (long|large|many|big)|exceed|at most|maximum|context (window|length|limit)|request_too_large|\b413\b", re.I
)
_PIXELS: Final = re.compile(r"\bdimensions?\b|\bpixels?\b", re.I)
_SHOWN: Final = re.compile(rf"{_PIXELS.pattern}|\bimage exceeds\b|\bpdf pages?\b", re.I)
"""Of one image or document, though it may be too large only among many others."""
_ASKED: Final = re.compile(r"\bmax_tokens\b")
_TOO_LARGE: Final = "the event is too large for what the model still takes in this conversation"
_PLACE: Final = re.compile(r"\bmessages\.(\d+)(?:\.content\.(\d+))?")
_ADDRESS: Final = re.compile(r"\burl\b|download|fetch", re.I)

Ask = Callable[[ModelRequest], Awaitable[Any]]
Asked = tuple[int, list[dict[str, Any]]]
"""How many tokens a request asked for, and its messages."""


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


class Outgrown(ModelError):
    """There is too much for the model, and it is not this event alone: the conversation is to be compacted."""

    def __init__(self, message: str) -> None:
        """Make the error."""
        super().__init__(message, kind="own")


class Doubts:
    """One step's search."""

    def __init__(self, ask: Ask, request: ModelRequest, transcript: Transcript, form: Form) -> None:
        """Look into a request that was refused; `ask` asks the model."""
        self._ask = ask
        self._request = request
        self._transcript = transcript
        self._form = form
        self._said = ""  # of the last refusal
        self._refused: list[Asked] = []
        self._taken: list[Asked] = []

    @property
    def _tries(self) -> int:
        return MAX_REFUSALS - len(self._refused)

    async def find(self, refusal: ModelError) -> Finding:
        """Return what is to blame of what is committed.

        Raises:
            ModelError: Nothing of it: the refusal itself, where the event is to blame; of kind `account`, where no
                request of this agent's is taken.
        """
        hi, said = [{"role": "user", "content": [text("hi")]}], str(refusal)
        most = self._request.max_tokens if _ASKED.search(said) else 1
        if not (await self._takes(hi) and await self._takes(hi, max_tokens=most)):
            message = f"the model refuses the agent's own instructions and tools: {self._said}"
            raise ModelError(message, kind="account") from refusal
        if is_about_size(said):
            raise await self._too_large(refusal)
        if not self._transcript.committed_places() or await self._takes(self._transcript.probe(self._form)):
            raise await self._too_large(refusal) if _SIZE.search(said) else refusal
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
        suspects = await self._enough(found)
        if suspects is None:
            return None
        if _SHOWN.search(why):
            return await self._too_large_shown(found, suspects, why)
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

    async def _enough(self, found: Sequence[Place]) -> list[Place] | None:
        """Return the least suspicious kinds of blocks that are enough to leave out; `None` where nothing is."""
        transcript = self._transcript
        outside = transcript.committed_places(has_address) if _ADDRESS.search(self._said) else []
        for kind in (outside, transcript.committed_places(is_shown), transcript.committed_places()):
            suspects = [place for place in kind if place not in found]
            if suspects and await self._takes_without([*found, *suspects]):
                return suspects
        return None

    async def _too_large_shown(self, found: list[Place], suspects: Sequence[Place], why: str) -> Finding:
        """Find what is too large by itself, else about as many as are too large together: the largest, the oldest."""
        measure = self._transcript.measured(longest_side if _PIXELS.search(why) else length)
        left = ordered = sorted(suspects, key=lambda place: -measure[place])
        before = found
        while True:
            enough = left[: await self._first(found, left)]
            last = enough[-1]
            if len(enough) == 1 or (self._tries > 0 and await self._takes_without([*found, last])):
                return Finding([*found, last], why, all=True)
            if self._tries <= 0:
                return Finding(found, why, all=False) if found != before else Finding([*found, *enough], why, all=True)
            if await self._takes_without([*found, *(each for each in ordered if each != last)]):
                return Finding([*found, *enough], why, all=True)  # none of them is, alone
            found, left = [*found, last], enough[:-1]

    async def _first(self, found: Sequence[Place], suspects: Sequence[Place]) -> int:
        """Return about how many of the suspects, from the first on, have to be left out together."""
        _, high = await self._bounds(found, suspects)
        return high

    async def _last_guilty(self, found: Sequence[Place], suspects: Sequence[Place]) -> int | None:
        """Return the last of the suspects that has to be left out; all of them are known to be enough."""
        low, high = await self._bounds(found, suspects)
        return low if high - low == 1 else None

    async def _bounds(self, found: Sequence[Place], suspects: Sequence[Place]) -> tuple[int, int]:
        """Return how many of the suspects, from the first on, are too few and enough, as close as there are tries."""
        low, high = 0, len(suspects)
        while high - low > 1 and self._tries > 0:
            middle = (low + high) // 2
            if await self._takes_without([*found, *suspects[:middle]]):
                high = middle
            else:
                low = middle
        return low, high

    async def _too_large(self, refusal: ModelError) -> ModelError:
        """Return the error that says what is too large: this event, or what the session has grown to."""
        if not self._transcript.committed_places():
            return ModelError(f"{_TOO_LARGE}: {refusal}", kind="own")
        if not await self._takes(self._transcript.probe(self._form)):
            return Outgrown(f"the conversation has outgrown the model: {refusal}")
        alone = self._transcript.alone(self._form)
        if alone and not await self._takes(alone):
            return ModelError(f"{_TOO_LARGE}: {refusal}", kind="own")
        return Outgrown(f"{_TOO_LARGE}: {refusal}")

    async def _takes_without(self, places: Collection[Place]) -> bool:
        return await self._takes(self._transcript.probe(self._form, without=set(places)))

    async def _takes(self, messages: list[dict[str, Any]], *, max_tokens: int = 1) -> bool:
        asked = (max_tokens, messages)
        if asked in self._refused or asked in self._taken:
            return asked in self._taken
        try:
            await self._ask(dataclasses.replace(self._request, messages=messages, native=(), max_tokens=max_tokens))
        except ModelError as error:
            if error.kind != "own":
                raise
            self._said = str(error)
            self._refused.append(asked)
            return False
        self._taken.append(asked)
        return True

    def _places_in(self, said: str) -> list[Place]:
        """Return the committed blocks that a refusal names."""
        named = _PLACE.search(said)
        if named is None:
            return []
        return self._transcript.places_of(int(named[1]), None if named[2] is None else int(named[2]))


def of_more(refusal: ModelError) -> ModelError:
    """Return what a refusal means where not all that is to blame was found: it is worth another attempt."""
    return ModelError(f"more of the conversation is refused: {refusal}")


def of_event(refusal: ModelError) -> ModelError:
    """Return what a refusal means that follows a finding: this event is all that is left to blame."""
    if refusal.kind != "own" or not _SIZE.search(str(refusal)):
        return refusal
    return ModelError(f"{_TOO_LARGE}: {refusal}", kind="own")


def is_about_size(said: str) -> bool:
    """Return whether a refusal is about how much there is: leaving old blocks out would only hide that."""
    return _SIZE.search(said) is not None and _SHOWN.search(said) is None

"""Plays plans of many seeds, and leaves out of one that breaks something all that does not matter.

Invariant: what is reported breaks by itself: a seed, and the fewest turns that were found to break.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from inturn.journal import Journal, open_journal
from inturn.keys import SessionKey
from tests.property.conversations.plans import Turn, plan
from tests.property.conversations.stage import Broken, Player, Workers

AT_ONCE = 8
"""Sessions that are played at once: while one waits for its journal, another goes on."""
_names = itertools.count()


@asynccontextmanager
async def journal() -> AsyncGenerator[Journal]:
    """Return a journal of its own."""
    with tempfile.TemporaryDirectory() as directory:
        made = open_journal(f"sqlite:///{Path(directory) / 'journal.db'}")
        await made.open()
        try:
            yield made
        finally:
            await made.close()


async def play(workers: Workers, turns: list[Turn]) -> tuple[int, Exception | None]:
    """Play a plan on a session of its own; return the steps done, and what broke."""
    player = Player(workers, SessionKey("acme", f"s{next(_names)}"))
    try:
        return await player.play(turns), None
    except (Exception, ExceptionGroup) as broken:
        return player.steps, broken


async def explore(
    seeds: Iterable[int],
    *,
    steps: int,
    found: Callable[[int, list[Turn], Exception], bool],
    compacted: Counter[str] | None = None,
) -> int:
    """Play plans until so many steps are done, or `found` says that it is enough; return the steps done.

    `compacted` counts how often conversations were, and by whom.
    """
    done, enough = 0, False
    left = iter(seeds)

    async def plays(workers: Workers) -> None:
        nonlocal done, enough
        while done < steps and not enough:
            seed = next(left)
            turns = plan(seed)
            count, broken = await play(workers, turns)
            done += count
            enough = enough or (broken is not None and found(seed, turns, broken))

    async with journal() as made:
        workers = Workers(made)
        await asyncio.gather(*(plays(workers) for _ in range(AT_ONCE)))
    if compacted is not None:
        compacted.update(workers.compacted)
    return done


async def shrunk(turns: list[Turn], broken: Exception) -> tuple[list[Turn], Exception]:
    """Leave out turns, and parts of turns, while it breaks the same way."""
    async with journal() as made:
        workers, smaller = Workers(made), True
        while smaller:
            smaller = False
            for candidate in _smaller(turns):
                _, error = await play(workers, candidate)
                if error is not None and kind(error) == kind(broken):
                    turns, broken, smaller = candidate, error, True
                    break
    return turns, broken


def kind(broken: Exception) -> str:
    """Return what broke, without what differs from plan to plan."""
    text = f"{type(broken).__name__}: {broken}".partition("(request")[0]
    text = text.split(": ", 2)[-1] if isinstance(broken, Broken) else text
    return "".join(c for c in text if not c.isdigit())[:60]


def _smaller(turns: list[Turn]) -> Iterable[list[Turn]]:
    for at in range(len(turns)):
        yield turns[:at] + turns[at + 1 :]
    for at, turn in enumerate(turns):
        for simpler in _simpler(turn, f"plain {at}"):
            yield [*turns[:at], simpler, *turns[at + 1 :]]


def _simpler(turn: Turn, content: str) -> Iterable[Turn]:
    plain = Turn(content)
    for name in ("merged", "steered", "says", "stops", "denies", "gone", "compacts", "summaries", "redriven", "cold"):
        if getattr(turn, name) != getattr(plain, name):
            yield dataclasses.replace(turn, **{name: getattr(plain, name)})
    if not turn.bad and not str(turn.content).startswith("plain"):
        yield dataclasses.replace(turn, content=content)
    for at, said in enumerate(turn.says):
        yield dataclasses.replace(turn, says=turn.says[:at] + turn.says[at + 1 :])
        for block in range(len(said.content)):
            left = dataclasses.replace(said, content=said.content[:block] + said.content[block + 1 :])
            yield dataclasses.replace(turn, says=[*turn.says[:at], left, *turn.says[at + 1 :]])


def explore_now(seeds: Iterable[int], *, steps: int, compacted: Counter[str] | None = None) -> int:
    """Play plans; return the steps done.

    Raises:
        AssertionError: A session did what it must not: the seed, and the shortest way there.
    """
    first: list[tuple[int, list[Turn], Exception]] = []

    def found(seed: int, turns: list[Turn], broken: Exception) -> bool:
        first.append((seed, turns, broken))
        return True

    async def main() -> int:
        done = await explore(seeds, steps=steps, found=found, compacted=compacted)
        for seed, turns, broken in first:
            few, error = await shrunk(turns, broken)
            told = "\n".join(f"  {turn}" for turn in few)
            raise AssertionError(f"seed {seed}: {error}\n{told}") from error
        return done

    return asyncio.run(main())

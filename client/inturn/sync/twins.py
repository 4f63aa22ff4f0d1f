"""What makes a plain method of an async one.

Invariant: a twin has the signature, the documentation and the types of what it is the twin of: they cannot drift apart.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from inturn.sync import loop

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_END: Final = object()


class Twin(Generic[A_co]):
    """Stands for an async object: it is made anew in a process that was forked."""

    def __init__(self, make: Callable[[], A_co]) -> None:
        """Stand for what a function makes; it is made here, so that a mistake shows where it is made."""
        self._stand_for(make)

    def _stand_for(self, make: Callable[[], A_co]) -> None:
        self._make = make
        self._made = os.getpid(), make()

    @property
    def _twin(self) -> A_co:
        process, twin = self._made
        if process != os.getpid():
            self._made = os.getpid(), (twin := self._make())
        return twin


def returns(method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Twin[A], P], T]:
    """Return the twin of a coroutine function."""

    @wraps(method)
    def twin(self: Twin[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return loop.call(method(self._twin, *args, **kwargs))

    return twin


def iterates(
    method: Callable[Concatenate[A, P], AsyncIterator[T]],
) -> Callable[Concatenate[Twin[A], P], Generator[T, None, None]]:
    """Return the twin of what gives an async iterator; closing its generator closes the async one."""

    @wraps(method)
    def twin(self: Twin[A], /, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        found = method(self._twin, *args, **kwargs)
        try:
            while (value := loop.call(_next(found))) is not _END:
                yield value
        finally:
            loop.call(_close(found))

    return twin


def signed(method: Callable[Concatenate[A, P], Any]) -> Callable[[Callable[..., R]], Callable[Concatenate[Any, P], R]]:
    """Return a decorator that gives a method the parameters, and the documentation, of another."""

    def decorate(own: Callable[..., R]) -> Callable[Concatenate[Any, P], R]:
        twin: Callable[Concatenate[Any, P], R] = wraps(method)(own)
        return twin

    return decorate


async def _next(found: AsyncIterator[T]) -> T | Any:
    return await anext(found, _END)


async def _close(found: AsyncIterator[Any]) -> None:
    close = getattr(found, "aclose", None)
    if close is not None:
        await close()

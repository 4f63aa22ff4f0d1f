"""The base of what workflows carry and steps send: lean JSON.

Invariant: readable by older and newer peers: fields that say nothing do not travel, fields of a newer peer are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class _Untold(set[str]):
    """Stands for which fields of a message were set: nobody asks."""

    __slots__ = ()

    def add(self, element: str, /) -> None:
        """Forget it."""

    def update(self, *elements: Iterable[str]) -> None:
        """Forget them."""

    def __copy__(self) -> Self:
        return self


_UNTOLD: Final = _Untold()


class Message(BaseModel):
    """Base: leaves out what equals its default."""

    model_config = ConfigDict(extra="allow")

    _defaults: ClassVar[dict[str, Any]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Note the defaults, once per class."""
        super().__pydantic_init_subclass__(**kwargs)
        cls._defaults = {name: field.get_default(call_default_factory=True) for name, field in cls.model_fields.items()}

    def model_post_init(self, context: Any, /) -> None:
        """Share what pydantic keeps for each model: a session that idles consists of a dozen of them."""
        super().model_post_init(context)
        object.__setattr__(self, "__pydantic_fields_set__", _UNTOLD)

    @model_serializer(mode="wrap")
    def _lean(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = self._defaults
        values = self.__dict__
        dumped: dict[str, Any] = handler(self)
        # A field of a newer peer is in no `defaults`, and its value lies elsewhere than in `__dict__`: it stays.
        return {k: v for k, v in dumped.items() if k not in defaults or values[k] != defaults[k]}


class Exchanged(Message):
    """Base of what steps are sent and of what they send back."""

    refused: str | None = None
    """Why it is not to be taken, where there are keys: it came in clear, or was encrypted for something else. Who
    decodes it says so; it does not travel."""

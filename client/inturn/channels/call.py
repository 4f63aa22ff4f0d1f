"""One incoming request of a platform, and the reply to it.

Invariant: a call is what came, byte for byte, with the time at which it came: all that is said of it is a function of
it, so it can be kept, replayed and judged again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from inturn.errors import InturnError

MAX_FIELDS: Final = 200
"""Of a form."""
MAX_NESTING: Final = 100
"""Lists and objects within each other, in a body."""


class Unreadable(InturnError, ValueError):
    """The call is none that the channel can read: answered with 400, and never tried again."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came.

    Attributes:
        body: The raw bytes.
        method: In capitals.
        path: The path, decoded.
        query: The raw query.
        headers: By names in small letters; of one that came several times the values are joined by `, `.
        now: When it came, in seconds since 1970, by the receiver's clock.
    """

    body: bytes = b""
    method: str = "POST"
    path: str = "/"
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    now: float = 0.0

    @classmethod
    def of(
        cls,
        body: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        method: str = "POST",
        path: str = "/",
        query: bytes = b"",
        now: float,
    ) -> Call:
        """Return the call of a request as ASGI has it."""
        named = dict[str, str]()
        for name, value in headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            named[key] = f"{named[key]}, {text}" if key in named else text
        return cls(body, method, path, query.decode("latin-1"), named, now)

    def header(self, name: str) -> str:
        """Return a header, or an empty text."""
        return self.headers.get(name, "")

    def json(self) -> dict[str, Any]:
        """Return the body's JSON object.

        Raises:
            Unreadable: It is none.
        """
        try:
            return object_of(self.body.decode())
        except UnicodeDecodeError:
            raise Unreadable("the body is not UTF-8") from None

    def form(self) -> dict[str, str]:
        """Return the fields of a form; of one that came several times the last.

        Raises:
            Unreadable: It is none.
        """
        return form_of(self.body.decode("utf-8", "replace"))

    def queries(self) -> dict[str, str]:
        """Return the query's fields.

        Raises:
            Unreadable: There are too many.
        """
        return form_of(self.query)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the platform is answered."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Reply:
        """Return one with a JSON value."""
        return cls(status, json.dumps(value, separators=(",", ":")).encode(), {"content-type": "application/json"})

    @classmethod
    def text(cls, text: str, status: int = 200) -> Reply:
        """Return one with a plain text."""
        return cls(status, text.encode(errors="replace"), {"content-type": "text/plain; charset=utf-8"})

    @classmethod
    def later(cls, after: float = 1.0) -> Reply:
        """Return the one that asks the platform to come again."""
        return cls(503, b"", {"retry-after": str(max(1, round(after)))})


def object_of(text: str) -> dict[str, Any]:
    """Return the JSON object that a text is.

    Raises:
        Unreadable: It is none, or has what nobody can keep: half characters, numbers without an end.
    """
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Unreadable("the body is no JSON") from None
    if not isinstance(value, dict) or not _shallow(value, MAX_NESTING):
        raise Unreadable("the body is no JSON object that can be read")
    return value


def form_of(text: str) -> dict[str, str]:
    """Return the fields of an encoded form.

    Raises:
        Unreadable: There are too many.
    """
    try:
        found = parse_qs(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Unreadable("the form has too many fields") from None
    return {name: values[-1] for name, values in found.items()}


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _shallow(value: object, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inside = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_shallow(each, depth - 1) for each in inside)

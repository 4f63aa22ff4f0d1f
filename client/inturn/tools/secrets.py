"""Secret values, and keeping them out of what is written.

    secret = await ctx.credentials("github")
    headers = {"Authorization": f"Bearer {secret.get_secret_value()}"}

Invariant: a secret shows itself only where `get_secret_value()` asks for it. What a call was given is taken out of its
result; what lives anywhere in the process is taken out of the logs, of all errors and of progress.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
import traceback
import urllib.parse
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn

from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from inturn.errors import Retry, ToolError
from inturn.turns.call_results import text_of

MASK: Final = "[secret]"
MIN_LINE: Final = 16
"""Characters from which one line of a secret of many lines (a key) is masked alone."""


MIN_ANYWHERE: Final = 4
"""Characters of a secret that is masked in what it was not given to: a shorter one stands in every text."""
MIN_ENCODED: Final = 6
"""Characters of a secret within base64: fewer stand in other texts, too."""
_ESCAPED: Final = re.compile(r"%[0-9A-F]{2}")
_BREAK: Final = r"(?:\s*(?:\n|\\n)\s*|\\r)*"
"""Between two characters of what is encoded and broken into lines, also where JSON writes the break as an escape."""
_BREAKS: Final = re.compile(r"\s*(?:\n|\\n)\s*|\\r")
_SEPARATORS: Final = (":", " ", "-")
"""Between the bytes of what is shown in hex."""
_WIDE: Final = ("utf-16-le", "utf-16-be")


class Secret(SecretStr):
    """A text that `repr`, `str`, JSON and pydantic show as `**********`, and that cannot be pickled."""

    def __init__(self, secret_value: str) -> None:
        """Wrap a text; logs mask it for as long as the object lives, if it has four characters or more."""
        super().__init__(secret_value)
        if len(secret_value) >= MIN_ANYWHERE:
            _registry.add(self)

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would show it.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a Secret cannot be pickled")

    def __copy__(self) -> Secret:
        """Return itself: it is a value."""
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        """Return itself: it is a value."""
        return self

    # By identity: two that hold one text must both live on in a set of them.
    __hash__ = object.__hash__


class Redactor:
    """Takes a set of secrets out of texts."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        """Redact these secrets."""
        values = [secret.get_secret_value() for secret in secrets]
        encoded = {form for value in values for form in _encoded(value)} - {""}
        forms = encoded | {form for value in values for form in _forms(value)} - {""}
        # The longest first: a form that is part of another must not leave the rest of that one.
        self._forms = sorted(forms, key=len, reverse=True)
        self._encoded = sorted(encoded, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return a text with a mask in the place of each secret."""
        if any(form in text for form in self._forms):
            text = re.sub("|".join(map(re.escape, self._forms)), MASK, text)
        for form in self._broken(text):
            text = re.sub(_BREAK.join(map(re.escape, form)), MASK, text)
        return text

    def finds(self, text: str) -> bool:
        """Whether a text holds a secret. Nearly none does, and this is what it costs each log line."""
        return any(form in text for form in self._forms) or bool(self._broken(text))

    def _broken(self, text: str) -> list[str]:
        """Return the encoded forms that a text holds with breaks between its lines in them."""
        joined = _BREAKS.sub("", text) if "\n" in text or "\\n" in text else text
        return [] if joined == text else [form for form in self._encoded if form in joined and form not in text]


class _SecretRegistry:
    """All secrets of the process, for as long as they live."""

    def __init__(self) -> None:
        self._secrets: weakref.WeakSet[Secret] = weakref.WeakSet()
        self._lock = threading.RLock()  # a set must not grow while a thread reads it; reading may collect garbage
        self._added = 0
        self._made: tuple[tuple[int, int], Redactor] = ((0, 0), Redactor())

    def add(self, secret: Secret) -> None:
        with self._lock:
            self._secrets.add(secret)
            self._added += 1

    def redactor(self) -> Redactor:
        with self._lock:
            now = (self._added, len(self._secrets))
            if self._made[0] != now:
                self._made = (now, Redactor(list(self._secrets)))
            return self._made[1]


_registry: Final = _SecretRegistry()


class Redacted(Exception):
    """Stands for an error whose text, or whose cause's, held a secret."""


class CallSecrets:
    """The secrets that one call was given."""

    def __init__(self) -> None:
        """Begin with none."""
        self._secrets: list[Secret] = []
        self._redactor: Redactor | None = None

    def add(self, secret: Secret) -> Secret:
        """Note a secret, and return it."""
        self._secrets.append(secret)
        self._redactor = Redactor(self._secrets)
        return secret

    def redact_text(self, text: str) -> str:
        """Return a text without the secrets."""
        return text if self._redactor is None else self._redactor(text)

    def redact_value(self, value: Any) -> Any:
        """Return a tool's result without the secrets; where there are some, it comes back as plain JSON values."""
        return value if self._redactor is None else self._redacted(_plain(value))

    def redact_error(self, error: BaseException) -> BaseException:
        """Return the error without secrets: one of the same meaning in its place, where its own text holds some.

        Where any held some, its causes are cut off, and the whole stands in a note, redacted.
        """
        if self._redactor is None:
            return error
        whole = "".join(traceback.format_exception(error))
        text = text_of(error)
        if not self._redactor.finds(f"{whole}\n{text}"):
            return error
        own = self._redactor.finds(text) or isinstance(error, BaseExceptionGroup)
        made = self._same(error, self.redact_text(text)) if own else error
        made.__cause__ = made.__context__ = None
        made.__notes__ = [self.redact_text(whole)]  # its own are in there
        return made

    def found_in(self, value: Any) -> bool:
        """Whether a value has a secret in it."""
        return self._redactor is not None and self.redact_value(value) != _plain(value)

    @staticmethod
    def _same(error: BaseException, text: str) -> BaseException:
        if isinstance(error, ToolError):
            return ToolError(text)
        if isinstance(error, Retry):
            return Retry(text, after=error.after)
        return Redacted(f"{type(error).__name__}: {text}")

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, dict):
            return {self._redacted(key): self._redacted(inner) for key, inner in value.items()}
        return [self._redacted(inner) for inner in value] if isinstance(value, list) else value


def redact(text: str) -> str:
    """Return a text without the secrets that live in this process."""
    return _registry.redactor()(text)


def _forms(value: str) -> Iterable[str]:
    """Return how a text may stand in results and errors as it is written: in a URL, in JSON, in HTML, in a repr."""
    data = value.encode(errors="replace")
    quoted = (urllib.parse.quote(data), urllib.parse.quote(data, safe=""), urllib.parse.quote_plus(data))
    yield from (value, *quoted, *(_ESCAPED.sub(lambda escaped: escaped.group().lower(), text) for text in quoted))
    written = (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    yield from (*written, *(text.replace("/", "\\/") for text in written), repr(value)[1:-1])
    yield from (json.dumps(text, ensure_ascii=False)[1:-1] for text in written)  # JSON within JSON
    marked = (html.escape(value), html.escape(value, quote=False))
    yield from (*marked, *(text.replace("&#x27;", "&#39;").replace("/", "&#x2F;") for text in marked))
    yield from (separator.join(pairs) for separator in _SEPARATORS for pairs in _pairs(data))
    yield from (line for line in value.splitlines() if len(line) >= MIN_LINE)


def _encoded(value: str) -> Iterable[str]:
    """Return how it may stand in what is encoded as a whole: in hex, base64 and base32, of each way to write text."""
    for data in (value.encode(errors="replace"), *(value.encode(how, errors="replace") for how in _WIDE)):
        yield from (data.hex(), data.hex().upper())
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(data).decode().rstrip("=")
            yield from _within(data, encode, together=3)
        yield base64.b32encode(data).decode().rstrip("=")
        yield from _within(data, base64.b32encode, together=5)


def _pairs(data: bytes) -> tuple[list[str], list[str]]:
    pairs = [f"{byte:02x}" for byte in data]
    return pairs, [pair.upper() for pair in pairs]


def _within(data: bytes, encode: Callable[[bytes], bytes], *, together: int) -> Iterable[str]:
    """Return what an encoded text that holds the secret has in it (HTTP Basic: `user:secret`).

    So many bytes make eight or fewer characters together, so there are as many ways, by where the secret begins. The
    characters at its ends are made of its neighbours, too, and are left: they hold less than a byte of it.
    """
    bits = {3: 6, 5: 5}[together]
    for before in range(together):
        encoded = encode(bytes(before) + data).decode()
        inner = encoded[-(-before * 8 // bits) : (before + len(data)) * 8 // bits]
        if len(inner) >= MIN_ENCODED:
            yield inner


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    try:
        return to_jsonable_python(value, fallback=str)
    except Exception:  # no JSON: rather nothing of it than a secret in it
        return f"(a result of type {type(value).__name__} that cannot be searched for secrets)"

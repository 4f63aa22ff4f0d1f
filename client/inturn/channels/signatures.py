"""Whether a call is from who it says: the proofs that platforms give.

Invariant: a verdict is a bool, and nothing that comes makes one of these raise; what is compared is compared in
constant time, over the raw bytes; and no empty secret proves anything.

Every secret may be several, while one replaces another: any of them will do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

WINDOW: Final = 300
"""Seconds that a call's own time may be off, either way."""
MOST: Final = 8
"""Signatures of one call that are looked at."""
LONG: Final = 4096
"""Characters of a header that are looked at."""

Secrets: TypeAlias = str | Sequence[str]


def secrets_of(secrets: Secrets) -> tuple[str, ...]:
    """Return the secrets, one or several.

    Raises:
        ValueError: There is none, or an empty one: it would prove everything or nothing.
    """
    found = (secrets,) if isinstance(secrets, str) else tuple(secrets)
    if not found or not all(found):
        raise ValueError("a channel's secret is missing or empty")
    return found


def equal(secrets: Secrets, given: str) -> bool:
    """Return whether a text that was given is a secret."""
    return _is_one(_bytes(given), map(_bytes, _several(secrets)))


def is_fresh(timestamp: str, now: float, window: float = WINDOW) -> bool:
    """Return whether a time in whole seconds since 1970, as it was written, is about now."""
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        return False
    return abs(now - int(timestamp)) <= window


def hmac_hex(secrets: Secrets, body: bytes, given: str, *, prefix: str = "", digest: str = "sha256") -> bool:
    """Return whether what was given is the body's HMAC in hex, with this prefix."""
    made = (f"{prefix}{_hmac(_bytes(secret), body, digest).hex()}".encode() for secret in _several(secrets))
    return _is_one(_bytes(given), made)


def hmac_base64(secrets: Secrets, body: bytes, given: str, *, prefix: str = "", digest: str = "sha256") -> bool:
    """Return whether what was given is the body's HMAC in base64, with this prefix."""
    made = (prefix.encode() + base64.b64encode(_hmac(_bytes(s), body, digest)) for s in _several(secrets))
    return _is_one(_bytes(given), made)


def slack(secrets: Secrets, body: bytes, timestamp: str, given: str, now: float) -> bool:
    """Return whether Slack signed a body, lately."""
    if not is_fresh(timestamp, now):
        return False
    return hmac_hex(secrets, b"v0:%b:%b" % (timestamp.encode(), body), given, prefix="v0=")


def github(secrets: Secrets, body: bytes, given: str) -> bool:
    """Return whether GitHub signed a body. It says no time: what is delivered again is known by its id."""
    return hmac_hex(secrets, body, given, prefix="sha256=")


def stripe(secrets: Secrets, body: bytes, header: str, now: float) -> bool:
    """Return whether Stripe signed a body, lately: `t=…,v1=…`, of which there may be several `v1`."""
    if len(header) > LONG:
        return False
    parts = [part.partition("=")[::2] for part in header.split(",")]
    times = [value for name, value in parts if name == "t"]
    if len(times) != 1 or not is_fresh(times[0], now):
        return False
    signed = b"%b.%b" % (times[0].encode(), body)
    return any(hmac_hex(secrets, signed, value) for name, value in parts[: MOST + 1] if name == "v1")


def standard(secrets: Secrets, body: bytes, message_id: str, timestamp: str, given: str, now: float) -> bool:
    """Return whether a body is signed as Standard Webhooks has it, lately; secrets are `whsec_…`, base64.

    `given` may hold several signatures, with spaces between them; those of `v1` count.
    """
    if not message_id or len(given) > LONG or not is_fresh(timestamp, now):
        return False
    signed = b"%b.%b.%b" % (_bytes(message_id), timestamp.encode(), body)
    made = [base64.b64encode(_hmac(key, signed)) for key in _keys(secrets)]
    offered = [each.partition(",")[2] for each in given.split(" ")[:MOST] if each.startswith("v1,")]
    return any(_is_one(_bytes(each), made) for each in offered)


def standard_signature(secret: str, body: bytes, message_id: str, timestamp: int) -> str:
    """Return the signature of what goes out, as Standard Webhooks has it.

    Raises:
        ValueError: The secret is no base64.
    """
    key = next(iter(_keys(secret)), None)
    if key is None:
        raise ValueError("the secret is no base64 (whsec_…)")
    return "v1," + base64.b64encode(_hmac(key, b"%b.%d.%b" % (message_id.encode(), timestamp, body))).decode()


def _keys(secrets: Secrets) -> Iterator[bytes]:
    for secret in _several(secrets):
        text = secret.removeprefix("whsec_").rstrip("=")
        try:
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            continue
        if key:
            yield key


def _several(secrets: Secrets) -> Iterator[str]:
    return (secret for secret in ((secrets,) if isinstance(secrets, str) else secrets) if secret)


def _hmac(key: bytes, body: bytes, digest: str = "sha256") -> bytes:
    return hmac.digest(key, body, digest)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _is_one(given: bytes, made: Iterable[bytes]) -> bool:
    """Compare with each, all of them, whichever fits."""
    offered = hashlib.sha256(given).digest()  # of one length, so that a comparison tells nothing of it
    found = False
    for each in made:
        found |= hmac.compare_digest(hashlib.sha256(each).digest(), offered)
    return found

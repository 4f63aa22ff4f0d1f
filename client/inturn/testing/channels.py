"""Checks of a channel that somebody wrote: what every channel owes, whatever its platform is.

    def test_the_desk_is_a_channel() -> None:
        inturn.testing.channel(Desk("secret", api), signed(b'{"note": …}'))

Invariant: what is checked is what the gateway relies on; each failure says which of it the channel breaks, and how.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

from inturn.channels import Call, Channel, Click, Ignored, Inbound, Message, Reply, Stop, Taken, Withdraw
from inturn.events import make_event
from inturn.keys import is_id
from inturn.sizes import ADDRESS, written

ROUNDS: Final = 300
"""Random calls."""
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(/[A-Za-z0-9._-]{1,64})?")
_HOSTILE: Final = (
    *("", "abc", "-1", "9" * 5_000, "1e309", "nan", "é", "\udcff", "v1,a", "v1"),
    *(",", "=", "t=1", "sha256=", "v0=", " ", "\x00"),
)
_IMPURE: Final = ("builtins.open", "socket.socket", "socket.create_connection", "time.time", "time.sleep")


def channel(
    channel: Channel, *calls: Call, body_signed: bool = True, window: float | None = None, seed: int = 1
) -> None:
    """Check a channel with calls that are genuine.

    Args:
        channel: The channel.
        *calls: Genuine calls, each with the proof that the platform gives.
        body_signed: The proof covers the body; a bare token does not.
        window: Seconds that a call's time may be off, where the proof covers one.
        seed: Of the random bytes.

    Raises:
        AssertionError: It breaks what a channel owes; the message says what.
    """
    _declared(channel)
    rng = random.Random(seed)
    for call in calls:
        _genuine(channel, call)
        _forged(channel, call, body_signed=body_signed, window=window)
        _garbled(channel, call, rng)
    _random(channel, calls, rng)


def _declared(channel: Channel) -> None:
    _owes(bool(_LABEL.fullmatch(channel.label)), f"its label {channel.label!r} can stand in a path")
    _owes(0.5 < channel.ack_within <= 60, "ack_within is between half a second and a minute")
    _owes(0 < channel.max_body <= 25 << 20, "max_body is at most 25 MiB")
    _owes(bool(channel.methods) and all(method.isupper() for method in channel.methods), "methods are in capitals")


def _genuine(channel: Channel, call: Call) -> None:
    with _pure(channel):
        _owes(channel.verify(call) is True, "a genuine call is verified, with True")
        if channel.hello(call) is not None:
            return
        found = list(channel.read(call))
        again = list(channel.read(call))
        later = list(channel.read(replace(call, now=call.now + 1)))
        _owes(found == again == later, "the same call means the same, also a second later")
        for each in found:
            _value(channel, each)
        _answers(channel, found)


def _value(channel: Channel, value: Inbound) -> None:
    kinds = (Message, Click, Withdraw, Stop, Ignored)
    _owes(isinstance(value, kinds), f"read gives {', '.join(kind.__name__ for kind in kinds)}, not {value!r:.60}")
    if isinstance(value, Ignored):
        return
    _owes(value.tenant is None or is_id(value.tenant), f"the tenant {value.tenant!r:.60} is an id")
    _owes(is_id(value.session) or (isinstance(value, Click) and bool(value.token)), f"{value.session!r:.60} is an id")
    if isinstance(value, Withdraw):
        _owes(is_id(value.event_id), f"{value.event_id!r:.60} is an id")
    if isinstance(value, Message):
        options = value.options(channel.label)
        aliases = options.pop("aliases", [])
        _owes(len(aliases) <= 4 and all(map(is_id, aliases)), "aliases are at most four ids")
        try:
            make_event(content=value.content, **options)
        except ValueError as error:
            raise AssertionError(f"a channel owes that its messages are events: {error}") from error
        _owes(
            written(options["metadata"]) <= ADDRESS, f"the address has at most {ADDRESS} bytes with the channel's name"
        )


def _answers(channel: Channel, found: list[Inbound]) -> None:
    taken = [Taken(each, "ignored" if isinstance(each, Ignored) else "taken") for each in found]
    reply = channel.answer(taken)
    _owes(isinstance(reply, Reply) and 200 <= reply.status < 300, "what is durable is answered with success")
    if late := [Taken(each, "later") for each in found if not isinstance(each, Ignored)]:
        reply = channel.answer(late)
        _owes(reply.status >= 500 or bool(reply.body), "what is not durable is refused, or the person is told")


def _forged(channel: Channel, call: Call, *, body_signed: bool, window: float | None) -> None:
    with _pure(channel):
        _refuses(channel, replace(call, headers={}, query=""), "a call without its proof is refused")
        for name in call.headers:
            _judges(channel, replace(call, headers={k: v for k, v in call.headers.items() if k != name}))
        if window is not None:
            for off in (window + 1, -window - 1):
                _refuses(channel, replace(call, now=call.now + off), f"a call that is {off:+g} s off is refused")
        if not (body_signed and call.body):
            return
        for at in {0, len(call.body) // 2, len(call.body) - 1}:
            changed = call.body[:at] + bytes([call.body[at] ^ 1]) + call.body[at + 1 :]
            _refuses(channel, replace(call, body=changed), f"a call with another byte at {at} is refused")
            _refuses(channel, replace(call, body=call.body[:at]), f"a call that is cut at {at} is refused")
        _refuses(channel, replace(call, body=call.body + b" "), "a call with a byte more is refused")


def _garbled(channel: Channel, call: Call, rng: random.Random) -> None:
    """Let what is verified be strange: reading it may raise, which refuses it, and nothing else."""
    for _ in range(50):
        body = bytearray(call.body)
        for _ in range(rng.randint(1, 8)):
            if body:
                body[rng.randrange(len(body))] = rng.randrange(256)
        try:
            list(channel.read(replace(call, body=bytes(body))))
        except Exception:  # a 400
            continue


def _random(channel: Channel, calls: tuple[Call, ...], rng: random.Random) -> None:
    names = sorted({name for call in calls for name in call.headers}) or ["x-signature"]
    with _pure(channel):
        for _ in range(ROUNDS):
            headers = {name: rng.choice(_HOSTILE) for name in names if rng.random() < 0.8}
            call = Call(rng.randbytes(rng.randrange(200)), headers=headers, query=rng.choice(_HOSTILE), now=1.8e9)
            _refuses(channel, call, f"random bytes with {headers!r:.200} are refused")


def _refuses(channel: Channel, call: Call, what: str) -> None:
    _owes(not _judges(channel, call), what)


def _judges(channel: Channel, call: Call) -> bool:
    try:
        verdict: Any = channel.verify(call)
    except Exception as error:
        raise AssertionError(f"a channel owes that verify never raises: {error!r:.200}") from error
    _owes(isinstance(verdict, bool), f"verify gives a bool, not {verdict!r:.60}")
    return bool(verdict)


@contextmanager
def _pure(channel: Channel) -> Iterator[None]:
    """Refuse what is no function of the call: I/O, the clock, and things that are kept."""
    before = repr(sorted(vars(channel).items(), key=str))
    with ExitStack() as stack:
        touched = [stack.enter_context(patch(name, side_effect=AssertionError(name))) for name in _IMPURE]
        yield
    names = [name for name, mock in zip(_IMPURE, touched, strict=True) if mock.called]
    _owes(not names, f"verify, hello, read and answer do no I/O and read no clock: they called {', '.join(names)}")
    _owes(repr(sorted(vars(channel).items(), key=str)) == before, "verify, hello, read and answer keep nothing")


def _owes(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"a channel owes that {what}")

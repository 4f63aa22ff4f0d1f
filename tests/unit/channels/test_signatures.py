"""Proofs: the vendors' own packages say the same wherever they say anything, and ours never raise."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

import pytest
import stripe as stripe_sdk
from hypothesis import example, given
from hypothesis import strategies as st
from slack_sdk.signature import Clock, SignatureVerifier
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from inturn.channels import signatures

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
STANDARD = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
NOW = 1_800_000_000

TIMES = st.one_of(
    st.integers(NOW - 301, NOW + 301).map(str),
    st.sampled_from(["abc", "-1", "", "9" * 5_000, "1e9", "0x10", "١٨٠٠٠٠٠٠٠٠", f" {NOW}", f"+{NOW}", f"{NOW}_0"]),
    st.text(max_size=12),
)
BODIES = st.one_of(st.binary(max_size=60), st.text(max_size=30).map(lambda text: text.encode("utf-8", "ignore")))
MUTATIONS: list[Callable[[str], str]] = [
    lambda sig: sig,
    lambda sig: sig[:-1],
    lambda sig: sig + "0",
    lambda sig: sig.upper(),
    lambda sig: sig.replace("=", ",", 1),
    lambda sig: "é" + sig,
    lambda sig: "",
    lambda sig: "\ud800",
    lambda sig: f"{sig} {sig}",
    lambda sig: f"v1,a {sig}",
    lambda sig: "v1" + sig[2:],
]


@given(BODIES, TIMES, st.sampled_from(MUTATIONS), st.booleans())
@example(b"token=x", str(NOW - 299), MUTATIONS[0], True)
@example(b"token=x", str(NOW + 301), MUTATIONS[0], True)
def test_slacks_own_package_says_the_same(body: bytes, timestamp: str, mutate: Callable[[str], str], own: bool) -> None:
    secret = SECRET if own else "another"
    signed = b"v0:%b:%b" % (timestamp.encode("utf-8", "surrogatepass"), body)
    signature = mutate("v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest())
    ours = signatures.slack(SECRET, body, timestamp, signature, NOW)
    try:
        theirs = SignatureVerifier(SECRET, Stopped()).is_valid(body, timestamp, signature)
    except (ValueError, TypeError):  # what it does with a time or a signature that is none
        assert ours is False or not _utf8(body)
        return
    assert ours is (theirs and timestamp.isascii() and timestamp.isdecimal())


class Stopped(Clock):
    """The time that Slack's package is told."""

    def now(self) -> float:
        return NOW


def _utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(BODIES, TIMES, st.sampled_from(MUTATIONS), st.booleans())
def test_the_package_of_standard_webhooks_says_the_same(
    body: bytes, timestamp: str, mutate: Callable[[str], str], own: bool
) -> None:
    now = int(time.time())
    if timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 12:
        timestamp = str(int(timestamp) - NOW + now)
        if abs(abs(int(timestamp) - now) - 300) <= 1:
            return  # their clock is the machine's
    secret = STANDARD if own else "whsec_" + base64.b64encode(b"another").decode()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b"msg_1.%b.%b" % (timestamp.encode("utf-8", "surrogatepass"), body)
    exact = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    signature = mutate(exact)
    ours = signatures.standard(STANDARD, body, "msg_1", timestamp, signature, now)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": timestamp, "webhook-signature": signature}
    try:
        Webhook(STANDARD).verify(body, headers, json_parse=False)
    except WebhookVerificationError:
        assert ours is False
    except (ValueError, TypeError):  # one that it cannot read spoils those behind it
        assert ours is False or "v1,a" in signature or not _utf8(body)
    else:  # they read base64 that nobody writes, and times that are no whole seconds
        assert ours is (timestamp.isascii() and timestamp.isdecimal() and exact in signature.split(" "))


@given(BODIES, st.integers(NOW - 301, NOW), st.sampled_from(MUTATIONS), st.booleans())
def test_stripes_own_package_says_the_same(
    body: bytes, timestamp: int, mutate: Callable[[str], str], own: bool
) -> None:
    body = body if _utf8(body) else b""
    header = mutate(
        stripe_sdk.WebhookSignature.generate_signature_header(body.decode(), SECRET if own else "no", timestamp)
    )
    ours = signatures.stripe(SECRET, body, header, NOW)
    try:
        theirs = stripe_sdk.WebhookSignature.verify_header(body.decode(), header, SECRET)
    except (stripe_sdk.SignatureVerificationError, TypeError):
        theirs = False
    assert ours is (theirs and NOW - timestamp <= 300)


@given(st.binary(max_size=200), st.text(), st.text(), st.text())
def test_nothing_that_comes_makes_them_raise_or_proves_anything(body: bytes, one: str, two: str, three: str) -> None:
    assert not signatures.slack(SECRET, body, one, two, NOW)
    assert not signatures.github(SECRET, body, one)
    assert not signatures.stripe(SECRET, body, one, NOW)
    assert not signatures.standard(STANDARD, body, one, two, three, NOW)
    assert not signatures.hmac_base64(SECRET, body, one, digest="sha1")
    assert signatures.equal(SECRET, one) == (one == SECRET)


def test_an_old_and_a_new_secret_both_count_while_one_replaces_the_other() -> None:
    signed = "sha256=" + hmac.new(b"new", b"{}", hashlib.sha256).hexdigest()
    assert signatures.github(["old", "new"], b"{}", signed)
    assert not signatures.github(["old"], b"{}", signed)


@pytest.mark.parametrize("secrets", ["", [], [""]])
def test_no_secret_proves_nothing(secrets: list[str]) -> None:
    empty = "sha256=" + hmac.new(b"", b"{}", hashlib.sha256).hexdigest()
    assert not signatures.github(secrets, b"{}", empty)
    assert not signatures.equal(secrets, "")
    with pytest.raises(ValueError, match="missing or empty"):
        signatures.secrets_of(secrets)


def test_what_goes_out_is_signed_so_that_the_package_takes_it() -> None:
    now = int(time.time())
    signature = signatures.standard_signature(STANDARD, b'{"a":1}', "msg_2", now)
    headers = {"webhook-id": "msg_2", "webhook-timestamp": str(now), "webhook-signature": signature}
    assert Webhook(STANDARD).verify(b'{"a":1}', headers) == {"a": 1}


@pytest.mark.parametrize("bad", ["Ü", "whsec_!!", ""])
def test_a_secret_for_signing_that_is_no_base64_is_said(bad: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        signatures.standard_signature(bad, b"", "m", 1)

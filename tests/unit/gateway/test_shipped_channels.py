"""The shipped channels behind the gateway: what is genuine is taken, and nothing else, whatever bytes come."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

import httpx2
import pytest

from inturn.channels import Channel
from inturn.channels.discord import Discord
from inturn.channels.github import GitHub
from inturn.channels.plain import Plain
from inturn.channels.signatures import standard_signature
from inturn.channels.slack import Slack
from inturn.channels.standard import Standard, Stripe
from inturn.channels.telegram import Telegram
from inturn.testing.discord import StrictDiscord
from inturn.testing.github import StrictGitHub
from inturn.testing.slack import StrictSlack
from inturn.testing.telegram import StrictTelegram
from inturn_gateway import bounds
from inturn_gateway.app import gateway
from tests.support.gateway import DeskClient, Served, Temporal
from tests.support.sizes import sized

RANDOM = sized(sample=30, whole=15_000)
WHSEC = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
Sign = Callable[[bytes, int], Mapping[str, str]]


@dataclass
class Case:
    """A channel, one of another instance, and a genuine delivery with its proof at a time.

    Attributes:
        covers: The proof covers the body.
        timed: The proof covers a time.
        event_id: What the delivery becomes.
    """

    channel: Channel
    body: bytes
    sign: Sign
    event_id: str
    covers: bool = True
    timed: bool = True
    form: str = "application/json"


def cases() -> list[Case]:
    slack, telegram, github, discord = StrictSlack(), StrictTelegram(), StrictGitHub(), StrictDiscord()
    event = slack.message("hi")
    comment = github.comment("@helper look")
    update, command = telegram.update("hi"), discord.command("hi")
    paid = json.dumps({"session": "s", "event_id": "paid", "content": "x"}).encode()
    hook = json.dumps({"type": "t", "data": {"id": "c1"}}).encode()
    charge = json.dumps({"id": "evt_1", "data": {"object": {"customer": "c1"}}}).encode()
    return [
        Case(
            Slack("signing", "xoxb"),
            slack.event(event, "Ev1"),
            lambda body, at: slack.sign(body, at=at),
            f"slack:C1:{event['ts']}",
        ),
        Case(
            Telegram("7:strict", secret="hook-secret"),
            json.dumps(update).encode(),
            lambda body, at: telegram.sign(),
            "tg:7:u1000",
            covers=False,
            timed=False,
        ),
        Case(
            GitHub("hook-secret", "t", login="helper"),
            json.dumps(comment).encode(),
            lambda body, at: github.sign(body),
            "gh:812:c1001",
            timed=False,
        ),
        Case(
            Discord(discord.public_key, "t"),
            json.dumps(command).encode(),
            lambda body, at: discord.sign(body, at=at),
            "dc:1000",
        ),
        Case(
            Plain("secret"),
            paid,
            lambda body, at: {"x-signature": f"sha256={hmac_of(b'secret', body)}"},
            "paid",
            timed=False,
        ),
        Case(Standard(WHSEC, session="/data/id"), hook, standard, "wh:-:m1"),
        Case(Stripe("whsec_s"), charge, stripe, "stripe:evt_1"),
    ]


def hmac_of(secret: bytes, body: bytes) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def standard(body: bytes, at: int) -> Mapping[str, str]:
    signature = standard_signature(WHSEC, body, "m1", at)
    return {"webhook-id": "m1", "webhook-timestamp": str(at), "webhook-signature": signature}


def stripe(body: bytes, at: int) -> Mapping[str, str]:
    return {"stripe-signature": f"t={at},v1={hmac_of(b'whsec_s', b'%d.%b' % (at, body))}"}


@pytest.fixture
async def http(desk: Temporal, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[httpx2.AsyncClient]:
    monkeypatch.setattr(bounds, "FAILED_BURST", 1e9)
    closing = asyncio.Event()
    app = gateway(
        DeskClient(desk, tenant="acme"), channels=[each.channel for each in cases()], api=False, closing=closing
    )
    async with Served(app, closing) as server, server.http() as client:
        yield client


async def status(http: httpx2.AsyncClient, case: Case, body: bytes, headers: Mapping[str, str | bytes]) -> int:
    given = {"content-type": case.form, **headers}
    named = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in given.items()]
    return (await http.post(f"/hooks/{case.channel.label}", content=body, headers=named)).status_code


@pytest.mark.promise("ING-1", "SEC-1")
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.channel.name)
async def test_only_what_is_genuine_and_fresh_is_taken(case: Case, http: httpx2.AsyncClient, desk: Temporal) -> None:
    now = int(time.time())
    good = case.sign(case.body, now)
    assert await status(http, case, case.body, {}) == 401
    proofs = {name: value for name, value in good.items() if not name.startswith(("x-github-event", "x-github-del"))}
    for name, value in proofs.items():
        for wrong in ("", value[:-1], value[:-1] + ("0" if value[-1] != "0" else "1"), "v1,a", "abc", "9" * 5_000):
            if wrong != value and not (case.channel.name == "standard" and name == "webhook-id" and not wrong):
                assert await status(http, case, case.body, {**good, name: wrong}) in (401, 400)
        for raw in (b"\xff\xfe", "é".encode(), b"-1"):
            assert await status(http, case, case.body, {**good, name: raw}) in (401, 400)
    if case.covers:
        assert await status(http, case, case.body + b" ", good) == 401
        assert await status(http, case, b"\xff" + case.body, good) == 401
    if case.timed:
        for off in (330, -302):  # the machine's clock goes on meanwhile
            assert await status(http, case, case.body, case.sign(case.body, int(time.time()) + off)) == 401
    assert desk.sent() == []
    for off in (0, 290, -270) if case.timed else (0,):
        assert await status(http, case, case.body, case.sign(case.body, int(time.time()) + off)) == 200
    assert {(tenant, event_id) for tenant, _, event_id in desk.sent()} == {("acme", case.event_id)}


@pytest.mark.promise("ING-1", "SEC-5")
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.channel.name)
async def test_signed_garbage_is_refused_and_never_a_fault(
    case: Case, http: httpx2.AsyncClient, desk: Temporal
) -> None:
    rng = random.Random(7)
    now, seen = int(time.time()), set[int]()
    for number in range(RANDOM):
        body = bytearray(case.body if number % 2 else rng.randbytes(rng.randrange(300)))
        for _ in range(rng.randrange(1, 6)):
            if body:
                body[rng.randrange(len(body))] = rng.randrange(256)
        seen.add(await status(http, case, bytes(body), case.sign(bytes(body), now)))
        seen.add(
            await status(http, case, bytes(body), {name: rng.choice(["", "x", "1"]) for name in case.sign(b"", now)})
        )
    assert seen <= {200, 400, 401}
    assert {400, 401} <= seen


@pytest.mark.promise("ING-2")
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.channel.name)
async def test_the_same_delivery_again_is_the_same_event(case: Case, http: httpx2.AsyncClient, desk: Temporal) -> None:
    now = int(time.time())
    for off in range(5):
        assert await status(http, case, case.body, case.sign(case.body, now - off)) == 200
    assert {event_id for _, _, event_id in desk.sent()} == {case.event_id}


async def test_another_instances_secret_proves_nothing(desk: Temporal) -> None:
    body = json.dumps({"session": "s", "event_id": "e", "content": "x"}).encode()
    closing = asyncio.Event()
    channels = [Plain("one", instance="a", tenant="t1"), Plain("two", instance="b", tenant="t2")]
    app = gateway(DeskClient(desk, tenant="acme"), channels=channels, api=False, closing=closing)
    async with Served(app, closing) as server, server.http() as http:
        proof = {"x-signature": f"sha256={hmac_of(b'one', body)}"}
        assert (await http.post("/hooks/plain/b", content=body, headers=proof)).status_code == 401
        assert (await http.post("/hooks/plain/a", content=body, headers=proof)).status_code == 200
        assert (await http.post("/hooks/plain", content=body, headers=proof)).status_code == 404
    assert [(tenant, event_id) for tenant, _, event_id in desk.sent()] == [("t1", "e")]

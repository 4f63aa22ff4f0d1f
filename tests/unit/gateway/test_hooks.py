"""Deliveries of channels over real HTTP: verified before they are read, durable before they are acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import httpx2
import pytest

from inturn.channels import Call, Channel, Click, Ignored, Inbound, Message, Reply, Stop, Take, Withdraw
from inturn.channels.inbound import Answered
from inturn.errors import ApprovalConflict, InvalidEvent, SessionClosed, Unavailable
from inturn.keys import SessionKey
from inturn_gateway import bounds
from inturn_gateway.app import gateway
from tests.support.gateway import DeskClient, Served, Temporal
from tests.support.waiting import until

SECRET = b"a secret"


class Desk(Channel):
    """Signed batches of notes."""

    name, ack_within, max_body = "desk", 2.5, 100_000

    def __init__(self, instance: str = "", secret: bytes = SECRET, tenant: str | None = None) -> None:
        self.instance, self.secret, self.tenant = instance, secret, tenant
        self.read_bodies: list[bytes] = []
        self.answers: list[str] = []
        self.listening = asyncio.Event()

    def verify(self, call: Call) -> bool:
        given = call.header("x-signature")
        if given == "raise":
            raise RuntimeError("a channel of a user's")
        mac = hmac.new(self.secret, call.body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(mac.encode(), given.encode("latin-1", "replace"))

    def hello(self, call: Call) -> Reply | None:
        challenge = call.json().get("challenge")
        return Reply.text(str(challenge)) if challenge else None

    def read(self, call: Call) -> Iterable[Inbound]:
        self.read_bodies.append(call.body)
        for note in call.json()["notes"]:
            match note:
                case {"bot": _}:
                    yield Ignored("bot")
                case {"click": approval_id, "by": by}:
                    yield Click(session=note["session"], approval_id=approval_id, by=by, yes=note["yes"])
                case {"deleted": event_id}:
                    yield Withdraw(session=note["session"], event_id=event_id, by="dora")
                case {"stop": _}:
                    yield Stop(session=note["session"], by="dora")
                case _:
                    yield Message(session=note["session"], event_id=note["id"], content=note["text"], source="notes")

    async def allows(self, click: Click) -> str | None:
        return None if click.by == "desk:dora" else "you may not"

    async def told(self, click: Click, answered: Answered) -> None:
        self.answers.append(f"{answered.answer} {answered.by or answered.reason}")

    async def listen(self, take: Take) -> None:
        assert (await take(Call(b'{"notes": 1}'))).status == 400
        assert (await take(Call(json.dumps({"notes": [{"bot": 1}] * 201}).encode()))).status == 400
        call = Call(json.dumps({"notes": [{"session": "s", "id": "by-socket", "text": "hi"}]}).encode())
        assert (await take(call)).status == 200
        self.listening.set()
        await asyncio.Event().wait()


@pytest.fixture
def channels() -> list[Desk]:
    return [Desk(), Desk("second", b"another", tenant="other")]


@pytest.fixture
async def hooked(
    desk: Temporal, channels: list[Desk], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[httpx2.AsyncClient]:
    monkeypatch.setattr(bounds, "FAILED_BURST", 1_000.0)
    closing = asyncio.Event()
    app = gateway(DeskClient(desk, tenant="acme"), channels=channels, closing=closing)
    async with Served(app, closing) as server, server.http() as http:
        await asyncio.wait_for(channels[0].listening.wait(), 20)
        desk.calls.clear()
        yield http


def note(number: int, session: str = "s", text: str = "hi") -> dict[str, Any]:
    return {"session": session, "id": f"n{number}", "text": text}


def signed(body: bytes, secret: bytes = SECRET) -> dict[str, str]:
    return {"x-signature": hmac.new(secret, body, hashlib.sha256).hexdigest()}


async def deliver(http: httpx2.AsyncClient, *notes: dict[str, Any], path: str = "/hooks/desk") -> httpx2.Response:
    body = json.dumps({"notes": notes}).encode()
    return await http.post(path, content=body, headers=signed(body))


@pytest.mark.promise("SEC-5")
async def test_what_is_not_proved_is_not_read(hooked: httpx2.AsyncClient, desk: Temporal, channels: list[Desk]) -> None:
    before = len(channels[0].read_bodies)
    body = json.dumps({"notes": [note(1)]}).encode()
    proofs: list[dict[Any, Any]] = [
        *({}, {"x-signature": ""}, {"x-signature": "raise"}, signed(body, b"another"), signed(body + b" ")),
        {b"x-signature": b"\xff\xfe"},
        {"x-signature": "a" * 5_000},
    ]
    for proof in proofs:
        assert (await hooked.post("/hooks/desk", content=body, headers=proof)).status_code == 401
    chance = random.Random(1)
    for _ in range(100):
        answer = await hooked.post("/hooks/desk", content=chance.randbytes(chance.randrange(200)))
        assert answer.status_code == 401
    assert (await hooked.post("/hooks/desk/second", content=body, headers=signed(body))).status_code == 401
    assert (await hooked.post("/hooks/other", content=body, headers=signed(body))).status_code == 404
    assert (await hooked.get("/hooks/desk", headers=signed(b""))).status_code == 405
    large = b" " * 100_001
    assert (await hooked.post("/hooks/desk", content=large, headers=signed(large))).status_code == 413
    assert len(channels[0].read_bodies) == before
    assert desk.calls == []


@pytest.mark.promise("SEC-5")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'{"notes": 1}',
        b'{"notes": [1]}',
        b'{"notes": [{"session": "s"}]}',
        b"[" * 9_999,
    ],
)
async def test_what_a_channel_cannot_read_is_refused_and_never_a_fault_of_ours(
    hooked: httpx2.AsyncClient, desk: Temporal, body: bytes
) -> None:
    answer = await hooked.post("/hooks/desk", content=body, headers=signed(body))
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:inturn:error:unreadable"
    assert desk.calls == []


async def test_a_challenge_is_answered_and_a_delivery_with_an_empty_body(
    hooked: httpx2.AsyncClient, desk: Temporal
) -> None:
    body = b'{"challenge": "abc"}'
    assert (await hooked.post("/hooks/desk", content=body, headers=signed(body))).text == "abc"
    answer = await deliver(hooked, note(1), {"bot": True, "session": "s"}, note(2))
    assert (answer.status_code, answer.content) == (200, b"")
    assert desk.sent() == [("acme", "s", "n1"), ("acme", "s", "n2")]
    assert desk.calls[0][3]["metadata"] == {"channel": "desk"}


async def test_the_tenant_is_the_channels_whatever_a_delivery_says(hooked: httpx2.AsyncClient, desk: Temporal) -> None:
    body = json.dumps({"notes": [note(1) | {"tenant": "acme"}], "tenant": "acme"}).encode()
    answer = await hooked.post("/hooks/desk/second?tenant=acme", content=body, headers=signed(body, b"another"))
    assert answer.status_code == 200
    assert desk.sent() == [("other", "s", "n1")]
    assert desk.calls[0][3]["metadata"] == {"channel": "desk/second"}


async def test_a_delivery_is_acknowledged_only_once_it_is_durable(hooked: httpx2.AsyncClient, desk: Temporal) -> None:
    desk.up.clear()
    pending = asyncio.create_task(deliver(hooked, note(1)))
    await asyncio.sleep(0)
    assert not pending.done()
    desk.up.set()
    assert (await pending).status_code == 200
    assert desk.sent() == [("acme", "s", "n1")]


async def test_while_nothing_is_durable_the_platform_is_told_in_time_to_come_again(
    hooked: httpx2.AsyncClient, desk: Temporal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Desk, "ack_within", 0.9)
    desk.up.clear()
    answer = await deliver(hooked, note(1))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert desk.calls == []
    desk.up.set()
    assert (await deliver(hooked, note(1))).status_code == 200
    assert desk.sent() == [("acme", "s", "n1")]


async def test_of_a_batch_that_is_partly_durable_nothing_is_acknowledged(
    hooked: httpx2.AsyncClient, desk: Temporal
) -> None:
    notes = [note(number, f"s{number}") for number in range(20)]
    desk.raises["send"] = [Unavailable("away")]
    assert (await deliver(hooked, *notes)).status_code == 503
    assert len(desk.sent()) == 19
    assert (await deliver(hooked, *notes)).status_code == 200
    assert {event_id for _, _, event_id in desk.sent()} == {f"n{number}" for number in range(20)}


async def test_of_one_session_nothing_is_taken_behind_what_was_not(hooked: httpx2.AsyncClient, desk: Temporal) -> None:
    desk.raises["send"] = [Unavailable("away")]
    assert (await deliver(hooked, note(1), note(2), note(3))).status_code == 503
    assert desk.sent() == []
    await deliver(hooked, note(1), note(2), note(3))
    assert [event_id for _, _, event_id in desk.sent()] == ["n1", "n2", "n3"]


@pytest.mark.parametrize("error", [SessionClosed("closed"), InvalidEvent("no"), ValueError("strange")])
async def test_what_can_never_be_taken_does_not_come_again_and_keeps_nothing_back(
    hooked: httpx2.AsyncClient, desk: Temporal, error: Exception
) -> None:
    desk.raises["send"] = [error]
    answer = await deliver(hooked, note(1), note(2))
    if isinstance(error, ValueError) and not isinstance(error, InvalidEvent):
        assert answer.status_code == 503  # nobody knows what it was: it comes again
        return
    assert answer.status_code == 200
    assert [event_id for _, _, event_id in desk.sent()] == ["n2"]


async def test_clicks_count_by_who_the_platform_names_and_once(
    hooked: httpx2.AsyncClient, desk: Temporal, channels: list[Desk]
) -> None:
    desk.known.add(SessionKey("acme", "s"))
    click = {"session": "s", "click": "c:1", "by": "desk:dora", "yes": True}
    assert (await deliver(hooked, click)).status_code == 200
    [(name, tenant, session, given)] = [call for call in desk.calls if not call[3]["wait"]]
    assert (name, tenant, session) == ("approve", "acme", "s")
    assert (given["by"], given["via"], given["wait"], given["approval_id"]) == ("desk:dora", "desk", False, "c:1")
    assert (await deliver(hooked, click | {"by": "desk:eve"})).status_code == 200
    desk.raises["deny"] = [ApprovalConflict("approved", answer="approved", by="desk:dora")]
    assert (await deliver(hooked, click | {"yes": False})).status_code == 200
    assert len([call for call in desk.calls if not call[3]["wait"]]) == 1

    async def told() -> bool:
        return len(channels[0].answers) == 3

    await until(told)
    assert sorted(channels[0].answers) == ["approved desk:dora", "approved desk:dora", "refused you may not"]


async def test_a_click_that_is_not_durable_comes_again(hooked: httpx2.AsyncClient, desk: Temporal) -> None:
    desk.known.add(SessionKey("acme", "s"))
    desk.raises["approve"] = [Unavailable("away")]
    click = {"session": "s", "click": "c:1", "by": "desk:dora", "yes": True}
    assert (await deliver(hooked, click)).status_code == 503
    assert (await deliver(hooked, click)).status_code == 200


async def test_what_is_withdrawn_is_cancelled_and_a_stop_interrupts(hooked: httpx2.AsyncClient, desk: Temporal) -> None:
    assert (await deliver(hooked, {"session": "gone", "deleted": "n1"})).status_code == 200  # no such session: nothing
    desk.known.add(SessionKey("acme", "s"))
    await deliver(hooked, {"session": "s", "deleted": "n1"}, {"session": "s", "stop": True})
    assert [name for name, *_ in desk.calls] == ["cancel", "interrupt"]
    assert all(given["wait"] is False for *_, given in desk.calls)


async def test_a_flood_of_one_session_is_told_to_come_again(hooked: httpx2.AsyncClient, desk: Temporal) -> None:
    notes = [note(number, "flooded") for number in range(150)]
    answer = await deliver(hooked, *notes)
    assert answer.status_code == 503
    assert [event_id for _, _, event_id in desk.sent()] == [f"n{n}" for n in range(int(bounds.SESSION_BURST))]
    assert (await deliver(hooked, *[note(n, f"s{n}") for n in range(bounds.BATCH + 1)])).status_code == 400


async def test_hooks_alone_need_no_key_and_serve_no_sessions(desk: Temporal) -> None:
    closing = asyncio.Event()
    app = gateway(DeskClient(desk, tenant="acme"), channels=[Desk()], api=False, closing=closing)
    async with Served(app, closing) as server, server.http() as http:
        assert (await deliver(http, note(1))).status_code == 200
        assert (await http.get("/v1/sessions")).status_code == 404
        assert (await http.get("/livez")).status_code == 200

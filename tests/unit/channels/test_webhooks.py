"""Signed JSON, Standard Webhooks and Stripe: what they mean, and where answers go."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
import stripe as stripe_sdk
from standardwebhooks.webhooks import Webhook
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import inturn.testing
from inturn.channels import Call, Ignored, Message, Taken, Unreadable, route
from inturn.channels.outgoing import Callback
from inturn.channels.plain import Plain
from inturn.channels.signatures import standard_signature
from inturn.channels.standard import Standard, Stripe, found, pointer
from inturn.events import make_event
from inturn.testing.platforms.serving import Local
from tests.support.deliveries import delivered
from tests.support.steps import rig

pytestmark = pytest.mark.usefixtures("patient")

NOW = int(time.time())
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


def plain(body: bytes, **headers: str) -> Call:
    signature = hmac.new(b"secret", body, hashlib.sha256).hexdigest()
    return Call(body, headers={"x-signature": f"sha256={signature}", **headers}, now=NOW)


def standard(said: dict[str, Any], message_id: str = "msg_1") -> Call:
    body = json.dumps(said).encode()
    signature = standard_signature(SECRET, body, message_id, NOW)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(NOW), "webhook-signature": signature}
    return Call(body, headers=headers, now=NOW)


def stripes(said: dict[str, Any]) -> Call:
    body = json.dumps(said).encode()
    header = stripe_sdk.WebhookSignature.generate_signature_header(body.decode(), "whsec_x", NOW)
    return Call(body, headers={"stripe-signature": header}, now=NOW)


SAID = {"session": "order-17", "event_id": "paid-17", "content": "It was paid.", "sequence": 3, "metadata": {"a": 1}}
PAYLOAD = {"type": "order.paid", "data": {"customer_id": "cus_1", "cents": 900}}
CHARGE = {"id": "evt_1", "type": "charge.refunded", "created": NOW, "data": {"object": {"customer": "cus_1"}}}


def test_they_keep_what_every_channel_owes() -> None:
    inturn.testing.channel(Plain("secret", instance="shop"), plain(json.dumps(SAID).encode()))
    inturn.testing.channel(Standard(SECRET, session="/data/customer_id"), standard(PAYLOAD), window=300)
    inturn.testing.channel(Stripe("whsec_x"), stripes(CHARGE), window=300)


def test_signed_json_says_itself_what_it_is_but_not_whose() -> None:
    channel = Plain("secret", tenant="acme")
    [message] = channel.read(plain(json.dumps({**SAID, "tenant": "evil"}).encode()))
    assert isinstance(message, Message)
    assert (message.session, message.event_id, message.sequence, message.tenant) == ("order-17", "paid-17", 3, None)
    event = make_event(content=message.content, **message.options(channel.label))
    assert (event.source, event.metadata) == ("plain", {"channel": "plain", "a": 1})


def test_a_producer_cannot_have_its_answer_go_out_by_another_channel() -> None:
    body = json.dumps({**SAID, "metadata": {"channel": "slack", "to": "C1"}}).encode()
    [message] = Plain("secret").read(plain(body))
    assert isinstance(message, Message)
    assert message.options("plain")["metadata"]["channel"] == "plain"


def test_an_idempotency_key_stands_in_for_an_event_id() -> None:
    body = json.dumps({"session": "s", "content": "x"}).encode()
    [one] = Plain("secret").read(plain(body, **{"idempotency-key": "k 1"}))
    [same] = Plain("secret").read(plain(body, **{"idempotency-key": "k 1"}))
    assert one == same
    with pytest.raises(Unreadable):
        list(Plain("secret").read(plain(body)))


def test_the_sender_of_signed_json_hears_of_what_is_never_taken() -> None:
    [message] = Plain("secret").read(plain(json.dumps(SAID).encode()))
    taken, refused = Taken(message, event_id="e"), Taken(message, "refused", "the session is named otherwise")
    answered = [Plain("secret").answer([each]) for each in (taken, refused, Taken(message, "closed", "it was closed"))]
    assert [reply.status for reply in answered] == [200, 422, 410]
    assert answered[1].body == b"the session is named otherwise"
    assert Plain("secret").answer([Taken(message, "later")]).status == 503


@pytest.mark.parametrize("change", [{"session": ""}, {"session": 7}, {"content": None}, {"event_id": ["x"]}])
def test_a_message_without_what_it_needs_is_unreadable(change: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        list(Plain("secret").read(plain(json.dumps({**SAID, **change}).encode())))


def test_a_webhook_is_an_event_of_whom_it_names() -> None:
    channel = Standard(SECRET, instance="billing", session="/data/customer_id", content="/data", types=["order.paid"])
    [message] = channel.read(standard(PAYLOAD, "msg_7"))
    assert isinstance(message, Message)
    assert (message.session, message.event_id) == ("standard-billing:cus_1", "wh:billing:msg_7")
    assert json.loads(str(message.content)) == {"customer_id": "cus_1", "cents": 900}
    assert list(channel.read(standard({**PAYLOAD, "type": "other"}))) == [Ignored("type")]
    with pytest.raises(Unreadable):
        list(channel.read(standard({"type": "order.paid", "data": {}})))


def test_a_large_payload_is_cut_and_stays_an_event() -> None:
    [message] = Standard(SECRET, session="/data/customer_id").read(
        standard({"data": {"customer_id": "c", "text": "é🎉\u0001" * 100_000}})
    )
    assert isinstance(message, Message)
    make_event(content=message.content, **message.options("standard"))


def test_stripes_session_is_the_customers_or_what_the_object_says() -> None:
    [message] = Stripe("whsec_x").read(stripes(CHARGE))
    assert isinstance(message, Message)
    assert (message.session, message.event_id, message.sent_at) == ("stripe:cus_1", "stripe:evt_1", NOW)
    said = {"customer": "cus_1", "metadata": {"session": "order-17"}}
    [message] = Stripe("whsec_x").read(stripes({**CHARGE, "data": {"object": said}}))
    assert isinstance(message, Message)
    assert message.session == "stripe:order-17"
    with pytest.raises(Unreadable):
        list(Stripe("whsec_x").read(stripes({"data": {"object": said}})))


def test_a_pointer_leads_where_json_pointer_says() -> None:
    said = {"a": [{"b/c": 1, "~": 2}], "": 3}
    assert [found(said, pointer(text)) for text in ("/a/0/b~1c", "/a/0/~0", "/", "")] == [1, 2, 3, said]
    assert [found(said, pointer(text)) for text in ("/a/7", "/a/x", "/a/0/b~1c/d", "/a/-1", "/a/" + "9" * 99)] == [
        None
    ] * 5
    with pytest.raises(ValueError, match="JSON pointer"):
        pointer("a/b")


async def test_an_answer_is_posted_signed_once_under_one_id(tmp_path: Path) -> None:
    got = dict[str, dict[str, Any]]()
    statuses = [200, 500, 503]

    async def take(request: Request) -> Response:
        body = await request.body()
        Webhook(SECRET).verify(body, dict(request.headers))
        got[request.headers["webhook-id"]] = json.loads(body)
        return Response(status_code=statuses.pop())

    async with Local([Route("/answers", take, methods=["POST"])]) as server:
        channel = Plain("secret", callback=Callback(f"{server.url}/answers", SECRET))
        [message] = channel.read(plain(json.dumps(SAID).encode()))
        assert isinstance(message, Message)
        async with rig(tmp_path, ["Thanks."], deliver=route(channel)) as r:
            event = {"content": message.content, **message.options("plain")}
            await r.ask(message.event_id, event=event)
            assert await delivered(r, message.event_id) == 3
    [(key, told)] = got.items()
    assert len(key) == 32
    assert (told["type"], told["session"], told["data"]["text"]) == ("turn", "s1", "Thanks.")
    assert told["metadata"] == {"a": 1}


@pytest.mark.parametrize(("url", "secret"), [("ftp://x", SECRET), ("https://x", "no base64!")])
def test_an_address_or_secret_that_is_none_is_refused_when_it_is_made(url: str, secret: str) -> None:
    with pytest.raises(ValueError, match=r"address|base64"):
        Callback(url, secret)

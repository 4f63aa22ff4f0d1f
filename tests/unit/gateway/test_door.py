"""Who comes in: keys, scopes, tenants, hosts, origins, and what is too much."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from inturn.errors import Misconfigured
from inturn.keys import SessionKey
from inturn_gateway import bounds
from inturn_gateway.app import gateway
from inturn_gateway.auth.keys import KeyFile, edited, made
from inturn_gateway.settings import read_settings
from tests.support.gateway import DeskClient, Served, Temporal

EVENT = {"events": [{"type": "user.message", "content": "a"}]}


async def test_without_a_valid_credential_nobody_comes_in(served: Served, keys: dict[str, str]) -> None:
    shown = keys["acme"]
    wrong = [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Basic eDp5"},
        {"authorization": f"Bearer {shown[:-1]}x"},
        {"authorization": f"Bearer {shown}", "x-api-key": keys["other"]},
        {"x-api-key": "ik_"},
        {"cookie": f"key={shown}"},
        {"x-api-key": keys["late"]},
    ]
    async with served.http() as http:
        for headers in wrong:
            answer = await http.get("/v1/sessions", headers=headers)
            assert answer.status_code == 401, headers
            assert answer.json()["error"]["type"] == "authentication_error"
        assert (await http.post("/v1/sessions", content=b"{")).status_code == 401  # before anything is read
        assert (await http.get("/v1/sessions", headers={"x-api-key": shown})).status_code == 200


async def test_failed_proofs_of_an_address_are_counted_and_keep_nobody_else_out(
    served: Served, keys: dict[str, str]
) -> None:
    async with served.http("ik_aaaaaaaa_no") as http:
        statuses = [(await http.get("/v1/sessions")).status_code for _ in range(int(bounds.FAILED_BURST) + 1)]
        assert (await http.get("/v1/sessions", headers={"authorization": f"Bearer {keys['acme']}"})).status_code == 200
    assert statuses == [401] * int(bounds.FAILED_BURST) + [429]


async def test_a_key_does_what_its_scopes_say(served: Served, desk: Temporal, keys: dict[str, str]) -> None:
    desk.known.add(SessionKey("acme", "s"))
    async with served.http(keys["reader"]) as http:
        assert (await http.get("/v1/sessions/s")).status_code == 200
        refused = await http.post("/v1/sessions/s/events", json=EVENT)
        assert (refused.status_code, refused.json()["scope"]) == (403, "send")
        assert (await http.post("/v1/sessions", json={})).status_code == 403
    async with served.http(keys["sender"]) as http:
        assert (await http.post("/v1/sessions/s/events", json=EVENT)).status_code == 202
        assert (await http.get("/v1/sessions/s")).status_code == 403
        for event in (
            {"type": "user.tool_confirmation", "tool_use_id": "c:1", "result": "allow"},
            {"type": "inturn.pause"},
        ):
            assert (await http.post("/v1/sessions/s/events", json={"events": [event]})).status_code == 403
        assert (await http.post("/v1/sessions/s/approvals/c:1", json={"result": "allow"})).status_code == 403
        away = {**EVENT["events"][0], "metadata": {"channel": "slack", "to": "C1"}}
        assert (await http.post("/v1/sessions/s/events", json={"events": [away]})).status_code == 403
        assert (await http.post("/v1/sessions", json={"session_id": "s", "initial_events": [away]})).status_code == 403
    assert [name for name, *_ in desk.calls] == ["status", "submit", "create"]


async def test_a_bound_key_sees_its_own_sessions_and_speaks_to_its_agent(
    served: Served, desk: Temporal, keys: dict[str, str]
) -> None:
    desk.known |= {SessionKey("acme", "s"), SessionKey("acme", "desk-1")}
    async with served.http(keys["bound"]) as http:
        assert (await http.get("/v1/sessions/s")).status_code == 404
        assert (await http.get("/v1/sessions/desk-1")).status_code == 200
        assert [each["id"] for each in (await http.get("/v1/sessions")).json()["data"]] == ["desk-1"]
        assert (await http.post("/v1/sessions", json={"agent": "other"})).status_code == 403
        assert (await http.post("/v1/sessions", json={})).json()["id"].startswith("desk-")


@pytest.mark.promise("SEC-1")
async def test_no_route_shows_a_bound_key_another_agents_session(
    served: Served, desk: Temporal, keys: dict[str, str]
) -> None:
    desk.known |= {SessionKey("acme", "desk-1"), SessionKey("acme", "desk-2")}
    desk.agents[SessionKey("acme", "desk-2")] = "payroll"
    reads = ("", "/events", "/events/stream", "/turns/e", "/transcript", "/parked", "/unknown", "/audit")
    async with served.http(keys["bound"]) as http:
        for path in reads:
            assert (await http.get(f"/v1/sessions/desk-2{path}")).status_code == 404, path
        for event in ({"type": "inturn.close"}, *EVENT["events"]):
            assert (await http.post("/v1/sessions/desk-2/events", json={"events": [event]})).status_code == 404
        assert (await http.post("/v1/sessions/desk-2/approvals/c:1", json={"result": "allow"})).status_code == 404
        assert (await http.post("/v1/sessions", json={"session_id": "desk-2"})).status_code == 404
        assert [each["session_id"] for each in (await http.get("/v1/approvals")).json()["data"]] == ["desk-1"]
        assert (await http.post("/v1/sessions/desk-3/events", json=EVENT)).status_code == 202
    assert [(name, session) for name, _, session, _ in desk.calls if name not in ("status", "sessions")] == [
        ("submit", "desk-3")
    ]


@pytest.mark.promise("SEC-1")
async def test_no_route_reaches_another_tenants_session(served: Served, desk: Temporal, keys: dict[str, str]) -> None:
    desk.known.add(SessionKey("other", "theirs"))
    reads = ("", "/events", "/events/stream", "/turns/e", "/transcript", "/parked", "/unknown", "/audit")
    control = {"events": [{"type": "inturn.pause"}]}
    async with served.http(keys["acme"]) as http:
        for path in reads:
            assert (await http.get(f"/v1/sessions/theirs{path}")).status_code == 404, path
        assert (await http.post("/v1/sessions/theirs/events", json=control)).status_code == 404
        assert (await http.post("/v1/sessions/theirs/approvals/c:1", json={"result": "allow"})).status_code == 404
        await http.post("/v1/sessions/theirs/events", json=EVENT | {"tenant": "other"}, headers={"x-tenant": "other"})
        assert (await http.get("/v1/approvals")).json()["data"][0]["session_id"] == "theirs"  # acme's own, by now
    assert {tenant for _, tenant, *_ in desk.calls} == {"acme"}


async def test_a_revoked_key_is_out_with_the_next_request_and_a_broken_file_lets_nobody_in(
    served: Served, keys: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    async with served.http(keys["reader"]) as http:
        assert (await http.get("/v1/sessions")).status_code == 200
        with edited(path) as kept:
            kept[:] = [key for key in kept if not keys["reader"].startswith(key.id)]
        assert (await http.get("/v1/sessions")).status_code == 401
        path.write_text("{")
        assert (await http.get("/v1/sessions", headers={"authorization": f"Bearer {keys['acme']}"})).status_code == 503
        path.unlink()
        assert (await http.get("/v1/sessions", headers={"authorization": f"Bearer {keys['acme']}"})).status_code == 503


async def test_the_file_holds_no_key_and_is_its_owners_alone(keys: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text = path.read_text()
    assert all(shown not in text and shown.split("_", 2)[2] not in text for shown in keys.values())
    assert path.stat().st_mode & 0o077 == 0
    assert len(json.loads(text)["keys"]) == len(keys)


def test_a_key_counts_until_it_expires(tmp_path: Path) -> None:
    shown, key = made("acme", ("read",), expires_at=100.0)
    with edited(tmp_path / "keys.json") as kept:
        kept.append(key)
    at = [99.0]
    file = KeyFile(tmp_path / "keys.json", clock=lambda: at[0])
    assert file.caller(shown) is not None
    at[0] = 100.0
    assert file.caller(shown) is None


async def test_a_host_or_an_origin_that_is_not_listed_is_turned_away(served: Served, keys: dict[str, str]) -> None:
    async with served.http(keys["acme"]) as http:
        assert (await http.get("/v1/sessions", headers={"host": "evil.example"})).status_code == 421
        assert (await http.get("/livez", headers={"host": "10.0.0.9"})).status_code == 200
        assert (await http.get("/v1/sessions", headers={"origin": "https://evil.example"})).status_code == 403
        listed = await http.get("/v1/sessions", headers={"origin": "https://desk.example"})
        asked = {"origin": "https://desk.example", "access-control-request-method": "POST"}
        assert (await http.options("/v1/sessions", headers=asked)).status_code == 200
    assert listed.status_code == 200
    assert listed.headers["access-control-allow-origin"] == "https://desk.example"
    assert "access-control-allow-credentials" not in listed.headers
    assert "server" not in listed.headers


async def test_a_credential_has_so_many_requests_and_a_session_so_many_events(
    served: Served, keys: dict[str, str]
) -> None:
    many = {"events": [{"type": "user.message", "content": "a"}] * 50}
    async with served.http(keys["acme"]) as http:
        assert (await http.post("/v1/sessions/s/events", json=many)).status_code == 202
        full = await http.post("/v1/sessions/s/events", json=many)
        assert full.status_code == 429
        assert int(full.headers["retry-after"]) >= 1
        assert (await http.post("/v1/sessions/t/events", json=many)).status_code == 202
        answers = await asyncio.gather(*[http.get("/v1/sessions") for _ in range(110)])
    assert {answer.status_code for answer in answers} == {200, 429}


async def test_without_credentials_only_this_machine_is_served(desk: Temporal) -> None:
    closing = asyncio.Event()
    async with Served(gateway(DeskClient(desk), closing=closing), closing) as server, server.http() as http:
        assert (await http.get("/v1/sessions")).status_code == 200
        assert (await http.get("/v1/sessions", headers={"origin": server.url})).status_code == 403
        assert (await http.get("/v1/sessions", headers={"sec-fetch-site": "cross-site"})).status_code == 403
        assert (await http.get("/v1/sessions", headers={"x-forwarded-for": "10.0.0.9"})).status_code == 401
    with pytest.raises(Misconfigured, match="INTURN_KEYS"):
        read_settings(host="0.0.0.0").check()
    read_settings(host="127.0.0.1").check()

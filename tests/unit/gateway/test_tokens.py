"""JWTs: only what the issuer signed, for us, for now."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from inturn.errors import Misconfigured, Unavailable
from inturn_gateway.auth.tokens import Issuer, Tokens

ISSUER = "https://login.example"
KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
OTHER = ed25519.Ed25519PrivateKey.generate()


def public(algorithm: str, key: Any) -> dict[str, Any]:
    made: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return made | {"kid": algorithm, "alg": algorithm, "use": "sig"}


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    path = tmp_path / "jwks.json"
    listed = [public(algorithm, key) for algorithm, key in KEYS.items()]
    path.write_text(json.dumps({"keys": [*listed, {"kty": "oct", "kid": "HS256", "k": "c2VjcmV0"}, 7, {}]}))
    return Tokens(Issuer(ISSUER, "inturn", str(path)))


def claims(**changed: Any) -> dict[str, Any]:
    now = time.time()
    whole = {"iss": ISSUER, "aud": "inturn", "exp": now + 300, "sub": "u7", "tenant": "acme", "scope": "read send x"}
    return {name: value for name, value in (whole | changed).items() if value is not None}


def signed(algorithm: str = "EdDSA", key: Any = None, head: Mapping[str, Any] = {}, **changed: Any) -> str:
    token: str = jwt.encode(claims(**changed), key or KEYS[algorithm], algorithm, {"kid": algorithm, **head})
    return token


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_token_of_the_issuer_names_tenant_and_scopes(tokens: Tokens, algorithm: str) -> None:
    caller = await tokens.caller(signed(algorithm))
    assert caller is not None
    assert (caller.tenant, sorted(caller.scopes), caller.who) == ("acme", ["read", "send"], f"oidc:{ISSUER}#u7")
    listed = await tokens.caller(signed(algorithm, scope=["inturn:operate"]))
    assert listed is not None
    assert listed.scopes == {"operate"}


def _none() -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "kid": "EdDSA"}, claims())]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), ""])


def _confused() -> str:
    pem = (
        KEYS["RS256"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    head, body = ({"alg": "HS256", "kid": "RS256", "typ": "JWT"}, claims())
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (head, body)]
    mac = hmac.new(pem, ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, base64.urlsafe_b64encode(mac).decode().rstrip("=")])


FORGED: dict[str, Callable[[], str]] = {
    "none": _none,
    "HS256 with the public key": _confused,
    "a secret of the set": lambda: jwt.encode(claims(), "secret" * 8, "HS256", {"kid": "HS256"}),
    "another key": lambda: signed(key=OTHER),
    "unknown kid": lambda: signed(head={"kid": "new"}),
    "no kid": lambda: jwt.encode(claims(), KEYS["EdDSA"], "EdDSA"),
    "kid of another algorithm": lambda: signed("ES256", head={"kid": "EdDSA"}),
    "crit": lambda: signed(head={"crit": ["b64"], "b64": True}),
    "another audience": lambda: signed(aud="others"),
    "no audience": lambda: signed(aud=None),
    "another issuer": lambda: signed(iss="https://evil.example"),
    "no issuer": lambda: signed(iss=None),
    "expired": lambda: signed(exp=time.time() - 60),
    "no expiry": lambda: signed(exp=None),
    "not yet": lambda: signed(nbf=time.time() + 600),
    "no tenant": lambda: signed(tenant=None),
    "a tenant that is none": lambda: signed(tenant="a/b"),
    "tenants": lambda: signed(tenant=["acme"]),
    "an endless expiry": lambda: signed(exp=float("inf")),
    "half a character": lambda: signed(sub="\ud800"),
    "no token": lambda: "a.b.c",
    "dots": lambda: "." * 8_000,
    "no text": lambda: "\udc80.\udc80.",
}


@pytest.mark.parametrize("forged", FORGED)
async def test_a_token_that_lacks_anything_is_nobodys(tokens: Tokens, forged: str) -> None:
    assert await tokens.caller(FORGED[forged]()) is None


async def test_keys_are_read_again_for_an_unknown_one_but_not_for_each(tmp_path: Path) -> None:
    path, now = tmp_path / "jwks.json", [0.0]
    path.write_text(json.dumps({"keys": []}))
    tokens = Tokens(Issuer(ISSUER, "inturn", str(path)), clock=lambda: now[0])
    assert await tokens.caller(signed()) is None
    path.write_text(json.dumps({"keys": [public("EdDSA", KEYS["EdDSA"])]}))
    assert await tokens.caller(signed()) is None  # asked a moment ago
    now[0] = 31
    assert await tokens.caller(signed()) is not None
    path.unlink()
    now[0] = 100
    assert await tokens.caller(signed()) is not None
    now[0] = 700  # too old to be believed
    with pytest.raises(Unavailable):
        await tokens.caller(signed())


def test_keys_come_by_a_way_that_nobody_can_change() -> None:
    with pytest.raises(Misconfigured, match="https"):
        Issuer(ISSUER, "inturn", "http://login.example/jwks")
    Issuer(ISSUER, "inturn", "http://127.0.0.1:1/jwks")
    Issuer(ISSUER, "inturn", "https://login.example/jwks")


@pytest.mark.parametrize("answer", [b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{", b""])
async def test_an_issuer_that_answers_nonsense_is_away(answer: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        tokens = Tokens(Issuer(ISSUER, "inturn", f"http://127.0.0.1:{port}/jwks"))
        with pytest.raises(Unavailable):
            await tokens.caller(signed())

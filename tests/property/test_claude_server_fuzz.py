"""Whatever bytes come in, the strict Claude server answers with success or a mistake of the client's, never a crash."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inturn.testing.claude.app import Claude

HEADERS = {"authorization": "Bearer k", "anthropic-version": "2026-10-21"}
PATHS = ("/v1/messages", "/_test/script", "/_test/faults", "/_test/requests", "/_test/reset", "/health", "/", "/%ff")

# Any JSON, with the API's own words in it often enough to get past the first check.
WORDS = st.sampled_from(
    "user assistant system text tool_use tool_result thinking image ephemeral a hi claude-x".split()
)
ARGUMENTS = st.sampled_from(
    ["{}", "{", '{"x": NaN}', '{"x": 1e999}', r'{"x": "\ud800"}', r'{"x": "\u0000"}', "[]", "]]"]
)
SAID = (
    WORDS
    | ARGUMENTS.map(lambda text: f"[[tool a {text}]]")
    | st.sampled_from(
        ["", " ", "\ud800", "\x00", "[[tool a]]", "[[fault 429]]", "[[fault hang seconds=0]]", "[[stop refusal]]"]
    )
)
KEYS = st.sampled_from(
    "type text role content id name input tool_use_id is_error thinking signature cache_control source data media_type "
    "title input_schema x when kind status at".split()
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | SAID
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)

TEXTS = st.fixed_dictionaries({"type": st.just("text"), "text": SAID}, optional={"cache_control": JSON})
RESULTS = st.fixed_dictionaries(
    {"type": st.just("tool_result"), "tool_use_id": WORDS},
    optional={"content": SAID | st.lists(TEXTS, max_size=2) | JSON, "is_error": st.booleans()},
)
CALLS = st.fixed_dictionaries(
    {"type": st.just("tool_use"), "id": WORDS, "name": WORDS, "input": st.dictionaries(KEYS, JSON, max_size=2)}
)
THOUGHTS = st.fixed_dictionaries(
    {"type": st.just("thinking"), "thinking": SAID, "signature": WORDS | st.text(max_size=30)}
)


def message(role: str, *blocks: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A message whose blocks mostly fit its role."""
    content = SAID | st.lists(st.one_of(*blocks, *blocks, JSON), min_size=1, max_size=4)
    return st.fixed_dictionaries({"role": st.just(role), "content": content})


USERS = message("user", TEXTS, RESULTS)
MESSAGES = st.builds(
    lambda first, rest: [first, *rest],
    USERS,
    st.lists(USERS | message("assistant", TEXTS, CALLS, THOUGHTS) | message("system", TEXTS), max_size=4),
)
BODIES = st.fixed_dictionaries(
    {"model": st.sampled_from(["claude-sonnet-5-5", "claude-sonnet-4-5", "x"]), "max_tokens": st.integers(-1, 99)},
    optional={
        "messages": MESSAGES | JSON,
        "system": JSON,
        "tools": st.lists(JSON, max_size=2),
        "tool_choice": JSON,
        "thinking": JSON,
        "metadata": st.fixed_dictionaries({"user_id": SCALARS}) | JSON,
        "stream": st.booleans(),
        "cache_control": JSON,
        "x": JSON,
    },
)


async def call(
    claude: Claude, path: str, data: bytes, *, method: str = "POST", headers: dict[str, str], query: bytes = b""
) -> tuple[int, bytes]:
    """Call the application as an HTTP server would, with the body in two parts."""
    half = len(data) // 2
    parts = [(data[:half], True), (data[half:], False)]
    sent: list[Any] = []

    async def receive() -> Any:
        if parts:
            body, more = parts.pop(0)
            return {"type": "http.request", "body": body, "more_body": more}
        return await asyncio.Event().wait()

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "root_path": "",
    }
    await claude.app()(scope, receive, send)
    return sent[0]["status"], b"".join(event.get("body", b"") for event in sent[1:])


def send(path: str, data: bytes, *, method: str = "POST", headers: dict[str, str] = HEADERS, query: bytes = b"") -> int:
    async def main() -> tuple[int, bytes]:
        return await asyncio.wait_for(call(Claude(), path, data, method=method, headers=headers, query=query), 10)

    status, body = asyncio.run(main())
    assert status < 500, body
    if status >= 400 and method != "HEAD":
        error = json.loads(body)
        assert error["type"] == "error"
        assert {"type", "message"} <= error["error"].keys()
    return status


FUZZ = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
def test_arbitrary_bytes_are_refused_without_a_crash(data: bytes) -> None:
    assert send("/v1/messages", data) == 400


@FUZZ
@given(JSON | BODIES)
def test_arbitrary_json_is_answered_without_a_crash(body: Any) -> None:
    send("/v1/messages", json.dumps(body).encode())


@FUZZ
@given(MESSAGES)
def test_arbitrary_conversations_are_answered_without_a_crash(messages: Any) -> None:
    body = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": messages, "stream": True}
    send("/v1/messages", json.dumps(body).encode())


@FUZZ
@given(
    st.sampled_from(PATHS),
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"]),
    JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50),
    st.binary(max_size=30),
)
def test_no_path_method_or_query_makes_it_crash(path: str, method: str, data: bytes, query: bytes) -> None:
    send(path, data, method=method, query=query)


@FUZZ
@given(
    st.dictionaries(
        st.sampled_from(["authorization", "x-api-key", "anthropic-version", "anthropic-beta", "content-length"]),
        st.text(st.characters(max_codepoint=255), max_size=30),
    )
)
def test_no_headers_make_it_crash(headers: dict[str, str]) -> None:
    send("/v1/messages", b"{}", headers=headers)


def test_deep_and_huge_json_is_refused_without_a_crash() -> None:
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    number = b'{"model":"claude-x","max_tokens":' + b"9" * 100_000 + b',"messages":[]}'
    argument = (
        json.dumps({"type": "tool_use", "id": "a", "name": "a", "input": {}})[:-3] + '{"n":' + "9" * 100_000 + "}}"
    )
    message = '[{"role":"user","content":"x"},{"role":"assistant","content":[' + argument + "]}]"
    within = '{"model":"claude-x","max_tokens":9,"messages":' + message + "}"
    for data in (deep, b"[" * 1_000_000, number, within.encode()):
        assert send("/v1/messages", data) == 400


def test_a_body_over_the_limit_is_too_large() -> None:
    assert send("/v1/messages", b" " * (32 * 1024 * 1024 + 1)) == 413

"""The health endpoint answers orchestrators: dead only for what a restart mends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from inturn_worker import health
from inturn_worker.health import respond, serve_health


async def fine() -> None:
    """A check that passes."""


async def broken() -> None:
    """A check that fails."""
    raise ConnectionError("no route\nto the server")


async def hanging() -> None:
    """A check that never ends."""
    await asyncio.Event().wait()


async def _get(port: int, request: bytes) -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body) if body else None


async def test_a_worker_that_works_is_live_and_ready() -> None:
    async with serve_health("127.0.0.1", 0, {"server": fine, "journal": fine}) as port:
        assert await _get(port, b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n") == (200, {"status": "ok"})
        assert await _get(port, b"GET /readyz?verbose HTTP/1.0\r\n\r\n") == (200, {"server": "ok", "journal": "ok"})
        assert await _get(port, b"HEAD /readyz HTTP/1.1\r\n\r\n") == (200, None)


async def test_a_broken_server_makes_the_worker_unready_but_not_dead() -> None:
    assert await respond("GET", "/readyz", {"server": broken, "journal": fine}) == (
        503,
        {"server": "no route to the server", "journal": "ok"},
    )
    assert (await respond("GET", "/livez", {"server": broken}))[0] == 200


async def test_a_check_that_hangs_counts_as_failed_in_time(monkeypatch: Any) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.05)
    status, body = await respond("GET", "/readyz", {"journal": hanging})
    assert (status, body) == (503, {"journal": "no answer within 0.05 s"})


@pytest.mark.promise("SUR-17")
async def test_probes_in_any_number_cost_one_look_a_second(monkeypatch: Any) -> None:
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)

    monkeypatch.setattr(health, "FRESH", 30)
    async with serve_health("127.0.0.1", 0, {"server": look, "journal": broken}) as port:
        asked = [_get(port, b"GET /readyz HTTP/1.1\r\n\r\n") for _ in range(50)]
        answers = await asyncio.gather(*asked)
        assert looks == 1
        assert {status for status, _ in answers} == {503}
        monkeypatch.setattr(health, "FRESH", 0)
        await _get(port, b"GET /readyz HTTP/1.1\r\n\r\n")
        assert looks == 2


@pytest.mark.promise("SUR-17")
async def test_what_only_a_restart_mends_is_said_to_whoever_restarts() -> None:
    trouble = "64 threads hang: 64 of hang (acme/s1)"
    async with serve_health("127.0.0.1", 0, {}, alive=lambda: trouble) as port:
        assert await _get(port, b"GET /livez HTTP/1.1\r\n\r\n") == (503, {"status": trouble})


async def test_other_paths_methods_and_noise_are_refused_and_the_endpoint_goes_on() -> None:
    async with serve_health("127.0.0.1", 0, {}) as port:
        assert (await _get(port, b"GET /metrics HTTP/1.1\r\n\r\n"))[0] == 404
        assert (await _get(port, b"POST /livez HTTP/1.1\r\n\r\n"))[0] == 405
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x00" * 20_000)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert (await _get(port, b"GET /livez HTTP/1.1\r\n\r\n"))[0] == 200


async def test_processes_of_one_worker_share_the_port() -> None:
    async with serve_health("127.0.0.1", 0, {}, shared=True) as port:
        async with serve_health("127.0.0.1", port, {}, shared=True) as same:
            assert same == port

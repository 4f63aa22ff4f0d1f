"""The gateway over the loopback, with keys of two tenants and a journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from inturn.journal import Journal
from inturn_gateway import bounds
from inturn_gateway.app import gateway
from inturn_gateway.auth.caller import SCOPES
from inturn_gateway.auth.keys import edited, made
from tests.support.gateway import DeskClient, Served, Temporal


@pytest.fixture
def desk() -> Temporal:
    return Temporal()


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """Keys by a name, in the file that is served."""
    asked = {
        "acme": made("acme", SCOPES),
        "other": made("other", SCOPES),
        "reader": made("acme", ("read",)),
        "sender": made("acme", ("send",)),
        "bound": made("acme", SCOPES, agent="support", prefix="desk-"),
        "late": made("acme", SCOPES, expires_at=1.0),
    }
    with edited(tmp_path / "keys.json") as kept:
        kept.extend(key for _, key in asked.values())
    return {name: shown for name, (shown, _) in asked.items()}


@pytest.fixture(autouse=True)
def _no_bucket_fills_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a test takes."""
    for rate in ("CALLER_RATE", "SESSION_RATE", "TENANT_RATE", "FAILED_RATE"):
        monkeypatch.setattr(bounds, rate, 0.001)


@pytest.fixture
async def served(desk: Temporal, keys: dict[str, str], tmp_path: Path, journal: Journal) -> AsyncGenerator[Served]:
    closing = asyncio.Event()
    app = gateway(
        DeskClient(desk, journal=journal),
        keys=tmp_path / "keys.json",
        origins=["https://desk.example"],
        closing=closing,
    )
    async with Served(app, closing) as server:
        yield server

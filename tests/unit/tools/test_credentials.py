"""A credential is refreshed by one at a time, the others wait and reuse it."""

from __future__ import annotations

import asyncio
import stat
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from inturn.errors import InturnError
from inturn.testing import context
from inturn.tools import Credentials, CredentialStore, Granted
from inturn.tools.credential_store import Slot
from inturn.tools.credentials import MARGIN, Asked

pytestmark = pytest.mark.promise("SHR-8")


class Issuer:
    """Refreshes when it is let; keeps count."""

    def __init__(self, expires_in: float | None = 3600) -> None:
        self.expires_in = expires_in
        self.asked: list[Asked] = []
        self.running = 0
        self.most = 0
        self.fail: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, asked: Asked) -> Granted:
        self.asked.append(asked)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            await self.go_on.wait()
            if self.fail:
                raise self.fail
            n = len(self.asked)
            return Granted(f"token-{n}", expires_in=self.expires_in, renewal=f"renewal-{n}")
        finally:
            self.running -= 1


async def value(credentials: Credentials, name: str = "a", tenant: str = "t") -> str:
    return (await credentials.get(name, tenant=tenant)).get_secret_value()


async def test_a_hundred_who_ask_at_once_share_one_refresh() -> None:
    issuer = Issuer()
    credentials = Credentials({"a": issuer})
    assert set(await asyncio.gather(*(value(credentials) for _ in range(100)))) == {"token-1"}
    assert await value(credentials) == "token-1"
    assert len(issuer.asked) == 1


async def test_it_is_refreshed_before_it_runs_out_with_what_the_last_one_gave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("inturn.tools.credentials.time", SimpleNamespace(time=lambda: now[0]))
    issuer = Issuer(expires_in=3600)
    credentials = Credentials({"a": issuer})
    assert await value(credentials) == "token-1"
    now[0] += 3600 - MARGIN - 1
    assert await value(credentials) == "token-1"
    now[0] += 2
    assert set(await asyncio.gather(*(value(credentials) for _ in range(10)))) == {"token-2"}
    last = issuer.asked[1].last
    assert last is not None
    assert last.renewal is not None
    assert last.renewal.get_secret_value() == "renewal-1"


async def test_a_failure_reaches_all_who_waited_and_nobody_after_them() -> None:
    issuer = Issuer()
    issuer.fail = RuntimeError("the issuer says: secret-in-error")
    credentials = Credentials({"a": issuer})
    ends = await asyncio.gather(*(value(credentials) for _ in range(5)), return_exceptions=True)
    assert {type(end) for end in ends} == {InturnError}
    assert "secret-in-error" not in str(ends[0])
    assert len(issuer.asked) == 1
    issuer.fail = None
    assert await value(credentials) == "token-2"


async def test_one_that_is_still_good_is_given_while_the_issuer_is_away() -> None:
    issuer = Issuer(expires_in=MARGIN / 2)
    credentials = Credentials({"a": issuer})
    assert await value(credentials) == "token-1"
    issuer.fail = RuntimeError("away")
    assert await value(credentials) == "token-1"
    assert len(issuer.asked) == 2


async def test_a_refresh_that_hangs_is_given_up() -> None:
    issuer = Issuer()
    issuer.go_on.clear()
    credentials = Credentials({"a": issuer}, timeout=0.05)
    with pytest.raises(InturnError, match="TimeoutError"):
        await value(credentials)
    issuer.go_on.set()
    assert await value(credentials) == "token-2"


async def test_who_stops_waiting_does_not_stop_the_refresh_for_the_others() -> None:
    issuer = Issuer()
    issuer.go_on.clear()
    credentials = Credentials({"a": issuer})
    first, second = (asyncio.ensure_future(value(credentials)) for _ in range(2))
    while not issuer.running:
        await asyncio.sleep(0)
    first.cancel()
    issuer.go_on.set()
    assert await second == "token-1"
    assert first.cancelled()
    assert issuer.most == 1


async def test_nobody_waits_and_the_refresh_fails_without_a_word() -> None:
    issuer = Issuer()
    issuer.fail = RuntimeError("away")
    credentials = Credentials({"a": issuer})
    only = asyncio.ensure_future(value(credentials))
    await asyncio.sleep(0)
    only.cancel()
    while issuer.running or not issuer.asked:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert only.cancelled()


async def test_each_tenant_has_its_own_where_it_is_by_tenant() -> None:
    shared, own = Issuer(), Issuer()
    credentials = Credentials({"a": shared}, by_tenant={"b": own})
    pairs = [(name, tenant) for name in "ab" for tenant in ("t1", "t2")]
    got = [await value(credentials, name, tenant) for name, tenant in pairs]
    assert got == ["token-1", "token-1", "token-1", "token-2"]
    assert [asked.tenant for asked in (*shared.asked, *own.asked)] == [None, "t1", "t2"]
    with pytest.raises(ValueError, match="shared and by tenant"):
        Credentials({"a": shared}, by_tenant={"a": own})


@dataclass
class Resources:
    credentials: Credentials


async def test_a_tool_finds_them_in_what_the_lifespan_yielded() -> None:
    credentials = Credentials({"a": Issuer()})
    for resources in (credentials, {"credentials": credentials}, Resources(credentials)):
        assert (await context(resources=resources).credentials("a")).get_secret_value() == "token-1"
    for nothing in (None, {}, {"credentials": "x"}, object()):
        with pytest.raises(InturnError, match="this worker has no credentials"):
            await context(resources=nothing).credentials("a")
    with pytest.raises(InturnError, match="no credential named 'b'; there are: a"):
        await context(resources=credentials).credentials("b")


# The store.


async def test_a_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    credentials = Credentials({"a": Issuer()}, store=CredentialStore(tmp_path / "store"))
    await value(credentials)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(InturnError, match="chmod 700"):
        await value(Credentials({"a": Issuer()}, store=CredentialStore(tmp_path / "open")))


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b"{}", b"\xff"])
async def test_a_store_that_was_damaged_is_written_anew(tmp_path: Path, kept: bytes) -> None:
    store = CredentialStore(tmp_path / "store")
    await value(Credentials({"a": Issuer()}, store=store))
    [file] = (tmp_path / "store").glob("*.json")
    file.write_bytes(kept)
    assert await value(Credentials({"a": Issuer()}, store=store)) == "token-1"
    assert b"token-1" in file.read_bytes()


async def test_one_that_cannot_be_stored_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Slot, kept: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Slot, "write", full)
    assert await value(Credentials({"a": Issuer()}, store=CredentialStore(tmp_path / "store"))) == "token-1"
    assert "cannot be stored" in caplog.text


async def test_a_renewal_that_could_not_be_stored_is_not_used_a_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("inturn.tools.credentials.time", SimpleNamespace(time=lambda: now[0]))
    issuer = Issuer(expires_in=3600)
    credentials = Credentials({"a": issuer}, store=CredentialStore(tmp_path / "store"))
    assert await value(credentials) == "token-1"
    with monkeypatch.context() as full_disk:
        full_disk.setattr(Slot, "write", Mock(side_effect=OSError(28, "No space left on device")))
        now[0] += 3600
        assert await value(credentials) == "token-2"
    now[0] += 3600
    assert await value(credentials) == "token-3"
    used = [asked.last.renewal.get_secret_value() for asked in issuer.asked if asked.last and asked.last.renewal]
    assert used == ["renewal-1", "renewal-2"]

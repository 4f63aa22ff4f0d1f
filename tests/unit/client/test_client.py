"""The client before it connects: settings, ids, and what is shared."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from inturn import Client, InturnError, InvalidEvent, JournalUnavailable
from inturn.client.listing import query_for
from inturn.client.settings import read_settings, temporal_config
from inturn.client.temporal import server_checks
from inturn.errors import Misconfigured, Unavailable
from inturn.journal import open_journal
from tests.support.stores import journal_url


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "none.toml"))
    for name in ("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "INTURN_JOURNAL", "INTURN_TASK_QUEUE"):
        monkeypatch.delenv(name, raising=False)


def test_making_a_client_and_a_handle_does_no_io() -> None:
    session = Client("nowhere.invalid:1", tenant="acme").session("order-17", agent="support")
    assert (session.tenant, session.session_id, session.agent) == ("acme", "order-17", "support")
    assert repr(session) == "<Session acme/order-17>"


def test_with_options_shares_the_connection_and_changes_only_what_is_named() -> None:
    client = Client(tenant="acme", task_queue="q1")
    other = client.with_options(tenant="other")
    assert (other.tenant, other._task_queue) == ("other", "q1")
    assert other._connection is client._connection
    assert client.with_options(task_queue="q2").tenant == "acme"
    assert client.tenant == "acme"


def test_patience_is_the_settings_unless_a_client_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTURN_PATIENCE", "20")
    client = Client()
    patient = client.with_options(patience=300).with_options(tenant="other")
    assert [c.session("s")._transport.patience for c in (client, patient)] == [20, 300]
    with pytest.raises(ValueError, match="patience is 0 s"):
        client.with_options(patience=0)


@pytest.mark.parametrize("wrong", ["", "a/b", "a b", "x" * 129, "ü", "a'b"])
def test_what_is_no_id_is_refused_where_it_is_named(wrong: str) -> None:
    client = Client()
    for use in (
        lambda: Client(tenant=wrong),
        lambda: client.with_options(tenant=wrong),
        lambda: client.session(wrong),
        lambda: client.session("s", agent=wrong),
        lambda: client.cursor(wrong),
        lambda: query_for("t", agent=wrong, state=None, parked=None),
    ):
        with pytest.raises(InvalidEvent):
            use()


def test_where_the_server_is_comes_from_argument_environment_dotenv_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _place(temporal_config()) == ("localhost:7233", "default")
    (tmp_path / ".env").write_text("TEMPORAL_ADDRESS=dotenv:1\nTEMPORAL_NAMESPACE=dotenv\n")
    assert _place(temporal_config()) == ("dotenv:1", "dotenv")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "environment:1")
    assert _place(temporal_config()) == ("environment:1", "dotenv")
    assert _place(temporal_config("argument:1", "argument")) == ("argument:1", "argument")


def _place(config: dict[str, Any]) -> tuple[str, str]:
    return config["target_host"], config["namespace"]


def test_a_profile_is_read_as_every_temporal_client_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = tmp_path / "temporal.toml"
    profile.write_text('[profile.default]\naddress = "profile:1"\nnamespace = "profile"\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profile))
    assert _place(temporal_config()) == ("profile:1", "profile")


def test_an_unreadable_profile_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = tmp_path / "temporal.toml"
    profile.write_text("[[[")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profile))
    with pytest.raises(InturnError, match="configuration cannot be read"):
        temporal_config()


@pytest.mark.parametrize("raw", [b"NAME=gr\xfc\xdfe\n", b"\xff\xfeN\x00", b"\x80"])
def test_a_dotenv_that_cannot_be_read_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(raw)

    async def status() -> None:
        await Client().session("s").status()

    for made in (lambda: asyncio.run(status()), temporal_config, read_settings):
        with pytest.raises(Misconfigured, match=r"\.env cannot be read"):
            made()


def test_settings_come_from_the_environment_and_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (read_settings().task_queue, read_settings().journal) == ("inturn", None)
    (tmp_path / ".env").write_text("INTURN_TASK_QUEUE=dotenv\nINTURN_UNKNOWN=1\n")
    monkeypatch.setenv("INTURN_JOURNAL", "sqlite:///j.db")
    settings = read_settings(patience=None)
    assert (settings.task_queue, settings.journal, settings.patience) == ("dotenv", "sqlite:///j.db", 30)


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTURN_PATIENCE", "soon")
    with pytest.raises(InturnError, match="INTURN_PATIENCE"):
        read_settings()


async def test_without_a_journal_reading_says_where_to_name_one() -> None:
    with pytest.raises(JournalUnavailable, match="INTURN_JOURNAL"):
        _ = [entry async for entry in Client().session("s").entries()]
    assert list(Path().iterdir()) == []  # looking for the default one has not made it


async def test_the_workers_default_journal_is_found_beside_it(tmp_path: Path) -> None:
    journal = open_journal("sqlite:///inturn.sqlite")
    await journal.open()
    await journal.close()
    client = Client()
    assert [entry async for entry in client.session("s").entries()] == []
    await client.aclose()


async def test_a_journal_that_was_handed_in_is_not_closed(tmp_path: Path) -> None:
    journal = open_journal(journal_url(tmp_path))
    await journal.open()
    client = Client(journal=journal)
    assert [entry async for entry in client.session("s").entries()] == []
    await client.aclose()
    assert await journal.cursor("t", "c", "s") == 0
    await journal.close()


async def test_a_stored_cursor_never_moves_back(tmp_path: Path) -> None:
    cursor = Client(journal=journal_url(tmp_path)).cursor("mirror")
    assert await cursor.position("s") == 0
    assert await cursor.move("s", 7) == 7
    assert await cursor.move("s", 3) == 7
    await cursor.connection.close()


def test_every_listing_names_its_tenant_by_the_workflow_id() -> None:
    query = query_for("acme", agent="support", state="paused", parked=True)
    assert "WorkflowId STARTS_WITH 'acme/'" in query
    assert "InturnTenant" not in query
    assert "InturnAgent = 'support'" in query
    assert "InturnState = 'paused'" in query
    assert "InturnParked > 0" in query


@pytest.mark.promise("SEC-5")
@pytest.mark.parametrize("address", ["host:99999", ":7233", "a b:7233", "h\u00e9:x", "[::1:7233", "\n"])
async def test_an_address_that_none_can_have_is_said_to_be_none(address: str) -> None:
    async with asyncio.timeout(30):
        with pytest.raises((Misconfigured, Unavailable)) as refused:
            await server_checks.connect(temporal_config(address), timeout=0.2, advice="Name another.")
    assert len(str(refused.value)) < 1_000

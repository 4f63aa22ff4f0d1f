"""Which model a worker asks, and what is wrong with it, said when the worker starts."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from inturn.agents import Agent
from inturn.errors import Misconfigured
from inturn.models import ModelMessage, ModelRequest, ModelSettings, OnDelta
from inturn.models.facts import ModelFacts
from inturn.models.prices import known_prices
from inturn.models.scripted import ScriptedModel
from inturn.testing import StrictClaude
from inturn.turns.budget import Budget
from inturn.turns.compaction import Compaction
from inturn_activities.limits.limits import Limits
from inturn_activities.model.claude import Claude
from inturn_worker.models import check_prices, check_settings, choose_model, looked_up
from inturn_worker.settings import Settings
from tests.support.waiting import until

CREDENTIALS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "ANTHROPIC_CONFIG_DIR")


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment in which the SDK finds no credentials; returns where it would look for profiles."""
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest_asyncio.fixture
async def server() -> AsyncIterator[StrictClaude]:
    """A strict server."""
    async with StrictClaude() as made:
        yield made


def test_without_credentials_the_scripted_model_answers_and_says_so(
    nothing: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, name = choose_model(Settings())
    assert isinstance(model, ScriptedModel)
    assert name == "scripted"
    assert "nothing is sent to Claude" in caplog.text


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_a_key_or_a_token_counts(nothing: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "k")
    assert choose_model(Settings())[1] == "anthropic"


@pytest.mark.parametrize("profile", ["default", "work"])
def test_a_profile_that_the_sdk_finds_counts(nothing: Path, monkeypatch: pytest.MonkeyPatch, profile: str) -> None:
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(nothing))
    (nothing / "configs").mkdir()
    (nothing / "credentials").mkdir()
    kept = {"authentication": {"type": "user_oauth", "credentials_path": str(nothing / "credentials" / "c.json")}}
    (nothing / "configs" / f"{profile}.json").write_text(json.dumps(kept))
    (nothing / "credentials" / "c.json").write_text(json.dumps({"access_token": "t"}))
    if profile != "default":
        monkeypatch.setenv("ANTHROPIC_PROFILE", profile)
    assert choose_model(Settings())[1] == "anthropic"


def test_a_profile_that_cannot_be_read_is_one_line(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(nothing))
    (nothing / "configs").mkdir()
    (nothing / "configs" / "broken.json").write_text("{")
    monkeypatch.setenv("ANTHROPIC_PROFILE", "broken")
    with pytest.raises(Misconfigured, match="credentials for Anthropic cannot be read"):
        choose_model(Settings())


class _Own(ScriptedModel):
    def facts(self, model: str) -> ModelFacts:
        return ModelFacts(known=True, effort=frozenset({"low"}))


def test_settings_that_a_providers_model_refuses_are_one_line_before_the_first_event() -> None:
    agents = [
        Agent(each, model="own-1", instructions="", settings=ModelSettings(effort=each)) for each in ("low", "max")
    ]
    check_settings(_Own(), agents[:1])
    with pytest.raises(Misconfigured, match="agent 'max': model own-1 refuses effort='max': it takes low"):
        check_settings(_Own(), agents)


@pytest.mark.promise("MOD-9")
async def test_a_model_that_the_api_does_not_have_is_named_at_the_start_with_the_one_that_was_meant(
    server: StrictClaude, caplog: pytest.LogCaptureFixture
) -> None:
    agents = [agent("a", "claude-sonet-5-5"), agent("b", "claude-sonet-5-5"), agent("c", "claude-sonnet-5-5")]
    claude = Claude(api_key="k", base_url=server.url)
    said = await _said(claude, agents, caplog, 1)
    assert len(said) == 1
    assert said[0].startswith("model claude-sonet-5-5 of agent a, b: 404: the API has no model")
    assert "did you mean claude-sonnet-5-5?" in said[0]
    await claude.aclose()


async def test_an_api_that_is_away_or_slow_holds_no_start_up(caplog: pytest.LogCaptureFixture) -> None:
    silent = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    for url in ("http://127.0.0.1:9", f"http://127.0.0.1:{port}"):
        claude = Claude(api_key="k", base_url=url)
        async with asyncio.timeout(5), looked_up(claude, [agent("a", "claude-sonnet-5-5")]):
            pass
        await claude.aclose()
    silent.close()
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_a_gateway_that_lists_no_models_raises_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as gateway:
        claude = Claude(api_key="k", base_url=f"http://127.0.0.1:{gateway.sockets[0].getsockname()[1]}")
        await claude.look_up("claude-sonnet-5-5")
        await claude.aclose()


async def _said(claude: Claude, agents: list[Agent], caplog: pytest.LogCaptureFixture, count: int) -> list[str]:
    def said() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]

    async def enough() -> bool:
        return len(said()) >= count

    async with looked_up(claude, agents):
        await until(enough)
    return said()


def agent(name: str, model: str) -> Agent:
    return Agent(name, model=model, instructions="")


class Paid:
    """A model that costs what the list says."""

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        raise NotImplementedError


@pytest.mark.promise("MOD-4")
@pytest.mark.parametrize(
    ("budget", "limits"),
    [
        (Budget(usd=1), Limits()),
        (Budget(session_usd=1), Limits()),
        (Budget(), Limits(usd_per_tenant_day=1)),
        (Budget(), Limits(usd_per_model_day={"claude-sonet-5-5": 1})),
    ],
)
def test_a_limit_in_money_needs_a_model_whose_price_is_known(budget: Budget, limits: Limits) -> None:
    wrong = Agent("desk", model="claude-sonet-5-5", instructions="", budget=budget)
    with pytest.raises(
        Misconfigured, match=r"agent desk: nobody knows what model .* \(did you mean claude-sonnet-5-5\?\)"
    ):
        check_prices(Paid(), [wrong], limits, known_prices())
    right = dataclasses.replace(wrong, model="claude-sonnet-5-5")
    check_prices(Paid(), [right], limits, known_prices())
    check_prices(ScriptedModel(), [wrong], limits, known_prices())
    check_prices(Paid(), [dataclasses.replace(wrong, budget=Budget())], Limits(), known_prices())


def test_a_limit_in_money_needs_the_price_of_who_summarises_too() -> None:
    agent = Agent("desk", model="claude-sonnet-5-5", instructions="", budget=Budget(usd=1))
    check_prices(Paid(), [dataclasses.replace(agent, compaction=None)], Limits(), known_prices())
    with pytest.raises(Misconfigured, match="nobody knows what model summarist costs"):
        check_prices(
            Paid(), [dataclasses.replace(agent, compaction=Compaction(model="summarist"))], Limits(), known_prices()
        )

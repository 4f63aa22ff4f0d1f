"""The README says what is true: its code runs, its links lead somewhere, its commands and settings exist."""

from __future__ import annotations

import re
import types
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from inturn.cli.app import app
from inturn.cli.extras import GROUP
from inturn.client.settings import ClientSettings
from inturn.encryption.keys import VARIABLE as ENCRYPTION_KEYS
from inturn.testing import run
from inturn_activities.limits.limits import Limits
from inturn_worker.dev.agents import choose_agents
from inturn_worker.dev.narrative import Narrative
from inturn_worker.dev.output import Output
from inturn_worker.dev.server import Server
from inturn_worker.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    """The first code block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no {language} block"
    return found[1]


def app_of_the_readme() -> types.ModuleType:
    module = types.ModuleType("readme_app")
    exec(compile(block("python"), "README.md", "exec"), module.__dict__)
    return module


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200


async def test_the_readmes_agent_answers_as_the_readme_shows() -> None:
    asked = re.search(r"session\.ask\('(.*?)'\)", block("python"))
    assert asked
    turn = await run(app_of_the_readme().agents[0], asked[1])
    assert f"{turn.text} {turn.stop_reason} {turn.usage.steps}" in block("text").splitlines()


async def test_the_readmes_large_refund_asks_a_person() -> None:
    agent = app_of_the_readme().agents[0]
    turn = await run(agent, '[[tool refund {"order": "17", "cents": 5001}]]', approve=False)
    assert [call.status for call in turn.tool_calls] == ["denied"]


def test_every_link_of_the_readme_leads_somewhere() -> None:
    loader = SourceFileLoader("links", str(ROOT / "scripts/links"))
    spec = spec_from_loader("links", loader)
    assert spec
    links: Any = module_from_spec(spec)
    loader.exec_module(links)
    assert links.problems(ROOT / "README.md") == []


def test_every_command_of_the_readme_exists_and_none_is_missing() -> None:
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    section = README.partition("## Commands")[2].partition("| setting")[0]
    named = {word for code in re.findall(r"`([a-z ]+)`", section) for word in code.removeprefix("inturn ").split()}
    brought = set(re.findall(r"`inturn (\w+)\s(?:\[?(?:--channels\s)?MODULE:ATTR|…)", section))
    assert (named, brought) == (commands, {entry.name for entry in entry_points(group=GROUP)})


def test_inturn_dev_says_what_the_readme_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app.py").write_text(block("python"))
    choice = choose_agents(tmp_path, [])
    output = Output(as_json=False)
    output.say(f"agents: {' '.join(choice.specs)} ({choice.reason})")
    narrative = Narrative(output, "sqlite:///.inturn/journal.sqlite")
    narrative.server = Server("127.0.0.1:7233", ui="http://127.0.0.1:8233")
    narrative.worker_ready({"agents": "support", "model": "scripted"})
    printed = re.sub(r"after [\d.]+ s", "after 4.9 s", capsys.readouterr().out).splitlines()
    shown = [line for line in block("console").splitlines() if not line.startswith("$ ")]
    assert set(shown) - set(printed) == {"dev    | Temporal at 127.0.0.1:7233"}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bINTURN_[A-Z_]+", README))))
def test_every_setting_of_the_readme_exists(name: str) -> None:
    field = name.removeprefix("INTURN_").lower()
    known = {
        *Settings.model_fields,
        *ClientSettings.model_fields,
        "tenant",
        ENCRYPTION_KEYS.removeprefix("INTURN_").lower(),
    }
    assert field in known | {f"limits_{limit}" for limit in Limits.model_fields}


def test_the_picture_holds_no_trace_of_the_machine_that_drew_it() -> None:
    picture = (ROOT / "docs/demo.svg").read_text().replace("&#160;", " ")
    assert "promises held" in picture
    assert not re.search(r"/(home|root|tmp|work|Users)/|@font-face|127\.0\.0\.1", picture)

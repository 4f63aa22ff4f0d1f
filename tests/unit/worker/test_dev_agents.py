"""`inturn dev` finds the agents of a directory without running anything in it, and says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from inturn.errors import Misconfigured
from inturn_worker.dev.agents import Unreadable, agent_names, choose_agents

APP = 'from inturn import Agent\nagents = [Agent("a", model="m", instructions="i")]\n'


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (APP, ["agents"]),
        ("import inturn\none = inturn.Agent('a')\ntwo: object = inturn.Agent('b')\n", ["one", "two"]),
        ("from inturn import Agent as A, tool\nteam = (A('a'), A('b'))\n", ["team"]),
        ("from inturn import Agent\none = Agent('a')\nagents = [one]\n", ["agents"]),
        ("from inturn.agents import Agent\nagents = make()\n", ["agents"]),
        ("from inturn import Agent\nmany = [Agent(n) for n in 'ab']\n", ["many"]),
        ("from inturn import Agent\n_hidden = Agent('a')\n", []),
        ("from inturn import Agent\ndef test():\n    agents = [Agent('a')]\n", []),
        ("from inturn import Client\nagents = ['x']\n", []),
        ("from other import Agent\none = Agent('a')\n", []),
        ("from inturn import Agent\nempty = []\n", []),
    ],
)
def test_agents_are_known_by_what_the_module_assigns(source: str, names: list[str]) -> None:
    assert agent_names(source) == names


def test_what_is_named_goes_before_what_is_configured_and_that_before_what_is_found(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    found = choose_agents(tmp_path, [])
    assert (found.specs, found.reason) == (("app:agents",), "app is the one module here that has agents")
    (tmp_path / "pyproject.toml").write_text('[tool.inturn]\nagents = ["other:agents"]\n')
    assert choose_agents(tmp_path, []).specs == ("other:agents",)
    assert choose_agents(tmp_path, ["third:x"]).specs == ("third:x",)


def test_a_module_in_a_package_is_found_and_none_of_tests_and_environments(tmp_path: Path) -> None:
    for folder in ("shop", "tests", "venv", ".venv"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
        (tmp_path / folder / "desk.py").write_text(APP)
    (tmp_path / "setup.py").write_text("raise SystemExit('nobody may run this')  # inturn\n")
    assert choose_agents(tmp_path, []).specs == ("shop.desk:agents",)


def test_two_modules_with_agents_are_named_with_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "desk.py").write_text(APP)
    with pytest.raises(Misconfigured) as caught:
        choose_agents(tmp_path, [])
    assert "2 modules here have agents: app, desk" in str(caught.value)
    assert '[tool.inturn]\nagents = ["app:agents", "desk:agents"]' in str(caught.value)


def test_a_directory_without_agents_gets_an_example_that_works(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        choose_agents(tmp_path, [])
    example = str(caught.value).partition("\n\n")[2]
    (tmp_path / "app.py").write_text(example)
    assert choose_agents(tmp_path, []).specs == ("app:agents",)


def test_a_module_that_is_no_python_yet_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP + "x = (\n")
    with pytest.raises(Unreadable, match=r"app\.py:3: '\(' was never closed"):
        choose_agents(tmp_path, [])
    (tmp_path / "desk.py").write_text(APP)
    assert choose_agents(tmp_path, []).specs == ("desk:agents",)


@pytest.mark.parametrize(
    "source",
    [
        "\ufeff".encode() + APP.encode(),
        f"# -*- coding: latin-1 -*-\n{APP}# Grüße\n".encode("latin-1"),
        APP.encode() + "# Grüße\n".encode(),
    ],
)
def test_a_module_is_read_as_python_reads_it(tmp_path: Path, source: bytes) -> None:
    (tmp_path / "app.py").write_bytes(source)
    assert choose_agents(tmp_path, []).specs == ("app:agents",)


def test_what_cannot_be_read_or_lies_in_a_circle_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("round", "and_round"):
        (package / name).symlink_to(package)
    (package / "deep.py").write_text(f"import inturn\nx = {'(' * 5_000}{')' * 5_000}\n")
    (package / "sum.py").write_text(f"import inturn\nx = {'+'.join(['1'] * 20_000)}\n")
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere.py")
    (tmp_path / "circle.py").symlink_to(tmp_path / "circle.py")
    assert choose_agents(tmp_path, []).specs == ("app:agents",)


@pytest.mark.parametrize(
    "text",
    [
        "[tool.inturn]\nagents = 3\n",
        '[tool.inturn]\nagents = "app:agents"\n',
        "[tool",
        "tool = 3",
        '[tool]\ninturn = "app:agents"\n',
    ],
)
def test_a_wrong_pyproject_says_what_it_must_be(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(Misconfigured, match=r"pyproject\.toml"):
        choose_agents(tmp_path, [])

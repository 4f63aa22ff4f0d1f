"""Every wrong name given to the worker ends in one line that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inturn.agents import Agent
from inturn.errors import Misconfigured
from inturn.loading import add_to_import_path, load_agents, load_lifespan

GOOD = """
from inturn.agents import Agent
one = Agent("one", model="m", instructions="i")
two = Agent("two", model="m", instructions="i")
also_one = Agent("one", model="m", instructions="i")
agents = [one, two]
nothing = []
odd = [one, 3]
number = 3
class Holder:
    inner = two
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module `mine_loading`; import path and modules are as before afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_loading.py").write_text(GOOD)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_agents_are_loaded_from_the_working_directory_singly_and_in_lists(directory: Path) -> None:
    add_to_import_path(directory)
    loaded = load_agents(["mine_loading:agents", "mine_loading:Holder.inner"])
    assert [agent.name for agent in loaded] == ["one", "two"]
    assert all(isinstance(agent, Agent) for agent in loaded)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine_loading", "not MODULE:ATTR"),
        ("mine_loading:", "not MODULE:ATTR"),
        ("absent_module:agents", "no module named 'absent_module'"),
        ("mine_loading.deeper:agents", "no module named 'mine_loading.deeper'"),
        ("mine_loading:absent", "Agents in it: one, two, also_one, agents"),
        ("mine_loading:number", "of type int"),
        ("mine_loading:nothing", "an empty list"),
        ("mine_loading:odd", "a list with a int in it"),
        ("raises_loading:agents", "failed with ZeroDivisionError: division by zero"),
        ("broken_loading:agents", "failed with SyntaxError"),
        ("script_loading:agents", "failed with SystemExit: 0"),
        ("needs_loading:agents", "imports 'surely_not_installed', which is not installed"),
    ],
)
def test_a_wrong_name_says_in_one_line_what_is_wrong(directory: Path, spec: str, message: str) -> None:
    (directory / "raises_loading.py").write_text("agents = 1 / 0\n")
    (directory / "broken_loading.py").write_text("agents = [\n")
    (directory / "script_loading.py").write_text("import sys\nsys.exit(0)\n")
    (directory / "needs_loading.py").write_text("import surely_not_installed\n")
    add_to_import_path(directory)
    with pytest.raises(Misconfigured) as caught:
        load_agents([spec])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_place_of_a_failing_import_is_named(directory: Path) -> None:
    (directory / "raises_loading.py").write_text("\n\nagents = 1 / 0\n")
    add_to_import_path(directory)
    with pytest.raises(Misconfigured, match=r"raises_loading\.py:3"):
        load_agents(["raises_loading:agents"])


def test_two_agents_of_one_name_are_refused_with_both_places(directory: Path) -> None:
    add_to_import_path(directory)
    with pytest.raises(
        Misconfigured, match=r"two agents are named 'one' \(in mine_loading:one and mine_loading:also_one"
    ):
        load_agents(["mine_loading:one", "mine_loading:also_one"])


def test_a_users_own_packages_named_as_our_folders_are_no_collision(directory: Path) -> None:
    (directory / "workflows").mkdir()
    (directory / "workflows" / "__init__.py").write_text(
        'from inturn.agents import Agent\nmine = Agent("mine", model="m", instructions="i")\n'
    )
    (directory / "activities.py").touch()
    add_to_import_path(directory)
    assert [agent.name for agent in load_agents(["workflows:mine"])] == ["mine"]


def test_a_lifespan_must_be_callable(directory: Path) -> None:
    add_to_import_path(directory)
    with pytest.raises(Misconfigured, match="--lifespan mine_loading:number is of type int"):
        load_lifespan("mine_loading:number")

"""The version is one: of all distributions, of what each pins, of the code, of the image and of the changelog."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

import inturn

ROOT = Path(__file__).resolve().parents[3]


def project(path: str) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / path).read_text())["project"]
    return table


def test_every_place_names_the_same_version() -> None:
    worker, client = project("pyproject.toml"), project("client/pyproject.toml")
    compose = yaml.safe_load((ROOT / "docker-compose.temporal.yml").read_text())
    served = project("gateway/pyproject.toml")
    pins = [needed for each in (worker, served) for needed in each["dependencies"] if needed.startswith("inturn==")]
    extras = [*client["optional-dependencies"]["worker"], *client["optional-dependencies"]["gateway"]]
    assert (len(pins), len(extras)) == (2, 2)
    assert {
        worker["version"],
        client["version"],
        served["version"],
        *(pin.removeprefix("inturn==") for pin in pins),
        *(extra.partition("==")[2] for extra in extras),
        compose["services"]["worker"]["image"].removeprefix("inturn-worker:"),
        metadata.version("inturn"),
        metadata.version("inturn-worker"),
        metadata.version("inturn-gateway"),
    } == {inturn.__version__}


def test_the_changelog_begins_with_the_version_that_is_in_the_making() -> None:
    newest = re.search(r"^## \[(.+?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    in_the_making = inturn.__version__.endswith(".dev0")
    assert newest[1] == inturn.__version__.removesuffix(".dev0")
    assert (newest[2] == "unreleased") == in_the_making


def test_what_is_published_is_typed_and_its_page_needs_no_file_of_the_repository() -> None:
    for path in ("pyproject.toml", "client/pyproject.toml", "gateway/pyproject.toml"):
        table = tomllib.loads((ROOT / path).read_text())
        home = (ROOT / path).parent
        for package in table["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
            assert (home / package / "py.typed").is_file(), f"{package} says that it is typed"
        page = (home / table["project"]["readme"]).read_text()
        assert re.findall(r"\]\((?!https://)", page) == []

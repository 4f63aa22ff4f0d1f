"""docker-compose.temporal.yml is valid, pinned, free of secrets, and agrees with the names of the code.

The Compose specification's schema is the one that the check-jsonschema distribution brings, so no network is needed.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from inturn import names
from inturn.journal import open_journal
from inturn.journal.store.postgres_url import POOL, parse
from inturn.keys import SessionKey
from inturn_worker.dev_server import DYNAMIC_CONFIG
from tests.support.processes.postgres import INSTALL, USER, PostgresServer, programs
from tests.support.processes.temporal_programs import VERSION

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "docker-compose.temporal.yml"
ONE_SHOT = {"temporal-schema", "temporal-namespace", "journal-database"}


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    """Checks a Compose file against the specification's schema."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_the_file_follows_the_compose_specification() -> None:
    checked = validate(COMPOSE)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_schema_would_refuse_a_wrong_file(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yml"
    wrong.write_text(COMPOSE.read_text().replace("    healthcheck:\n", "    healthchek:\n", 1))
    assert validate(wrong).returncode != 0


def test_every_image_has_an_exact_tag(compose: dict[str, Any]) -> None:
    images = [service["image"] for service in compose["services"].values()]
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for image in images + bases:
        assert re.search(r":\d+\.\d+", image), f"{image} is not pinned"


def test_no_password_or_key_stands_in_the_file(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|PWD|KEY|TOKEN|SECRET", key):
                assert value.startswith("${"), f"{key} is written out"
            assert not re.search(r"://[^/@]*:[^/@]*@", value), f"{key} holds a password"


def test_starting_without_a_password_is_refused_with_the_reason() -> None:
    uses = re.findall(r"\$\{POSTGRES_PASSWORD[^}]*\}", COMPOSE.read_text())
    assert uses
    assert all(use.startswith("${POSTGRES_PASSWORD:?") for use in uses)
    assert "POSTGRES_PASSWORD=\n" in (ROOT / ".env.example").read_text()


def test_what_keeps_running_has_a_health_check_and_what_it_depends_on_is_waited_for(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert ("healthcheck" in service) == (name not in ONE_SHOT), name
        for other, wait in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert wait["condition"] == expected, f"{name} -> {other}"


def test_data_is_in_named_volumes_and_ports_are_open_on_this_machine_only(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_it_registers_the_search_attributes_that_sessions_set(compose: dict[str, Any]) -> None:
    script = compose["services"]["temporal-namespace"]["command"][0]
    assert dict(re.findall(r"(Inturn\w+):(\w+)", script)) == {
        names.AGENT_ATTRIBUTE: "Keyword",
        names.TENANT_ATTRIBUTE: "Keyword",
        names.STATE_ATTRIBUTE: "Keyword",
        names.PARKED_ATTRIBUTE: "Int",
    }


def test_the_image_holds_every_package_that_the_worker_needs() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text()
    for name in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE):
        for source in name.split():
            assert (ROOT / source).exists(), source
            assert f"!{source}\n" in ignored, f"{source} is not in the build context"


def test_the_journal_and_temporal_have_databases_of_their_own(compose: dict[str, Any]) -> None:
    services = compose["services"]
    address = parse(services["worker"]["environment"]["INTURN_JOURNAL"])
    assert address.parameters["sslmode"] == "disable", "between containers nothing proves who the server is"
    made = services["journal-database"]["command"][0]
    assert f"CREATE DATABASE {address.parameters['dbname']} OWNER {address.parameters['user']}" in made
    assert f"{address.parameters['dbname']}:" not in services["temporal-schema"]["command"][0]


def test_two_workers_run_and_neither_has_what_the_other_cannot_reach(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    assert worker["deploy"]["replicas"] == 2
    assert "ports" not in worker
    assert not any("sqlite" in value for name, value in worker["environment"].items() if name != "SHOP_DB")


def test_the_database_has_connections_for_all_who_share_it(compose: dict[str, Any]) -> None:
    (allowed,) = [int(found) for found in re.findall(r"max_connections=(\d+)", str(compose["services"]["postgresql"]))]
    temporal, journal = 5 * 20, compose["services"]["worker"]["deploy"]["replicas"] * (POOL + 1)
    assert allowed >= temporal + journal + 3, "three are kept for the owner"


def test_the_server_is_set_to_notice_a_machine_that_vanished(compose: dict[str, Any]) -> None:
    dynamic = yaml.safe_load(compose["configs"]["dynamic-config"]["content"])
    for key, values in dynamic.items():
        assert [list(value) for value in values] == [["value"]], key
        if key in DYNAMIC_CONFIG:
            assert values == [{"value": DYNAMIC_CONFIG[key]}], "as on the development server"
    assert {"frontend.keepAliveTime", "frontend.keepAliveTimeout"} <= dynamic.keys()


def test_tests_run_the_server_that_it_names(compose: dict[str, Any]) -> None:
    images = {name: service.get("image", "") for name, service in compose["services"].items()}
    for name in ("temporal", "temporal-schema", "temporal-namespace"):
        assert images[name].endswith(f":{VERSION.removeprefix('v')}"), name


def test_its_script_makes_a_journal_that_a_worker_can_open_and_runs_again(compose: dict[str, Any]) -> None:
    found = programs()
    if found is None:
        pytest.skip(INSTALL)
    services = compose["services"]
    made = services["journal-database"]
    with PostgresServer() as server:
        with server.connect("postgres") as owner:
            owner.execute("CREATE ROLE temporal SUPERUSER LOGIN")
        where = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PATH": f"{found}:{os.environ['PATH']}"}
        named = {**made["environment"], **where, "PGPASSWORD": "it's @/:%$"}
        subprocess.run(["psql", "-qc", f"ALTER ROLE {USER} RENAME TO of_tests"], env=named, check=True)
        for _ in range(2):
            script = made["command"][0].replace("$$", "$")
            subprocess.run([*made["entrypoint"], script], env=named, check=True)
        url = services["worker"]["environment"]["INTURN_JOURNAL"].replace("postgresql:5432", f"127.0.0.1:{server.port}")
        assert asyncio.run(_head(url)) == 0


async def _head(url: str) -> int:
    journal = open_journal(url)
    await journal.open()
    try:
        return await journal.head(SessionKey("acme", "s"))
    finally:
        await journal.close()

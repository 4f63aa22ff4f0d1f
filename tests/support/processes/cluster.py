"""A Temporal cluster as teams run one: four services in a process each, PostgreSQL, several history shards.

`python -m tests.support.processes.cluster COMMAND…` runs a command with a cluster, which `INTURN_TEST_SERVER` names;
`INTURN_TEST_CLUSTER` has the tests keep their journals on PostgreSQL, too.

Invariant: its version and its dynamic configuration are those of docker-compose.temporal.yml, and nothing else: what
the tests prove is proved with what a team gets.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import yaml
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from inturn_worker.dev_server import answers
from inturn_worker.parent import die_with_parent
from inturn_worker.server import ensure_search_attributes
from tests.support.processes.postgres import USER, PostgresServer
from tests.support.processes.server import ROOT, fixed_port
from tests.support.processes.temporal_programs import VERSION, temporal_programs

SERVICES: Final = ("history", "matching", "frontend", "worker")
SHARDS: Final = 8
SCHEMAS: Final = ("temporal", "visibility")
"""Each in a database of its own."""
DATABASE_SETTINGS: Final = {"fsync": "off", "full_page_writes": "off", "max_connections": "250"}
"""A database that is ended at once recovers all that it wrote: only the machine's own end would need `fsync`."""
READY_WITHIN: Final = 60.0
RETENTION: Final = timedelta(days=7)


class Cluster:
    """`with Cluster(directory) as cluster: cluster.address`. It can be killed and started again, each service, too."""

    def __init__(self, directory: Path, postgres: PostgresServer, *, services: tuple[str, ...] = SERVICES) -> None:
        self._directory = directory
        self._postgres = postgres
        self._ports = {service: (fixed_port(), fixed_port()) for service in services}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.address = f"127.0.0.1:{self._ports['frontend'][0]}"

    @property
    def services(self) -> tuple[str, ...]:
        """Its processes, by name."""
        return tuple(self._ports)

    @property
    def pids(self) -> dict[str, int]:
        """Its processes' ids, by name."""
        return {service: process.pid for service, process in self._processes.items()}

    @property
    def gone(self) -> bool:
        """A service ended by itself."""
        return any(process.poll() is not None for process in self._processes.values())

    def start(self) -> Cluster:
        """Start what does not run, and wait until it answers."""
        programs = temporal_programs()
        config = self._directory / "cluster.yaml"
        if not config.exists():
            databases = {schema: self._make_database(programs, schema) for schema in SCHEMAS}
            dynamic = self._directory / "dynamic.yaml"
            dynamic.write_text(dynamic_config())
            _check(programs, dynamic)
            config.write_text(json.dumps(self._config(databases, dynamic)))  # JSON is YAML
            self._begin(programs, config)
        for service in self._ports:
            self._start(service, programs, config)
        asyncio.run(_until_usable(self.address))
        return self

    def kill(self, *services: str) -> None:
        """SIGKILL these services, or all."""
        ending = [self._processes.pop(service) for service in services or self.services if service in self._processes]
        for process in ending:
            process.kill()
        for process in ending:
            process.wait()

    def stop(self) -> None:
        """End it: its database goes with it, so there is nothing to end in good order."""
        self.kill()

    def __enter__(self) -> Cluster:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _begin(self, programs: Path, config: Path) -> None:
        """Start one service alone: of those that find a new database at once, all but one end."""
        self._start(SERVICES[0], programs, config)
        deadline = time.monotonic() + READY_WITHIN
        while not answers(self._ports[SERVICES[0]][0]) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _start(self, service: str, programs: Path, config: Path) -> None:
        running = self._processes.get(service)
        if running is not None and running.poll() is None:
            return
        server, file = str(programs / "server"), str(config)
        command = [server, "--config-file", file, "--allow-no-auth", "start", "--service", service]
        with (self._directory / f"{service}.log").open("ab") as log:
            self._processes[service] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent, process_group=0
            )

    def _make_database(self, programs: Path, schema: str) -> str:
        database = self._postgres.create(empty=True)
        self._tool(programs, database, "setup-schema", "--version", "0.0")
        self._tool(programs, database, "update-schema", "--schema-name", f"postgresql/v12/{schema}")
        return database

    def _tool(self, programs: Path, database: str, *command: str) -> None:
        where = ["--plugin", "postgres12", "--endpoint", "127.0.0.1", "--port", str(self._postgres.port)]
        who = ["--user", USER, "--password", "", "--database", database]
        made = subprocess.run(
            [programs / "sql", *where, *who, *command], capture_output=True, text=True, check=False, timeout=60
        )
        if made.returncode != 0:
            raise RuntimeError(f"temporal-sql-tool {' '.join(command)}: {made.stdout}{made.stderr}")

    def _config(self, databases: Mapping[str, str], dynamic: Path) -> dict[str, Any]:
        return {
            "log": {"stdout": True, "level": "warn"},
            "persistence": {
                "defaultStore": "temporal",
                "visibilityStore": "visibility",
                "numHistoryShards": SHARDS,
                "datastores": {schema: {"sql": self._datastore(database)} for schema, database in databases.items()},
            },
            "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
            "services": {
                service: {"rpc": {"grpcPort": grpc, "membershipPort": gossip, "bindOnIP": "127.0.0.1"}}
                for service, (grpc, gossip) in self._ports.items()
            },
            "clusterMetadata": {
                "enableGlobalNamespace": False,
                "failoverVersionIncrement": 10,
                "masterClusterName": "active",
                "currentClusterName": "active",
                "clusterInformation": {
                    "active": {
                        "enabled": True,
                        "initialFailoverVersion": 1,
                        "rpcName": "frontend",
                        "rpcAddress": self.address,
                    }
                },
            },
            "publicClient": {"hostPort": self.address},
            "dcRedirectionPolicy": {"policy": "noop"},
            "dynamicConfigClient": {"filepath": str(dynamic), "pollInterval": "10s"},
        }

    def _datastore(self, database: str) -> dict[str, Any]:
        return {
            "pluginName": "postgres12",
            "databaseName": database,
            "connectAddr": f"127.0.0.1:{self._postgres.port}",
            "connectProtocol": "tcp",
            "user": USER,
            "password": "",
            "maxConns": 20,
            "maxIdleConns": 20,
            "maxConnLifetime": "1h",
        }


def dynamic_config() -> str:
    """Return the dynamic configuration of the Compose file."""
    compose: Mapping[str, Any] = yaml.safe_load((ROOT / "docker-compose.temporal.yml").read_text())
    content: str = compose["configs"]["dynamic-config"]["content"]
    return content


def _check(programs: Path, dynamic: Path) -> None:
    """Refuse a key that this server does not know: it would ignore it."""
    command = [str(programs / "server"), "validate-dynamic-config", str(dynamic)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "warning" in found or "error" in found:
        raise RuntimeError(f"docker-compose.temporal.yml sets what the server does not take: {found}")


async def _until_usable(address: str) -> None:
    """Wait until the namespace is there and a query of the visibility store is answered."""
    deadline = time.monotonic() + READY_WITHIN
    while True:
        try:
            client = await Client.connect(address)
            await _make_namespace(client)
            await ensure_search_attributes(client)
            return
        except (RPCError, RuntimeError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def _make_namespace(client: Client) -> None:
    request = RegisterNamespaceRequest(namespace=client.namespace)
    request.workflow_execution_retention_period.FromTimedelta(RETENTION)
    try:
        await client.workflow_service.register_namespace(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise


def main(command: list[str]) -> int:
    """Run a command with a cluster; returns its exit code."""
    with tempfile.TemporaryDirectory(prefix="inturn-cluster-") as directory:
        with PostgresServer(settings=DATABASE_SETTINGS) as postgres, Cluster(Path(directory), postgres) as cluster:
            print(f"cluster: {cluster.address}, {SHARDS} shards, server {VERSION}", flush=True)
            named = {"INTURN_TEST_CLUSTER": "1", "INTURN_TEST_SERVER": cluster.address}
            return subprocess.run(command, env={**os.environ, **named}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

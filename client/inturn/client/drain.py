"""Emptying a build: each session that is pinned to it is told to continue as new, which begins on the current one.

Invariant: a session is told once per run, and nothing is lost on the way: it continues at its next boundary, as at a
full history. Sessions that are not pinned need nothing: their next event goes to the current build by itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.client import Client as Temporal
from temporalio.exceptions import TemporalError
from temporalio.service import RPCError, RPCStatusCode

from inturn import names
from inturn.client.temporal.connection import Connection
from inturn.client.temporal.retries import retry_rpc
from inturn.client.temporal.rpc_errors import translate_error
from inturn.client.temporal.server_checks import CALL_TIMEOUT, VERSION, set_current_command
from inturn.client.temporal.transport import RPC_TIMEOUT
from inturn.errors import InvalidEvent, SessionClosed, SessionNotFound, Unavailable

EVERY: Final = 1.0
"""Seconds between two looks."""
EMPTY: Final = 3
"""Looks in a row that find nobody: the server's visibility is behind by a moment."""
RUNS: Final = 2
"""Runs in which a session may be found on the build after it was told: a server that can move it needs one."""
AT_ONCE: Final = 20
"""Signals."""
SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Drained:
    """How far it is.

    Attributes:
        version: The build, `DEPLOYMENT:BUILD`.
        left: Sessions that are pinned to it.
        told: Runs that were told to continue as new.
        sessions: Some of those that are left, as `TENANT/SESSION`.
        done: None is left: the build's workers may stop.
    """

    version: str
    left: int
    told: int
    sessions: tuple[str, ...] = ()
    done: bool = False


class Drain:
    """Empties a build."""

    def __init__(self, connection: Connection, version: str) -> None:
        """Empty the build `version`, `DEPLOYMENT:BUILD`.

        Raises:
            InvalidEvent: It is not written so.
        """
        if not re.match(VERSION, version):
            raise InvalidEvent(f"{version!r:.200} names no build: write DEPLOYMENT:BUILD, as `inturn worker --version`")
        self._connection = connection
        self._version = version
        self._told: dict[str, set[str]] = {}
        """Of each session, by its workflow id: the runs that were told."""

    async def run(self) -> AsyncIterator[Drained]:
        """Yield how far it is, again and again until no session is left on the build.

        Raises:
            InvalidEvent: It is the current build, or none of a known deployment.
            Unavailable: The server cannot be reached, or keeps pinned sessions where they are.
        """
        temporal = await self._connection.temporal()
        try:
            await self._check_not_current(temporal)
            empty = 0
            while empty < EMPTY:
                left = await self._pinned(temporal)
                empty = 0 if left else empty + 1
                await self._tell(temporal, left)
                told = sum(map(len, self._told.values()))
                yield Drained(self._version, len(left), told, tuple(sorted(left)[:SHOWN]), done=empty == EMPTY)
                if empty < EMPTY:
                    await asyncio.sleep(EVERY)
        except TemporalError as error:
            raise translate_error(error).error from error

    async def _check_not_current(self, temporal: Temporal) -> None:
        deployment, _, build = self._version.partition(":")
        request = DescribeWorkerDeploymentRequest(namespace=temporal.namespace, deployment_name=deployment)
        try:
            described = await temporal.workflow_service.describe_worker_deployment(request, timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise InvalidEvent(f"the server knows no deployment {deployment!r}") from error
            raise
        info = described.worker_deployment_info
        known = [version.deployment_version.build_id for version in info.version_summaries]
        if build not in known:
            raise InvalidEvent(f"deployment {deployment!r} has no build {build!r}; it has {', '.join(known) or 'none'}")
        if info.routing_config.current_deployment_version.build_id == build:
            command = set_current_command(temporal, f"{deployment}:BUILD")
            raise InvalidEvent(f"{self._version} is the current version: make another one current first: {command}")

    async def _pinned(self, temporal: Temporal) -> dict[str, str]:
        """Return the sessions that are pinned to the build, with their runs."""
        query = (
            f"WorkflowType = '{names.SESSION_WORKFLOW}' AND ExecutionStatus = 'Running' "
            f"AND TemporalWorkerDeploymentVersion = '{self._version}' "
            "AND TemporalWorkflowVersioningBehavior = 'Pinned'"
        )
        return {found.id: found.run_id async for found in temporal.list_workflows(query)}

    async def _tell(self, temporal: Temporal, left: dict[str, str]) -> None:
        new = [(session, run) for session, run in left.items() if run not in self._told.get(session, ())]
        for session, run in new:
            runs = self._told.setdefault(session, set())
            if len(runs) == RUNS:
                raise Unavailable(
                    f"session {session} continued as new and is still on {self._version}: this server keeps pinned "
                    "sessions on their build (1.31 and later can move them). Keep its workers, or close the sessions"
                )
            runs.add(run)
        for first in range(0, len(new), AT_ONCE):
            await asyncio.gather(*(self._continue(temporal, *told) for told in new[first : first + AT_ONCE]))

    async def _continue(self, temporal: Temporal, session: str, run: str) -> None:
        handle = temporal.get_workflow_handle(session, run_id=run)
        control = {"control_id": f"continue:{run}", "op": "continue"}
        try:
            await retry_rpc(
                lambda: handle.signal(names.CONTROL, control, rpc_timeout=RPC_TIMEOUT),
                patience=self._connection.settings.patience,
                session=session,
            )
        except (SessionClosed, SessionNotFound):  # that run has ended meanwhile
            pass

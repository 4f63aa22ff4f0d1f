"""The doctor's look at Temporal: reachable, namespace, search attributes, workers, clock.

Invariant: reads only, so anyone who may use sessions may run it.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from temporalio.api.taskqueue.v1 import PollerInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
from temporalio.client import Client as Temporal
from temporalio.service import RPCError, RPCStatusCode

from inturn.cli.doctor.findings import Finding, failed, fine, warned
from inturn.cli.doctor.keepalive import examine_keepalive
from inturn.cli.doctor.versions import judge_versions
from inturn.client.temporal import server_checks
from inturn.client.temporal.connection import Connection
from inturn.client.temporal.rpc_errors import short
from inturn.client.temporal.search_attributes import SEARCH_ATTRIBUTES
from inturn.errors import Unavailable

_LIVE: Final = timedelta(seconds=90)
"""A poll waits for at most about a minute; the server lists pollers for some minutes more."""
_SKEW: Final = timedelta(seconds=2)


async def examine_server(connection: Connection, task_queue: str) -> list[Finding]:
    """Return what can be seen of the server; where it cannot be reached, only that."""
    try:
        temporal = await connection.temporal()
        findings = [await _server(temporal)]
    except (Unavailable, RPCError) as error:
        advice = "start one (`inturn dev` brings its own), or name it with --address; look at TLS and keys"
        return [failed("server", short(error), advice)]
    silent = asyncio.create_task(examine_keepalive(temporal.service_client.config))
    namespace = await _namespace(temporal)
    findings.append(namespace)
    if namespace.state != "fail":
        findings.append(await _attributes(temporal))
        findings += await _workers(temporal, task_queue)
    return findings + await silent


async def _server(temporal: Temporal) -> Finding:
    began = time.perf_counter()
    info = await temporal.workflow_service.get_system_info(GetSystemInfoRequest(), timeout=server_checks.CALL_TIMEOUT)
    took = (time.perf_counter() - began) * 1000
    address = temporal.service_client.config.target_host
    return fine("server", f"{address}, Temporal {info.server_version or '?'}, answers in {took:.0f} ms")


async def _namespace(temporal: Temporal) -> Finding:
    name = temporal.namespace
    try:
        request = DescribeNamespaceRequest(namespace=name)
        described = await temporal.workflow_service.describe_namespace(request, timeout=server_checks.CALL_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            create = f"temporal operator namespace create --namespace {name}"
            return failed("namespace", f"the server has no namespace {name}", f"{create}; or --namespace names another")
        return failed("namespace", f"{name}: {short(error)}", "look at TEMPORAL_API_KEY or the TLS certificate")
    kept = described.config.workflow_execution_retention_ttl.ToTimedelta()
    return fine("namespace", f"{name}, keeps histories of closed runs for {kept.days} d")


async def _attributes(temporal: Temporal) -> Finding:
    try:
        check = await server_checks.check_attributes(temporal)
    except RPCError as error:
        advice = f"ask an operator whether they are there, else: {server_checks.create_command(temporal)}"
        return warned("search attributes", f"this client may not list them ({short(error)})", advice)
    if check.mistyped:
        remove = server_checks.remove_command(temporal, check.mistyped)
        wrong = f"of another type: {', '.join(check.mistyped)}"
        return failed("search attributes", wrong, f"{remove}; then start a worker")
    if check.missing:
        create = server_checks.create_command(temporal, check.missing)
        advice = f"start a worker that may register them, or run: {create}"
        return failed("search attributes", f"not registered: {', '.join(check.missing)}", advice)
    return fine("search attributes", ", ".join(SEARCH_ATTRIBUTES))


async def _workers(temporal: Temporal, task_queue: str) -> list[Finding]:
    polled: dict[str, list[PollerInfo]] = {}
    try:
        for kind in server_checks.KINDS:
            polled[kind] = await server_checks.pollers(temporal, task_queue, kind)
        current = await server_checks.current_version(temporal, task_queue)
    except RPCError as error:
        return [failed("workers", f"task queue {task_queue}: {short(error)}", "look at the client's rights")]
    now = datetime.now(UTC)
    workers = judge_workers(task_queue, {kind: [_seen(p) for p in pollers] for kind, pollers in polled.items()}, now)
    builds = {p.identity: server_checks.version_of(p) for p in polled["workflow"] if now - _seen(p)[1] < _LIVE}
    versions = judge_versions(task_queue, current, builds, partial(server_checks.set_current_command, temporal))
    return [workers, *versions, judge_clock([_seen(p)[1] for pollers in polled.values() for p in pollers], now)]


def judge_workers(task_queue: str, polled: dict[str, list[tuple[str, datetime]]], now: datetime) -> Finding:
    """Return the finding on who polls a task queue, by identity and the time of the last poll.

    Args:
        task_queue: Its name.
        polled: The pollers of each kind.
        now: The time.
    """
    live = {kind: {who for who, at in pollers if now - at < _LIVE} for kind, pollers in polled.items()}
    start = f"start one: inturn worker MODULE:ATTR --task-queue {task_queue}"
    lost = sorted(kind for kind, who in live.items() if not who)
    if len(lost) == len(live):
        return failed("workers", f"nobody polls task queue {task_queue}: events wait until somebody does", start)
    if lost:
        return failed("workers", f"nobody polls task queue {task_queue} for {lost[0]} tasks", start)
    everyone = sorted(set.union(*live.values()))
    more = f" and {len(everyone) - 3} more" if len(everyone) > 3 else ""
    return fine("workers", f"task queue {task_queue}: {', '.join(everyone[:3])}{more}")


def judge_clock(polls: list[datetime], now: datetime) -> Finding:
    """Return the finding on this machine's clock: the server's, by which workers polled, cannot be ahead."""
    if not polls:
        return fine("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC (without a worker there is nothing to compare it with)")
    ahead = max(polls) - now
    if ahead > _SKEW:
        seconds = ahead.total_seconds()
        advice = "synchronise it (NTP): ages and expiries are judged by clocks"
        return warned("clock", f"this machine's clock is at least {seconds:.0f} s behind the server's", advice)
    return fine("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, not behind the server's")


def _seen(poller: PollerInfo) -> tuple[str, datetime]:
    return poller.identity, poller.last_access_time.ToDatetime(tzinfo=UTC)

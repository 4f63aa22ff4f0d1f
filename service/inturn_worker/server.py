"""The Temporal server as the worker needs it: reachable, with the namespace and the search attributes.

Invariant: a worker that says "ready" cannot be stopped later by something that could have been checked at its start. An
unregistered search attribute, for one, fails a session's every workflow task for ever.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from inturn.client.settings import temporal_config
from inturn.client.temporal import server_checks
from inturn.client.temporal.rpc_errors import short
from inturn.client.temporal.search_attributes import SEARCH_ATTRIBUTES
from inturn.errors import Misconfigured, Unavailable
from inturn_worker.settings import Settings

_POLLING_WITHIN: Final = 20.0
_REGISTERED_WITHIN: Final = 20.0
"""Seconds until a new search attribute shows on every host of the server."""


def identity() -> str:
    """Return this process's name in the Temporal UI."""
    return f"inturn@{socket.gethostname()}:{os.getpid()}"


async def connect(settings: Settings, runtime: Runtime | None = None) -> Client:
    """Return a connected client, once namespace and search attributes are checked.

    Raises:
        Misconfigured: The server cannot be reached in time, or lacks something that the worker may not make itself.
    """
    try:
        client = await server_checks.connect(
            temporal_config(settings.address, settings.namespace),
            timeout=settings.connect_timeout,
            advice="Start one (`inturn dev` brings its own), or name it with --address or TEMPORAL_ADDRESS",
            identity=identity(),
            runtime=runtime,
        )
    except Unavailable as error:
        raise Misconfigured(str(error)) from error
    await _check_namespace(client)
    await ensure_search_attributes(client)
    return client


async def until_polling(client: Client, task_queue: str, name: str) -> None:
    """Wait until the server has seen both kinds of pollers of the worker named `name`.

    Raises:
        TimeoutError: It has not within 20 seconds.
    """
    async with asyncio.timeout(_POLLING_WITHIN):
        for kind in server_checks.KINDS:
            while True:
                if any(p.identity == name for p in await server_checks.pollers(client, task_queue, kind)):
                    break
                await asyncio.sleep(0.05)


async def ensure_search_attributes(client: Client) -> None:
    """Register what the namespace lacks of the search attributes of sessions.

    Raises:
        Misconfigured: One has another type, or is missing and this client may not register it.
    """
    try:
        missing = await _missing_attributes(client)
        if not missing:
            return
        await server_checks.register_attributes(client, missing)
        await _until_registered(client)
    except RPCError as error:
        missing = await server_checks.missing_by_query(client)
        if missing:
            raise Misconfigured(
                f"namespace {client.namespace!r} lacks the search attributes {', '.join(missing)}, and this worker "
                f"may not register them ({short(error)}). Run: {server_checks.create_command(client, missing)}"
            ) from error


async def _check_namespace(client: Client) -> None:
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            create = server_checks.operator_command(client, "namespace create")
            raise Misconfigured(
                f"the server has no namespace {client.namespace!r}. Name another with --namespace or "
                f"TEMPORAL_NAMESPACE, or create it: {create}"
            ) from error
        if error.status in (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED):
            raise Misconfigured(
                f"the server does not let this worker into namespace {client.namespace!r} ({short(error)}). Check "
                f"TEMPORAL_API_KEY or the TLS certificate"
            ) from error
        raise


async def _until_registered(client: Client) -> None:
    missing: Sequence[str] = ()
    try:
        async with asyncio.timeout(_REGISTERED_WITHIN):
            while missing := await _missing_attributes(client):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.2)
    except TimeoutError as error:
        raise Misconfigured(
            f"the server took the search attributes {', '.join(missing)} but does not show them after "
            f"{_REGISTERED_WITHIN:g} s. Look at its visibility store, and start again"
        ) from error


async def _missing_attributes(client: Client) -> Sequence[str]:
    found = await server_checks.check_attributes(client)
    for name, other in found.mistyped.items():
        raise Misconfigured(
            f"search attribute {name} of namespace {client.namespace!r} is of type {other}, it must be "
            f"{SEARCH_ATTRIBUTES[name]}. Remove it and start again: {server_checks.remove_command(client, [name])}"
        )
    return found.missing

"""The Temporal server as the worker needs it: reachable, with the namespace and the search attributes.

Invariant: a worker that says "ready" cannot be stopped later by something that could have been checked at its start. An
unregistered search attribute, for one, fails a session's every workflow task for ever.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
from collections.abc import Iterable
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from inturn.client.search_attributes import SEARCH_ATTRIBUTES
from inturn.client.settings import temporal_config
from inturn.errors import InturnError
from inturn_worker.settings import Misconfigured, Settings

_TYPES: Final = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "Int": IndexedValueType.INDEXED_VALUE_TYPE_INT,
}
_POLLING_WITHIN: Final = 20.0
_REGISTERED_WITHIN: Final = 20.0
"""Seconds until a new search attribute shows on every host of the server."""


def identity() -> str:
    """Name this process for the Temporal UI."""
    return f"inturn@{socket.gethostname()}:{os.getpid()}"


async def connect(settings: Settings, runtime: Runtime | None = None) -> Client:
    """Connect, and check namespace and search attributes.

    Raises:
        Misconfigured: The server cannot be reached in time, or lacks something that the worker may not make itself.
    """
    client = await _reach(settings, runtime)
    await _check_namespace(client)
    await _check_search_attributes(client)
    return client


async def until_polling(client: Client, task_queue: str, name: str) -> None:
    """Wait until the server has seen both kinds of pollers of the worker named `name`.

    Raises:
        TimeoutError: It has not within 20 seconds.
    """
    kinds = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
    async with asyncio.timeout(_POLLING_WITHIN):
        for kind in kinds:
            request = DescribeTaskQueueRequest(
                namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind
            )
            while True:
                described = await client.workflow_service.describe_task_queue(request)
                if any(p.identity == name for p in described.pollers):
                    break
                await asyncio.sleep(0.05)


async def _reach(settings: Settings, runtime: Runtime | None) -> Client:
    try:
        config = temporal_config(settings.address, settings.namespace)
    except InturnError as error:
        raise Misconfigured(str(error)) from error
    address = config["target_host"]
    why: Exception | None = None
    try:
        async with asyncio.timeout(settings.connect_timeout):
            while True:
                try:
                    return await Client.connect(
                        **config, data_converter=pydantic_data_converter, identity=identity(), runtime=runtime
                    )
                except RuntimeError as error:  # what the SDK raises for every failed connect
                    why = error
                    await asyncio.sleep(0.5)
    except TimeoutError:
        reason = f" ({_short(why)})" if why else ""
        raise Misconfigured(
            f"no Temporal server answered at {address} within {settings.connect_timeout:g} s{reason}. Start one "
            f"(scripts/dev-server), or name it with --address or TEMPORAL_ADDRESS"
        ) from why


async def _check_namespace(client: Client) -> None:
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise Misconfigured(
                f"the server has no namespace {client.namespace!r}. Name another with --namespace or "
                f"TEMPORAL_NAMESPACE, or create it: {_command(client, 'namespace create')}"
            ) from error
        if error.status in (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED):
            raise Misconfigured(
                f"the server does not let this worker into namespace {client.namespace!r} ({_short(error)}). Check "
                f"TEMPORAL_API_KEY or the TLS certificate"
            ) from error
        raise


async def _check_search_attributes(client: Client) -> None:
    try:
        missing = await _missing_attributes(client)
        if not missing:
            return
        await _register(client, missing)
        await _until_registered(client)
    except RPCError as error:
        missing = await _missing_by_query(client)
        if missing:
            flags = " ".join(f"--name {name} --type {SEARCH_ATTRIBUTES[name]}" for name in missing)
            raise Misconfigured(
                f"namespace {client.namespace!r} lacks the search attributes {', '.join(missing)}, and this worker "
                f"may not register them ({_short(error)}). Run: {_command(client, 'search-attribute create')} {flags}"
            ) from error


async def _until_registered(client: Client) -> None:
    missing: list[str] = []
    try:
        async with asyncio.timeout(_REGISTERED_WITHIN):
            while missing := await _missing_attributes(client):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.2)
    except TimeoutError as error:
        raise Misconfigured(
            f"the server took the search attributes {', '.join(missing)} but does not show them after "
            f"{_REGISTERED_WITHIN:g} s. Look at its visibility store, and start again"
        ) from error


async def _missing_attributes(client: Client) -> list[str]:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    registered = (await client.operator_service.list_search_attributes(request)).custom_attributes
    for name, kind in SEARCH_ATTRIBUTES.items():
        if name in registered and registered[name] != _TYPES[kind]:
            other = IndexedValueType.Name(registered[name]).removeprefix("INDEXED_VALUE_TYPE_").title()
            raise Misconfigured(
                f"search attribute {name} of namespace {client.namespace!r} is of type {other}, it must be {kind}. "
                f"Remove it and start again: {_command(client, 'search-attribute remove')} --name {name}"
            )
    return [name for name in SEARCH_ATTRIBUTES if name not in registered]


async def _register(client: Client, missing: Iterable[str]) -> None:
    attributes = {name: _TYPES[SEARCH_ATTRIBUTES[name]] for name in missing}
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=attributes)
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:  # another worker was faster
            raise


async def _missing_by_query(client: Client) -> list[str]:
    """Find what is missing with a reader's rights alone: a query over an unregistered attribute is refused."""
    missing: list[str] = []
    for name in SEARCH_ATTRIBUTES:
        try:
            await client.count_workflows(f"{name} IS NULL")
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            missing.append(name)
    return missing


def _command(client: Client, what: str) -> str:
    address = client.service_client.config.target_host
    return f"temporal operator {what} --address {shlex.quote(address)} --namespace {shlex.quote(client.namespace)}"


def _short(error: BaseException | None) -> str:
    return " ".join(str(error).split())[:200]

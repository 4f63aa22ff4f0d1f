"""Temporal's server as inturn needs it: reached in time, with the search attributes, with workers that poll.

Invariant: whoever looks at the server, a client, a worker, `inturn doctor` or `inturn dev`, looks by these functions:
all of them agree on what is missing and name the same command for it.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType, WorkerVersioningMode
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client as Temporal
from temporalio.common import HeaderCodecBehavior
from temporalio.service import RPCError, RPCStatusCode

from inturn.client.temporal.rpc_errors import short
from inturn.client.temporal.search_attributes import SEARCH_ATTRIBUTES
from inturn.encryption import data_converter
from inturn.errors import Misconfigured, Unavailable

CALL_TIMEOUT: Final = timedelta(seconds=10)
KINDS: Final = {
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}
VERSION: Final = r"^[A-Za-z0-9_-]{1,200}:[A-Za-z0-9._+-]{1,200}$"
"""A build of a deployment, `DEPLOYMENT:BUILD`."""
_RETRY_EVERY: Final = 0.2
_TYPES: Final = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "Int": IndexedValueType.INDEXED_VALUE_TYPE_INT,
}


@dataclass(frozen=True, slots=True)
class AttributeCheck:
    """What a namespace lacks of the search attributes of sessions.

    Attributes:
        missing: Names that are not registered.
        mistyped: Names that are registered with another type, with that type.
    """

    missing: tuple[str, ...]
    mistyped: Mapping[str, str]


async def connect(config: Mapping[str, Any], *, timeout: float, advice: str, **options: Any) -> Temporal:
    """Return a connected client; connects again and again until it succeeds.

    Args:
        config: What `temporalio.client.Client.connect` takes, as `temporal_config` returns it.
        timeout: Seconds.
        advice: What to do where no server answers; ends the error's message.
        options: More of what `connect` takes.

    Raises:
        Unavailable: No server answered in time.
        Misconfigured: The keys of `INTURN_ENCRYPTION_KEYS` cannot be read, or the address can be none.
    """
    converter = data_converter()
    if converter.payload_codec is not None:
        options["header_codec_behavior"] = HeaderCodecBehavior.CODEC
    why: Exception | None = None
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    return await Temporal.connect(**config, data_converter=converter, **options)
                except RuntimeError as error:  # what the SDK raises for every failed connect
                    why = error
                except ValueError as error:  # it did not even try
                    raise Misconfigured(f"no server has the address {config['target_host']!r:.200}: {error}") from error
                await asyncio.sleep(_RETRY_EVERY)
    except TimeoutError:
        reason = f" ({short(why)})" if why else ""
        address = config["target_host"]
        raise Unavailable(f"no Temporal server answered at {address} within {timeout:g} s{reason}. {advice}") from why


async def check_attributes(temporal: Temporal) -> AttributeCheck:
    """Return what the namespace lacks.

    Raises:
        RPCError: The server does not let this client list them; `missing_by_query` needs fewer rights.
    """
    request = ListSearchAttributesRequest(namespace=temporal.namespace)
    listed = await temporal.operator_service.list_search_attributes(request, timeout=CALL_TIMEOUT)
    registered = {name: _type_name(kind) for name, kind in listed.custom_attributes.items()}
    wrong = {n: registered[n] for n, kind in SEARCH_ATTRIBUTES.items() if registered.get(n, kind) != kind}
    return AttributeCheck(tuple(name for name in SEARCH_ATTRIBUTES if name not in registered), wrong)


async def missing_by_query(temporal: Temporal) -> tuple[str, ...]:
    """Return what is missing, with a reader's rights alone: a query over an unregistered attribute is refused."""
    missing: list[str] = []
    for name in SEARCH_ATTRIBUTES:
        try:
            await temporal.count_workflows(f"{name} IS NULL")
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            missing.append(name)
    return tuple(missing)


async def register_attributes(temporal: Temporal, missing: Iterable[str] = SEARCH_ATTRIBUTES) -> None:
    """Register search attributes; the server needs a moment until it knows them.

    Raises:
        RPCError: This client may not.
    """
    attributes = {name: _TYPES[SEARCH_ATTRIBUTES[name]] for name in missing}
    request = AddSearchAttributesRequest(namespace=temporal.namespace, search_attributes=attributes)
    try:
        await temporal.operator_service.add_search_attributes(request, timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:  # somebody else was faster
            raise


async def supply_attributes(temporal: Temporal, why: RPCError) -> None:
    """Register all search attributes, for a call that was refused because they are missing; then it is made again.

    Raises:
        Unavailable: This client may not; the message holds the command.
    """
    try:
        await register_attributes(temporal)
    except RPCError as error:
        raise Unavailable(
            f"the server lacks search attributes that sessions need, and this client may not register them "
            f"({short(error)}). Run: {create_command(temporal)}"
        ) from why


def create_command(temporal: Temporal, missing: Iterable[str] = SEARCH_ATTRIBUTES) -> str:
    """Return the command that registers search attributes."""
    flags = " ".join(f"--name {name} --type {SEARCH_ATTRIBUTES[name]}" for name in missing)
    return f"{operator_command(temporal, 'search-attribute create')} {flags}"


def remove_command(temporal: Temporal, names: Iterable[str]) -> str:
    """Return the command that removes search attributes."""
    return f"{operator_command(temporal, 'search-attribute remove')} {' '.join(f'--name {name}' for name in names)}"


def operator_command(temporal: Temporal, what: str) -> str:
    """Return a command of an operator's on this server and namespace."""
    address, namespace = temporal.service_client.config.target_host, temporal.namespace
    return f"temporal operator {what} --address {shlex.quote(address)} --namespace {shlex.quote(namespace)}"


async def pollers(temporal: Temporal, task_queue: str, kind: str) -> list[PollerInfo]:
    """Return who polled a task queue in the last minutes, as the server remembers.

    Args:
        temporal: The server.
        task_queue: Its name.
        kind: `workflow` or `activity`.
    """
    request = DescribeTaskQueueRequest(
        namespace=temporal.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=KINDS[kind]
    )
    return list((await temporal.workflow_service.describe_task_queue(request, timeout=CALL_TIMEOUT)).pollers)


async def current_version(temporal: Temporal, task_queue: str) -> str | None:
    """Return the build, `DEPLOYMENT:BUILD`, that gets a task queue's new sessions; `None`: workers without one do."""
    request = DescribeTaskQueueRequest(
        namespace=temporal.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=KINDS["workflow"]
    )
    described = await temporal.workflow_service.describe_task_queue(request, timeout=CALL_TIMEOUT)
    current = described.versioning_info.current_deployment_version
    return f"{current.deployment_name}:{current.build_id}" if current.build_id else None


def version_of(poller: PollerInfo) -> str | None:
    """Return the build, `DEPLOYMENT:BUILD`, of a worker that has one."""
    options = poller.deployment_options
    if options.worker_versioning_mode != WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED:
        return None
    return f"{options.deployment_name}:{options.build_id}"


def set_current_command(temporal: Temporal, version: str) -> str:
    """Return the command that makes a build the current one of its deployment."""
    deployment, _, build = version.partition(":")
    address, namespace = temporal.service_client.config.target_host, temporal.namespace
    return (
        f"temporal worker deployment set-current-version --deployment-name {deployment} --build-id {build} "
        f"--address {shlex.quote(address)} --namespace {shlex.quote(namespace)}"
    )


def _type_name(value: IndexedValueType.ValueType) -> str:
    return IndexedValueType.Name(value).removeprefix("INDEXED_VALUE_TYPE_").title()

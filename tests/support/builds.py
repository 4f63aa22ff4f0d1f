"""Builds of this project: real copies of its packages, and a deployment of them as an operator handles it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from temporalio.api.enums.v1 import RoutingConfigUpdateState
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    GetClusterInfoRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from tests.support.processes.server import ROOT
from tests.support.waiting import until

PACKAGES = (
    "client/inturn",
    "activities/inturn_activities",
    "workflows/inturn_workflows",
    "service/inturn_worker",
)
_NOT_YET = (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.RESOURCE_EXHAUSTED)


async def make_current(temporal: Client, version: str) -> None:
    """Make a build the current one, as `temporal worker deployment set-current-version` does, once it is known."""
    deployment, _, build = version.partition(":")
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=temporal.namespace, deployment_name=deployment, build_id=build, identity="test"
    )

    async def made() -> bool:
        try:
            await temporal.workflow_service.set_worker_deployment_current_version(request)
        except RPCError as error:
            if error.status not in _NOT_YET:
                raise
            return False
        return True

    async def known() -> bool:
        """Newer servers tell their task queues by and by."""
        asked = DescribeWorkerDeploymentRequest(namespace=temporal.namespace, deployment_name=deployment)
        info = (await temporal.workflow_service.describe_worker_deployment(asked)).worker_deployment_info
        told = info.routing_config_update_state != RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS
        return told and info.routing_config.current_deployment_version.build_id == build

    await until(made, every=0.2)
    await until(known)


async def build_of(temporal: Client, workflow_id: str) -> str:
    """Return the build that a session is on."""
    described = await temporal.get_workflow_handle(workflow_id).describe()
    return described.raw_description.workflow_execution_info.versioning_info.deployment_version.build_id


async def moves_pinned(temporal: Client) -> bool:
    """Return whether the server takes a pinned workflow to the current build when it continues as new."""
    info = await temporal.workflow_service.get_cluster_info(GetClusterInfoRequest())
    major, minor, *_ = info.server_version.split(".")
    return (int(major), int(minor)) >= (1, 31)


def make_build(directory: Path, edits: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Make a build: the project's packages as they are but for some edits; return the environment that runs it.

    Args:
        directory: Where it is to lie; its name is the build's.
        edits: By the file's path, what is replaced in it and by what.
    """
    for package in PACKAGES:
        copy = directory / Path(package).name
        shutil.copytree(ROOT / package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path, (old, new) in edits.items():
        source = (directory / path).read_text()
        assert source.count(old) == 1, f"{path} has not one {old!r}"
        (directory / path).write_text(source.replace(old, new))
    return {"PYTHONPATH": os.fspath(directory)}

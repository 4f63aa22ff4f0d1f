"""Builds of a deployment, as an operator handles them."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import GetClusterInfoRequest, SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from tests.support.waiting import until

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

    await until(made, every=0.2)


async def build_of(temporal: Client, workflow_id: str) -> str:
    """Return the build that a session is on."""
    described = await temporal.get_workflow_handle(workflow_id).describe()
    return described.raw_description.workflow_execution_info.versioning_info.deployment_version.build_id


async def moves_pinned(temporal: Client) -> bool:
    """Return whether the server takes a pinned workflow to the current build when it continues as new."""
    info = await temporal.workflow_service.get_cluster_info(GetClusterInfoRequest())
    major, minor, *_ = info.server_version.split(".")
    return (int(major), int(minor)) >= (1, 31)

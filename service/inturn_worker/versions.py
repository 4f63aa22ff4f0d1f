"""Which build of a deployment a worker is, and whether the server gives it sessions.

Invariant: all workers of one process are of one build, those beside on other task queues, too: the server runs a step
on the build that its session is on, and nowhere else.
"""

from __future__ import annotations

from typing import Any

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError
from temporalio.worker import WorkerDeploymentConfig

from inturn.client.temporal import server_checks
from inturn_worker.settings import Settings


def versioned(settings: Settings) -> dict[str, Any]:
    """Return the options of a worker that is of a build; none for one that is of no build."""
    if settings.version is None:
        return {}
    deployment, build = settings.version.split(":")
    return {
        "deployment_config": WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(deployment, build),
            use_worker_versioning=True,
            default_versioning_behavior=VersioningBehavior.PINNED if settings.pin else VersioningBehavior.AUTO_UPGRADE,
        )
    }


async def without_sessions(client: Client, settings: Settings) -> str | None:
    """Return why the server gives a worker no new sessions, with what helps; `None` where it does."""
    try:
        current = await server_checks.current_version(client, settings.task_queue)
    except RPCError:  # a hint, no more
        return None
    if current == settings.version:
        return None
    if settings.version is None:
        return f"task queue {settings.task_queue} belongs to {current}: this worker has no --version, and gets nothing"
    command = server_checks.set_current_command(client, settings.version)
    return f"{settings.version} is not the current version (that is {current or 'none'}), until: {command}"

"""The doctor's view of builds: does the one that gets a task queue's sessions have workers, and who gets none.

Invariant: where nobody uses builds it says nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from inturn.cli.doctor.findings import Finding, failed, fine, warned


def judge_versions(
    task_queue: str, current: str | None, builds: Mapping[str, str | None], make_current: Callable[[str], str]
) -> list[Finding]:
    """Return the findings on the builds that poll a task queue.

    Args:
        task_queue: Its name.
        current: The build that gets its new sessions; `None`: workers without one do.
        builds: Who polls it, with the build of each.
        make_current: Returns the command that makes a build the current one.
    """
    versions = sorted({build for build in builds.values() if build is not None})
    unversioned = sorted(who for who, build in builds.items() if build is None)
    if current is None and not versions:
        return []
    if current is None and not unversioned:
        found = f"no version is current: no session of task queue {task_queue} gets to {', '.join(versions)}"
        return [failed("version", found, make_current(versions[-1]))]
    if current is not None and current not in versions:
        found = f"sessions of task queue {task_queue} go to {current}, and no worker of it is there"
        to_do = f"start one: inturn worker MODULE:ATTR --version {current}; or make another version current"
        return [failed("version", found, to_do)]
    beside = "".join(f", beside it {build}" for build in versions if build != current)
    found = f"sessions of task queue {task_queue} go to {current or 'workers without a version'}{beside}"
    if current is not None and unversioned:
        found += f"; without a version, and so without sessions: {', '.join(unversioned[:3])}"
        return [warned("version", found, "end these workers, or start them with --version")]
    return [fine("version", found)]

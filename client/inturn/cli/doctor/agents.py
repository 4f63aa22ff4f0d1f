"""The doctor's view of workers: which agents they serve, which differ, and what they suffer from.

Invariant: it shows what workers say of themselves, and judges no more than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from inturn.cli.doctor.findings import Finding, fine, warned
from inturn.journal import Serving, SessionJournal


async def examine_agents(journal: SessionJournal) -> list[Finding]:
    """Return the findings on what live workers serve; none where none says so."""
    return judge_agents(await journal.serving())


def judge_agents(rows: Sequence[Serving]) -> list[Finding]:
    """Return who serves which agent, and what workers suffer from."""
    by_agent = groupby(sorted(rows, key=_served), key=_served)
    findings = [_agent(agent, list(its)) for agent, its in by_agent]
    troubles = {row.worker: row.trouble for row in rows if row.trouble}
    findings += _limits({row.worker: row.limits for row in rows})
    advice = "give the tool's own calls (HTTP, databases) timeouts; restart the worker to be rid of its threads"
    return [*findings, *(warned("threads", f"{who}: {what}", advice) for who, what in sorted(troubles.items()))]


def _served(row: Serving) -> str:
    """Return the agent, with the build: another build may have it otherwise."""
    return f"{row.agent} of {row.version}" if row.version else row.agent


def _agent(agent: str, rows: Sequence[Serving]) -> Finding:
    newest, *older = sorted(rows, key=lambda row: row.since, reverse=True)
    queues = ", ".join(sorted({row.queue for row in rows}))
    found = f"{agent}: {_workers({row.worker for row in rows})} (task queue {queues})"
    behind = {row.worker for row in older if row.manifest != newest.manifest}
    if not behind:
        return fine("agents", found)
    advice = "finish the deploy, or give apps that differ names of their own for their agents"
    return warned("agents", f"{found}; not as the newest has it: {_workers(behind)}", advice)


def _limits(workers: Mapping[str, Mapping[str, float]]) -> list[Finding]:
    """Return where workers were not set to the same limits: the lowest of each holds for all."""
    differing: list[str] = []
    for name in sorted({name for limits in workers.values() for name in limits}):
        by_value: dict[str, set[str]] = {}
        for worker, limits in workers.items():
            by_value.setdefault(f"{limits[name]:g}" if name in limits else "none", set()).add(worker)
        if len(by_value) > 1:
            differing.append(f"{name} {'; '.join(f'{value}: {_workers(who)}' for value, who in by_value.items())}")
    advice = "set INTURN_LIMITS_* alike; the lowest of each holds for all of them, as long as its worker lives"
    return [warned("limits", found, advice) for found in differing]


def _workers(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")

"""The doctor's view of limits: who holds what, who waits for it, as text and as a Graphviz graph.

Invariant: it shows the rows of one moment and judges nothing by itself but circles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from inturn.cli.doctor.findings import Finding, fine, warned
from inturn.journal import Place, SessionJournal
from inturn.terminal import one_line


@dataclass(frozen=True, slots=True)
class Wait:
    """One call waits for what another one holds."""

    call: str
    resource: str
    holder: str


async def examine_limits(journal: SessionJournal, tenant: str) -> tuple[Finding, list[Place]]:
    """Return the finding on a tenant's limits, and their rows."""
    places = await journal.places(tenant)
    return judge_limits(places), places


def judge_limits(places: Sequence[Place]) -> Finding:
    """Return how many hold and wait, and whether some of them wait for one another."""
    held = sum(place.state == "held" and place.present for place in places)
    waiting = {place.call for place in places if place.state in ("waiting", "away") and place.present}
    summary = f"{held} locks and permits held, {len(waiting)} calls waiting"
    circle = circles(waits(places))
    if circle:
        advice = "workers break it within 5 s, unless INTURN_LIMITS_VICTIM is report_only; take locks in one order"
        return warned("limits", f"{summary}; these wait for one another: {', '.join(circle)}", advice)
    return fine("limits", summary)


def waits(places: Sequence[Place]) -> list[Wait]:
    """Return the edges of the wait-for graph."""
    return [
        Wait(place.call, place.resource, holder.call)
        for _, group in groupby(places, key=lambda p: (p.scope, p.resource))
        for place, holder in _pairs(list(group))
    ]


def circles(edges: Sequence[Wait]) -> list[str]:
    """Return the calls that wait for themselves, through others."""
    reached = {edge.call: {e.holder for e in edges if e.call == edge.call} for edge in edges}
    for _ in reached:
        for found in reached.values():
            found.update(*(reached[call] for call in tuple(found) if call in reached))
    return sorted(call for call, found in reached.items() if call in found)


def text(places: Sequence[Place]) -> Iterator[str]:
    """Yield a line for each resource that is locked or waited for, and one for each of its places."""
    for (_, resource), group in groupby(places, key=lambda p: (p.scope, p.resource)):
        there = [place for place in group if place.state != "nonblocking"]
        if all(place.mode == "permit" and place.state == "held" for place in there):
            yield f"{resource}: {sum(place.present for place in there)} taken"
            continue
        yield f"{resource}:"
        for place in sorted(there, key=lambda p: (p.state != "held", p.number)):
            yield f"  {_place(place)}"


def dot(places: Sequence[Place]) -> str:
    """Return the wait-for graph as Graphviz reads it: an arrow from who waits to who holds."""
    edges = sorted({(e.call, e.holder, e.resource) for e in waits(places)})
    lines = (f"  {_quoted(a)} -> {_quoted(b)} [label={_quoted(resource)}];" for a, b, resource in edges)
    return "\n".join(["digraph waits {", "  rankdir=LR;", *lines, "}"])


def _pairs(there: Sequence[Place]) -> Iterator[tuple[Place, Place]]:
    holders = [place for place in there if place.state == "held" and place.present]
    for place in there:
        if place.state in ("waiting", "away") and place.present:
            yield from ((place, h) for h in holders if h.call != place.call and _excludes(place, h))


def _excludes(place: Place, holder: Place) -> bool:
    return place.mode == "permit" or "write" in (place.mode, holder.mode)


def _place(place: Place) -> str:
    lasted = f"{place.lasted:.0f} s"
    gone = "" if place.present else ", not seen lately"
    if place.state == "held":
        return f"held by {place.call} ({place.mode}, fence {place.fence}) for {lasted}{gone}"
    return f"waiting: {place.call} ({place.mode}, ticket {place.number}) for {lasted}{gone}"


def _quoted(name: str) -> str:
    escaped = one_line(name).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

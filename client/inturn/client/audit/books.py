"""What a journal's own books must agree on, whatever the session counts.

Invariant: pure: entries and outcomes in, differences out. An honest session has none of these, however its events
ended; each difference names the event, turn or entry that it is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from inturn import names
from inturn.values import Entry

if TYPE_CHECKING:
    from inturn.journal import Ending

TURN_ENDS: Final = ("turn.completed", "turn.interrupted", "turn.failed")
DECIDED: Final = (*names.COUNTED, "event.merged")
READ: Final = ("turn.started", "session.gap", "session.recovered", "user.message", "event.parked", *TURN_ENDS, *DECIDED)
"""The types of entries that an audit reads."""


_TURN: Final[dict[str, type]] = {"turn": str, "chain": str}
_SHAPES: Final[dict[str, dict[str, type]]] = {
    "turn.started": _TURN | {"n": int, "resets": int, "sequence": int, "source": str, "when_busy": str},
    "session.gap": {"from": int, "to": int, "by": str, "kind": str},
    "session.recovered": {"chain": str},
    "user.message": {"joined": str},
    "event.parked": {"joined": list, "lost": list},
    **{type_: _TURN for type_ in TURN_ENDS},
    **{type_: {"count": int, "ids": str, "signals": dict} for type_ in DECIDED},
}
"""What is read of a body, where it is there."""


def sound(entry: Entry, damaged: list[str]) -> Entry:
    """Return an entry as it is read here: of whatever somebody wrote into it only what can be; add what is damaged."""
    body: object = entry.body
    kept: dict[str, Any] = body if isinstance(body, dict) else {}
    odd = [] if isinstance(body, dict) else ["body"]
    for name, shape in _SHAPES.get(entry.type, {}).items():
        if kept.get(name) is not None and not isinstance(kept[name], shape):
            odd.append(name)
    if entry.type == "event.parked" and "joined" not in odd:
        odd += ["joined"] * any(not isinstance(event, dict) for event in kept.get("joined") or ())
    if odd:
        damaged.append(f"entry {entry.seq} ({entry.type}) is damaged: {', '.join(odd)} cannot be read")
    return slim(entry.model_copy(update={"body": {name: kept[name] for name in kept.keys() - odd}}))


def slim(entry: Entry) -> Entry:
    """Return an entry without what it says, of which only that it is there matters here: there may be very many."""
    if entry.type == "user.message":
        return entry.model_copy(update={"body": {"joined": entry.body.get("joined")}})
    if entry.type == "event.parked":
        said: list[dict[str, Any]] = entry.body.get("joined") or []
        short = {"event": bool(entry.body.get("event")), "joined": [{"event_id": e.get("event_id")} for e in said]}
        kept = {name: value for name, value in entry.body.items() if name != "sealed"}
        return entry.model_copy(update={"body": kept | short})
    return entry


def of_type(entries: Iterable[Entry], *types: str) -> list[Entry]:
    """Return the entries of some types."""
    return [entry for entry in entries if entry.type in types]


def unended(entries: Sequence[Entry], endings: Mapping[str, Ending], open_: Collection[str]) -> list[str]:
    """Return the events whose turn began and has no end, though the session does not run them."""
    begun = {str(entry.event_id) for entry in of_type(entries, "turn.started") if entry.event_id}
    return [f"event {e} began a turn that has no end" for e in sorted(begun - endings.keys() - set(open_))]


def contradictory(endings: Mapping[str, Ending]) -> list[str]:
    """Return the events of which the outcome says another end than the entries, or one of the two says none."""
    found = ((event_id, _contradiction(ending)) for event_id, ending in sorted(endings.items()))
    return [f"event {event_id} {what}" for event_id, what in found if what]


def _contradiction(ending: Ending) -> str | None:
    if ending.outcome == ending.by_entries:
        if ending.outcome != "merged" or ending.into == ending.into_by_entries:
            return None
        return f"was merged into {ending.into_by_entries} by its entries, and its outcome says {ending.into}"
    if ending.by_entries is None:
        return f"has the outcome {ending.outcome}, and no entry of its end"
    says = "has no outcome" if ending.outcome is None else f"its outcome says {ending.outcome}"
    return f"ended {ending.by_entries} by its entries, and {says}"


def doubled(entries: Sequence[Entry]) -> list[str]:
    """Return the turns that began, or ended, more than once."""
    found: list[str] = []
    for what, types in (("began", ("turn.started",)), ("ended", TURN_ENDS)):
        made = of_type(entries, *types)
        # In each chain of runs once: one that was terminated in the middle is begun anew.
        turns = Counter((str(e.body["turn"]), e.body.get("chain")) for e in made if "turn" in e.body)
        found += [f"turn {turn} {what} {count} times" for (turn, _), count in turns.items() if count > 1]
    return found


def out_of_order(entries: Sequence[Entry]) -> list[str]:
    """Return the turns that began out of order: of acceptance, and those with a sequence of their source.

    Redrives come later, interrupting events without a sequence earlier.
    """
    found: list[str] = []
    last: dict[str | None, tuple[int, str]] = {}
    resets = 0
    for entry in of_type(entries, "turn.started"):
        body = entry.body
        if body.get("chain") or body.get("resets", 0) != resets:
            last, resets = {}, body.get("resets", 0)
        turn = str(body.get("turn", ""))
        source = body["source"] if "sequence" in body else None
        overtakes = body.get("when_busy") == "interrupt" and source is None
        if "~" in turn or not body.get("n") or overtakes:
            continue
        number = int(body["n"] if source is None else body["sequence"])
        before, earlier = last.get(source, (-1, ""))
        if number < before or (source is None and number == before):
            place = "accepted as" if source is None else f"{source} sequence"
            found.append(f"turn {turn} ({place} {number}) began after {earlier} ({place} {before})")
        last[source] = (number, turn)
    return found


def without_content(entries: Sequence[Entry], endings: Mapping[str, Ending], kept: Collection[str]) -> list[str]:
    """Return the parked events of which nothing says what they said: they could not be driven again.

    Args:
        entries: The session's.
        endings: How events ended.
        kept: Events whose content the journal keeps beside the entries.
    """
    said = {str(e.body.get("joined") or e.event_id) for e in of_type(entries, "user.message")}
    for parked in of_type(entries, "event.parked"):
        said |= {str(joined.get("event_id")) for joined in parked.body.get("joined") or ()}
        if parked.body.get("event") or "attempts" in parked.body:  # what never was an event has none
            said.add(str(parked.event_id))
    found: list[str] = []
    for parked in of_type(entries, "event.parked"):
        event_id = str(parked.event_id)
        ending = endings.get(event_id)
        if "delivery" in parked.body or ending is None or ending.outcome != "parked":
            continue
        if lost := parked.body.get("lost") or [event_id] * (parked.body.get("type") == names.CONTENT_LOST):
            found += [f"event {each} is parked, and what it said was lost before its turn" for each in lost]
        elif event_id not in said and event_id not in kept:
            found.append(f"event {event_id} is parked, and nothing says what it said")
    return list(dict.fromkeys(found))


def gaps(entries: Sequence[Entry]) -> list[str]:
    """Return where the session went on with a journal that was not its own, or behind."""
    accepted = [e for e in of_type(entries, "session.gap") if e.body.get("kind") == "journal"]
    return [_gap(entry) for entry in accepted]


def _gap(entry: Entry) -> str:
    body = entry.body
    first, last, by = (
        int(body.get("from") or 0) + 1,
        int(body.get("to") or 0),
        f" by {body['by']}" if body.get("by") else "",
    )
    lacks = f"entries {first} to {last} are missing" if first <= last else f"it is not the one of {last} entries"
    return f"the session went on with a journal that was accepted for its own{by} (entry {entry.seq}): {lacks}"


def older_chains(entries: Iterable[Entry], chain: str) -> set[str]:
    """Return the chains of runs, other than this one, whose events the journal holds, too."""
    telling = of_type(entries, "turn.started", "session.recovered")
    named = {str(e.body["chain"]) for e in telling if e.body.get("chain")}
    return named - {chain}

"""What large events say, from before they are sent until the journal says it in an entry (claim check).

Invariant: a content is one event's own, whatever others say the same, and nobody can change it: it is named by its
hash. Its row goes only in the transaction that writes it into an entry, or that writes the end of its event; never by
age. So it is lost only where one transaction finds neither row nor entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from inturn import names
from inturn.journal.log import codec
from inturn.journal.log.log import Log, body, keyed, micros
from inturn.journal.store import schema
from inturn.journal.store.store import Transaction
from inturn.journal.values import Missing, NewEntry
from inturn.keys import SessionKey

SAID: Final = ("content", "sender", "metadata")
"""What a user's message takes of a content; the rest are fields of a newer peer."""
_TRAVELS: Final = ("claim", "preview")
"""What an event that was claimed no longer says."""
_DATA: Final = "contents.data"
_OF_EVENT: Final = "tenant = ? AND session = ? AND event_id = ?"


@dataclass(slots=True)
class Filled:
    """Entries with the contents that they refer to.

    Attributes:
        moved: The events whose contents they hold now.
        apart: Events that are no part of them: what they say is not here, or is not what they promised.
        missing: Why the event itself cannot be said.
    """

    entries: list[NewEntry] = field(default_factory=list[NewEntry])
    moved: list[str] = field(default_factory=list[str])
    apart: list[str] = field(default_factory=list[str])
    missing: Missing | None = None


def put(log: Log, event_id: str, data: bytes) -> dict[str, Any]:
    """Keep what an event says; return the reference that travels instead.

    Each time has a row and a `gen` of its own: one arrival's rejection takes nothing from any other. Nothing is
    written, and `gen` is 0, where the journal has said the event or its end. What was lost may come again, and so may
    an event whose id something had that was none.
    """
    named = log.tx.sealing.digest(data, *_where(log.session, event_id))
    reference = {"hash": named, "size": len(data), "gen": 0, "journal": schema.database(log.tx)}
    if not _wanted(log, event_id, named):
        return reference
    where, now = (*_where(log.session, event_id), named), micros(log.tx.now)
    [(newest,)] = log.tx.execute(f"SELECT MAX(gen) FROM contents WHERE {_OF_EVENT} AND hash = ?", where)
    gen = now if newest is None else max(now, int(newest) + 1)
    log.tx.execute(
        "INSERT INTO contents (tenant, session, event_id, hash, gen, data, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*where, gen, log.tx.sealing.seal_bytes(data, _DATA, *where), now),
    )
    return reference | {"gen": gen}


def refers(event: object) -> bool:
    """Return whether an event (or a message's body) has its content elsewhere."""
    return isinstance(event, Mapping) and "claim" in event and "content" not in event


def opening(log: Log, entries: Iterable[NewEntry]) -> Filled:
    """Return a turn's first entries with what they refer to. Changes nothing; `take` follows once they are written."""
    filled = Filled()
    for entry in entries:
        if not refers(entry.body) or (entry.key and log.knows(entry.key)):
            filled.entries.append(entry)
            continue
        body = dict(entry.body)
        claim, joined = body.pop("claim"), body.get("joined")
        event_id = str(joined or entry.event_id)
        found = _content(log, event_id, claim)
        if isinstance(found, dict):
            said = {name: found[name] for name in SAID if name in found}
            filled.entries.append(replace(entry, body={"content": None} | body | said))
            filled.moved.append(event_id)
        elif joined:
            filled.apart.append(event_id)
        else:
            filled.missing = found
            break
    return filled


def take(log: Log, event_ids: Iterable[str]) -> None:
    """Delete the contents of events: entries hold them now, or the events have ended."""
    for event_id in event_ids:
        log.tx.execute(f"DELETE FROM contents WHERE {_OF_EVENT}", _where(log.session, event_id))


def set_aside(log: Log, entry: NewEntry) -> NewEntry:
    """Return the entry of a parked event with what it and those that had joined it say; their rows go.

    What the turn's own messages hold is not said again. What is nowhere is named as `lost`.
    """
    events = [entry.body.get("event"), *entry.body.get("joined", ())]
    if not any(map(refers, events)) or log.knows(str(entry.key)):
        return entry
    turn = str(entry.key).removesuffix("/parked")
    body, lost = dict(entry.body), list[str]()
    own = body.pop("event", None)
    if own is not None and not (refers(own) and log.knows(f"{turn}/user")):
        body["event"] = _whole(log, own, lost)
        if lost:
            body["type"] = names.CONTENT_LOST
    joined = [
        _whole(log, event, lost)
        for event in body.pop("joined", ())
        if not (refers(event) and log.knows(f"{turn}/user/{event['event_id']}"))
    ]
    body |= ({"joined": joined} if joined else {}) | ({"lost": lost} if lost else {})
    return replace(entry, body=body)


def rejected(log: Log, event_id: str, claim: Mapping[str, Any]) -> None:
    """Delete what was put for an arrival that was rejected; other arrivals have their own."""
    log.tx.execute(
        f"DELETE FROM contents WHERE {_OF_EVENT} AND hash = ? AND gen = ?",
        (*_where(log.session, event_id), str(claim.get("hash")), int(claim.get("gen", -1))),
    )


def merged(log: Log, event_id: str, host: str) -> None:
    """Delete the content of an event that joined another's turn, where a message of that turn holds it."""
    kept = log.tx.execute(f"SELECT 1 FROM contents WHERE {_OF_EVENT}", _where(log.session, event_id))
    if kept and _joined(log.tx, log.session, event_id, host):
        take(log, [event_id])


def kept(tx: Transaction, session: SessionKey) -> dict[str, int]:
    """Return the bytes that are kept for each event of a session."""
    rows = tx.execute(
        "SELECT event_id, SUM(LENGTH(data)) FROM contents WHERE tenant = ? AND session = ? GROUP BY event_id",
        (session.tenant, session.session_id),
    )
    return {event_id: int(size) for event_id, size in rows}


# Inside.


def _wanted(log: Log, event_id: str, hash_: str) -> bool:
    """Return whether the journal may need what an event says."""
    if log.closed or log.knows(f"{event_id}/user"):
        return False
    ended = log.tx.execute(f"SELECT disposition, turn FROM outcomes WHERE {_OF_EVENT}", _where(log.session, event_id))
    if not ended:
        return True
    [(disposition, turn)] = ended
    if disposition != "parked":
        return False
    event = _body(log, f"{turn}/parked").get("event")
    if event is None:  # what came under this id was no event, unless a turn had said it
        return not log.knows(f"{turn}/user")
    return refers(event) and _hash(event) == hash_  # it was lost


def _whole(log: Log, event: dict[str, Any], lost: list[str]) -> dict[str, Any]:
    """Return an event with what it says; one that is lost stays as it is."""
    if not refers(event):
        return event
    event_id = str(event["event_id"])
    found = _content(log, event_id, event["claim"], exactly=False)
    if not isinstance(found, dict):
        lost.append(event_id)
        return event
    take(log, [event_id])
    return {name: value for name, value in event.items() if name not in _TRAVELS} | found


def _content(log: Log, event_id: str, claim: Mapping[str, Any], *, exactly: bool = True) -> dict[str, Any] | Missing:
    """Return what an event says: of its row, else of an entry that said it before (its run was terminated)."""
    named = (*_where(log.session, event_id), str(claim.get("hash")))
    rows = log.tx.execute(
        f"SELECT data FROM contents WHERE {_OF_EVENT} AND hash = ? LIMIT 1",
        named,
    )
    if rows:
        data = log.tx.sealing.unseal_bytes(bytes(rows[0][0]), _DATA, *named)
        if exactly and len(data) != claim.get("size"):
            return "false"
        found: dict[str, Any] = codec.loads(data.decode())
        return found
    said = _body(log, f"{event_id}/user") or _joined(log.tx, log.session, event_id)
    if said:
        return {name: said[name] for name in SAID if name in said}
    return "lost" if claim.get("journal") == schema.database(log.tx) else "elsewhere"


def _joined(tx: Transaction, session: SessionKey, event_id: str, host: str | None = None) -> dict[str, Any]:
    """Return the body of the message by which an event joined a turn (of this host); empty where there is none."""
    # No id has `%`, but all may have `_`, which LIKE would take for any character.
    like = f"%/user/{event_id}".replace("_", r"\_")
    rows = tx.execute(
        "SELECT seq, body FROM entries WHERE tenant = ? AND session = ? AND event_id = COALESCE(?, event_id) "
        "AND type = 'user.message' AND key LIKE ? ESCAPE '\\' ORDER BY seq LIMIT 1",
        (session.tenant, session.session_id, host, like),
    )
    return body(tx, session, *rows[0]) if rows else {}


def _body(log: Log, key: str) -> dict[str, Any]:
    """Return the body of an entry; empty where there is none."""
    entry = keyed(log.tx, log.session, key)
    return entry.body if entry else {}


def _hash(event: object) -> object:
    claim = event.get("claim") if isinstance(event, Mapping) else None
    return claim.get("hash") if isinstance(claim, Mapping) else None


def _where(session: SessionKey, event_id: str) -> tuple[str, str, str]:
    return session.tenant, session.session_id, event_id

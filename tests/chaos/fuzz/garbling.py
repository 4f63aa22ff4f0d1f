"""What a disk or a hand may do to a journal's rows: the session that they are of says so, and no other one notices.

Invariant: each garbling is of one session of its own, and is done while nothing of it runs.
"""

from __future__ import annotations

import asyncio
from typing import Final

from inturn import Client, InturnError, Session
from tests.chaos.fuzz.judge import key_of
from tests.support import outside
from tests.support.waiting import until

GARBLINGS: Final[dict[str, str]] = {
    "a body that is no JSON": "UPDATE entries SET body = substr(body, 1, 9) WHERE type = 'agent.message' AND {session}",
    "a body of another shape": "UPDATE entries SET body = '[1]' WHERE type = 'user.message' AND {session}",
    "a body without its fields": "UPDATE entries SET body = '{{}}' WHERE type = 'session.started' AND {session}",
    "content of another type": (
        """UPDATE entries SET body = replace(body, '"content":[', '"content":5,"was":[') """
        "WHERE type = 'agent.message' AND {session}"
    ),
    "bytes that are no text": "UPDATE entries SET body = x'ff00fe' WHERE type = 'turn.completed' AND {session}",
    "a body that was changed": "UPDATE entries SET body = replace(body, 'ok', 'no') WHERE {session}",
    "a hash of another entry": "UPDATE entries SET hash = 'x' WHERE seq = 2 AND {session}",
    "a hash that is lost": "UPDATE sessions SET hash = '' WHERE {session}",
    "an entry that is lost": "DELETE FROM entries WHERE type = 'agent.message' AND {session}",
    "the first entry lost": "DELETE FROM entries WHERE type = 'session.started' AND {session}",
    "a head that went back": "UPDATE sessions SET head = 1 WHERE {session}",
    "steps without sense": "UPDATE steps SET attempts = 'x', result = '[', state = 'odd' WHERE {session}",
    "an outcome of no kind": "UPDATE outcomes SET disposition = 'odd' WHERE {session}",
    "an outcome that is lost": "DELETE FROM outcomes WHERE {session}",
}
SQLITES: Final = frozenset({"bytes that are no text"})
"""PostgreSQL keeps no such thing in a column of text."""
UNAUDITED: Final = frozenset({"steps without sense"})
"""The ledger's rows are no books of events."""
ANSWERED_WITHIN: Final = 40.0
"""Seconds in which an event after the garbling is answered, or its session says what is wrong."""
SAYS_WHAT: Final = frozenset({"journal_behind", "content_lost", "task_failing"})
"""How the health of such a session is named."""


async def garbled(client: Client, journal: str) -> list[str]:
    """Garble a session in each way; return where its next event hangs, or its audit says ok."""
    names = GARBLINGS if journal.startswith("sqlite:") else GARBLINGS.keys() - SQLITES
    found = await asyncio.gather(*(_garbled(client, journal, name) for name in names))
    return [finding for findings in found for finding in findings]


async def _garbled(client: Client, journal: str, name: str) -> list[str]:
    session = client.session(name.replace(" ", "-"), agent="fuzzed")
    for n in range(2):
        await session.ask("innocent, still", event_id=f"before-{n}")
    _change(journal, session, GARBLINGS[name])
    answer = await _asked(session)
    try:
        ok = (await session.audit()).ok
    except InturnError:
        ok = False
    found = [f"{name}: {answer}"] if answer.startswith("TurnTimeout") else []
    return found + ([f"{name}: the audit says ok"] if ok and name not in UNAUDITED else [])


async def _asked(session: Session) -> str:
    """Return how the next event ends, or what the session waits for as soon as it says so."""
    asking = asyncio.create_task(_answered(session))

    async def told() -> str:
        if asking.done():
            return asking.result()
        health = (await session.status()).health
        return health if health in SAYS_WHAT else ""

    try:
        return await until(told, within=2 * ANSWERED_WITHIN, every=0.5)
    finally:
        asking.cancel()


async def _answered(session: Session) -> str:
    try:
        answer = await session.ask("innocent, still", event_id="after", timeout=ANSWERED_WITHIN)
    except InturnError as error:
        return f"{type(error).__name__}: {error}"
    return answer.text or "(nothing)"


def _change(journal: str, session: Session, sql: str) -> None:
    key = key_of(session)
    with outside.opened(journal) as tx:
        tx.execute(sql.format(session="tenant = ? AND session = ?"), (key.tenant, key.session_id))
